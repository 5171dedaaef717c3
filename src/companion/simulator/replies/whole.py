"""Statuses, and bodies that are not what was asked for."""

from collections.abc import Mapping
from typing import Final, Literal

from companion.simulator.exchange import SSE, Exchange, Fields, Reply
from companion.simulator.messages import Message, Refusal, dumps, error, whole

HTML: Final = (
    b"<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>Something went wrong</h1></body></html>"
)

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def status(
    code: int,
    form: Literal["json", "html", "empty"] = "json",
    *,
    message: str = "",
    type: str = "",
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    """An error status with the error envelope, an HTML page, nothing, or the given body."""
    more: Fields = tuple((headers or {}).items())
    if retry_after is not None:
        more = (*more, ("retry-after", f"{retry_after:g}"))

    async def play(exchange: Exchange) -> None:
        kind = type or _TYPES.get(code, "api_error")
        if body is not None:
            await exchange.give(code, body, more=more)
        elif form == "json":
            await exchange.refuse(Refusal(code, kind, message or f"The simulator says {code}."), more)
        else:
            await exchange.give(code, HTML if form == "html" else b"", "text/html; charset=utf-8", more)

    return Reply(f"status:{code}", play)


def redirect(code: int = 301, to: str = "/elsewhere") -> Reply:
    """A redirect, which nobody follows."""
    return status(code, "empty", headers={"location": to})


def too_long(tokens: int = 1_200_000, maximum: int = 1_000_000) -> Reply:
    """The 400 that makes the client compact its conversation."""
    return status(400, message=f"prompt is too long: {tokens} tokens > {maximum} maximum")


def html(code: int = 200) -> Reply:
    """A web page, as a captive portal or a proxy gives it."""
    return status(code, "html")


def empty(type: str = SSE) -> Reply:
    """200 with no body at all."""

    async def play(exchange: Exchange) -> None:
        await exchange.give(200, b"", type)

    return Reply("empty", play)


def error_json(type: str = "api_error", message: str = "Something went wrong") -> Reply:
    """200 with the error envelope."""

    async def play(exchange: Exchange) -> None:
        await exchange.give(200, dumps(error(type, message)))

    return Reply("error_json", play)


def json_for_stream() -> Reply:
    """The whole answer as JSON, though a stream was asked for."""

    async def play(exchange: Exchange) -> None:
        assert isinstance(exchange.answer, Message)
        await exchange.give(200, dumps(whole(exchange.answer, exchange.stamp)))

    return Reply("json_for_stream", play, lambda exchange: exchange.received.stream and _is_message(exchange))


def _is_message(exchange: Exchange) -> bool:
    return isinstance(exchange.answer, Message)
