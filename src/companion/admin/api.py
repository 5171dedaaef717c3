"""The REST API under /admin/api, put together. FastAPI is slow to import: only who visits it pays for it.

    status.py endpoints.py testing.py config.py clients.py requests.py repairs.py events.py    one resource each
    ports.py          what it needs from the program           live.py         news for onlookers
    editing.py        the one way to change the file           drafts.py       configurations not written yet
    masked_text.py    the file's text without secrets          conditions.py   ETag and If-Match
    archive.py        the records for readers
    problems.py       errors as problem+json                   typed.py        types described elsewhere
    openapi.py, settings_schema.py                             the description of it all

Times are seconds since the Unix epoch, durations seconds, sizes bytes. Whoever may ask, and that a change needs the
header `x-companion-csrf: 1`, is checked before a request comes here (proxy/site.py).
"""

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from companion import __version__
from companion.admin import clients, config, endpoints, events, openapi, problems, repairs, requests, status, testing
from companion.admin.archive import Archive
from companion.admin.editing import Editing
from companion.admin.ports import Ports
from companion.admin.problems import ApiError
from companion.admin.typed import resource

PREFIX: Final = "/admin/api"
MAX_BODY: Final = 4 * 1024 * 1024

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_ABOUT: Final = (__doc__ or "").partition("\n\nTimes")[2]


def build(ports: Ports) -> App:
    """The API as an ASGI application."""
    app = application(ports)
    return partial(_guarded, app)


def application(ports: Ports) -> FastAPI:
    """The same as FastAPI's own."""
    app = FastAPI(
        title="Claude Code Companion",
        version=__version__,
        description=f"Times{_ABOUT}",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": PREFIX}],
    )
    problems.install(app)
    editing = Editing(ports)
    for part in (
        status.router(ports, editing),
        endpoints.router(ports, editing),
        testing.router(ports, editing),
        config.router(ports, editing),
        clients.router(editing),
        requests.router(Archive(ports)),
        repairs.router(ports),
        events.router(ports.live),
        _description(app),
    ):
        app.router.routes.extend(part.routes)
    return app


def _description(app: FastAPI) -> APIRouter:
    api = resource("status")

    @api.get("/openapi.json", responses=problems.declared(), response_model=dict[str, Any])
    def get_openapi_document() -> JSONResponse:
        """What there is to ask for (OpenAPI 3.1)."""
        return JSONResponse(openapi.document(app))

    return api


async def _guarded(app: App, scope: Message, receive: Receive, send: Send) -> None:
    """No body larger than any that makes sense, and nothing kept by a browser or taken for what it is not."""
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    first = await receive()
    if len(first.get("body", b"")) > MAX_BODY:
        error = ApiError(413, "too_large", f"The body is larger than {MAX_BODY} bytes.", limit=MAX_BODY)
        await problems.answer(error)(scope, receive, partial(_sent, send))
        return
    scope["root_path"] = PREFIX
    waiting = [first]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    await app(scope, received, partial(_sent, send))


async def _sent(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        there = {name for name, _ in message["headers"]}
        more = [header for header in _HEADERS if header[0] not in there]
        message = {**message, "headers": [*message["headers"], *more]}
    await send(message)
