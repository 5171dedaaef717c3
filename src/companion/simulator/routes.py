"""Everything that is not a message: token counts, models, probes, and the ledger itself."""

from collections.abc import Sequence
from typing import Any, Final

from companion.simulator.exchange import JSON, Exchange, Reply
from companion.simulator.messages import Refusal, dumps
from companion.simulator.received import Received
from companion.simulator.wire import Wire

LEDGER: Final = "/__ledger"

_NAMES: Final = {
    "claude-opus-5-5": "Claude Opus 5.5",
    "claude-sonnet-5-5": "Claude Sonnet 5.5",
    "claude-haiku-5-5": "Claude Haiku 5.5",
    "claude-sonnet-4-5": "Claude Sonnet 4.5",
}
_PAGE: Final = 20
_LARGEST_PAGE: Final = 1000


def reply(received: Received) -> Reply:
    """The answer of everything but `POST /v1/messages`."""
    path, method = received.path, received.method
    if method == "POST" and path == "/v1/messages/count_tokens":
        return Reply("count_tokens", _count_tokens)
    if method == "GET" and path == "/v1/models":
        return Reply("models", _models)
    if method == "GET" and path.startswith("/v1/models/"):
        return Reply("model", _model)
    if method in {"GET", "HEAD"} and path in {"/", "/api/hello"}:
        return Reply("hello", _hello)
    return Reply("nothing here", _nothing_here)


async def ledger(received: Sequence[Received], wire: Wire) -> None:
    """Answer with the ledger as JSON."""
    body = dumps([entry.as_json() for entry in received])
    wire.head(200, [("content-type", JSON)], length=len(body))
    await wire.write(body)


async def _count_tokens(exchange: Exchange) -> None:
    if not isinstance(exchange.received.json, dict):
        await exchange.refuse(Refusal(400, "invalid_request_error", "The request body is not valid JSON."))
    else:
        await exchange.give(200, dumps({"input_tokens": exchange.stamp.input_tokens}))


async def _models(exchange: Exchange) -> None:
    query = exchange.received.query
    names = list(_NAMES)
    if query.get("after_id") in names:
        names = names[names.index(query["after_id"]) + 1 :]
    if query.get("before_id") in names:
        names = names[: names.index(query["before_id"])]
    limit = int(query["limit"]) if query.get("limit", "").isdecimal() else _PAGE
    page = names[: max(1, min(limit, _LARGEST_PAGE))]
    listed = {
        "data": [_described(name) for name in page],
        "has_more": len(page) < len(names),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    await exchange.give(200, dumps(listed))


async def _model(exchange: Exchange) -> None:
    name = exchange.received.path.removeprefix("/v1/models/")
    if name in _NAMES:
        await exchange.give(200, dumps(_described(name)))
    else:
        await exchange.refuse(Refusal(404, "not_found_error", f"model: {name}"))


async def _hello(exchange: Exchange) -> None:
    await exchange.give(200, b"", "text/plain")


async def _nothing_here(exchange: Exchange) -> None:
    await exchange.refuse(Refusal(404, "not_found_error", "Not found"))


def _described(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": _NAMES[name],
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }
