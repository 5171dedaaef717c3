"""What the API says instead of an answer: problem+json (RFC 9457), with codes for programs and a sentence for people.

`code` and `parameters` say the same as `detail`, in a form that can be translated. Where parts of a request are
wrong, `errors` names each: `pointer` (RFC 6901) leads to the field in the body, `parameter` is one of query, path or
header.
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from companion.errors import CompanionError, ConfigError, Problem

MEDIA_TYPE: Final = "application/problem+json"

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]

_CODES: Final[Mapping[int, str]] = {400: "unreadable", 404: "not_found", 405: "method_not_allowed"}
_TITLES: Final[Mapping[int, str]] = {422: "Unprocessable Content", 413: "Content Too Large"}


class Mistake(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str | None = Field(default=None, description="JSON pointer to the field in the body.")
    parameter: str | None = Field(default=None, description="Name of the query parameter, path parameter or header.")
    code: str
    parameters: dict[str, Scalar] = {}
    detail: str
    line: int | None = Field(default=None, description="Line in the configuration file, or in the text that was sent.")


class ProblemDetails(BaseModel):
    """Why a request was not served (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    parameters: dict[str, Scalar] = {}
    errors: list[Mistake] = []


class ApiError(CompanionError):
    """A request that is not served, and why."""

    def __init__(
        self, status: int, code: str, detail: str, *, errors: Sequence[Mistake] = (), **parameters: Scalar
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.parameters = parameters


def unusable(error: ConfigError, within: Path = (), at: Path = ()) -> ApiError:
    """A configuration that cannot be used. What is `within` it is what the request's body has `at` this place."""
    mistakes = [mistake(problem, within, at) for problem in error.problems]
    count = len(mistakes)
    said = mistakes[0].detail if count == 1 else f"{count} things are wrong; nothing was changed."
    return ApiError(422, "config_invalid", said, errors=mistakes, count=count)


def mistake(problem: Problem, within: Path = (), at: Path = ()) -> Mistake:
    """The same for programs, its pointer from `at` on, relative to `within` where it lies in there."""
    path = problem.path
    relative = (*at, *path[len(within) :]) if path[: len(within)] == within else path
    return Mistake(
        pointer=pointer(relative) if path else None,
        code=problem.code,
        parameters={key: value for key, value in problem.parameters.items() if isinstance(value, Scalar)},
        detail=problem.message if path else str(problem),
        line=problem.line,
    )


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def declared(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an operation can answer with, for its description; 422 and 500 are among them always."""
    return {status: {"model": ProblemDetails, "description": title(status)} for status in (*statuses, 422, 500)}


def title(status: int) -> str:
    """The status in words."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def answer(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """What is sent for it."""
    details = ProblemDetails(
        title=title(error.status),
        status=error.status,
        detail=error.detail,
        code=error.code,
        parameters=error.parameters,
        errors=error.errors,
    )
    return Response(details.model_dump_json().encode(), error.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the application be answered like this."""

    @app.exception_handler(ApiError)
    async def known(_: Request, error: ApiError) -> Response:
        return answer(error)

    @app.exception_handler(ConfigError)
    async def config(_: Request, error: ConfigError) -> Response:
        return answer(unusable(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        mistakes = [_of_request(each) for each in error.errors()]
        return answer(ApiError(422, "invalid", "The request is not as it should be.", errors=mistakes))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        headers = {"allow": ", ".join(allowed(request))} if error.status_code == 405 else error.headers
        code = _CODES.get(error.status_code, "refused")
        said = f"{request.method} {request.url.path}: {title(error.status_code).lower()}"
        return answer(ApiError(error.status_code, code, said), headers)

    @app.exception_handler(Exception)
    async def ours(_: Request, error: Exception) -> Response:
        said = "The program has made a mistake; its log has the details."
        return answer(ApiError(500, "internal", said, kind=type(error).__name__))


def allowed(request: Request) -> list[str]:
    """The methods that the path of this request takes."""
    methods: set[str] = set()
    for route in request.app.router.routes:
        matched, _ = route.matches({**request.scope, "method": "GET"})
        if matched.value:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


def _of_request(error: Mapping[str, Any]) -> Mistake:
    where, *path = error["loc"]
    context = error.get("ctx") or {}
    parameters = {key: value for key, value in context.items() if isinstance(value, Scalar)}
    said = Mistake(code=error["type"], parameters=parameters, detail=error["msg"])
    if where != "body":
        return said.model_copy(update={"parameter": str(path[0]) if path else where})
    if error["type"] == "json_invalid":
        return said.model_copy(update={"detail": f"The body is not JSON: {context.get('error', '')}", "pointer": ""})
    return said.model_copy(update={"pointer": pointer(path)})
