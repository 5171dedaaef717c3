"""GET /events: one stream (server-sent events) of all that happens."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from companion.admin.live import MISSED, Live, News, Onlooker
from companion.admin.problems import declared
from companion.admin.typed import ELSEWHERE, resource

HEARTBEAT: Final = 15.0

NewsName = Literal[
    "exchange_started",
    "exchange_planned",
    "attempt_started",
    "attempt_ended",
    "switched",
    "exchange_settled",
    "circuit_changed",
    "probed",
    "repair_learned",
    "config_changed",
    "config_refused",
]

Types = Annotated[tuple[NewsName, ...], Query(description="Only news of these types; none given: all.")]

LastId = Annotated[str | None, Header(max_length=100, description="Go on behind the news of this `id`.")]

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Each event has an `id`, its type as `event` and JSON as `data` (see the schema `News`). "
        "`event: missed` with `count` says that some were lost, because the reader is slow or came back late.",
        "content": {"text/event-stream": {"schema": {"type": "string", "contentSchema": {ELSEWHERE: "News"}}}},
    }
}


def router(live: Live, *, heartbeat: float = HEARTBEAT) -> APIRouter:
    """The resource. After `heartbeat` seconds without news there is a comment, as a sign of life."""
    api = resource("events")

    @api.get("/events", response_class=StreamingResponse, responses={**_STREAM, **declared()})
    async def follow_events(
        type: Types = (),
        last_event_id: LastId = None,
    ) -> StreamingResponse:
        """What happens, as it happens: exchanges, attempts, switches, circuits, probes, repairs, the configuration.

        The stream ends when the program is about to. It holds no bodies, no headers and no secrets.
        """
        return StreamingResponse(_told(live, type, last_event_id, heartbeat), media_type="text/event-stream")

    return api


async def _told(live: Live, types: tuple[NewsName, ...], seen: str | None, heartbeat: float) -> AsyncIterator[bytes]:
    onlooker = live.attach(types, seen)
    try:
        yield b"retry: 2000\n: so far all is quiet\n\n"
        while True:
            yield await _piece(live, onlooker, heartbeat)
    finally:
        live.detach(onlooker)


async def _piece(live: Live, onlooker: Onlooker, heartbeat: float) -> bytes:
    lost, news = await onlooker.next(heartbeat)
    missed = b"" if lost == 0 else b"event: %s\ndata: %s\n\n" % (MISSED.encode(), msgspec.json.encode({"count": lost}))
    told = b"".join(_frame(live, each) for each in news)
    return missed + told or b": still here\n\n"


def _frame(live: Live, news: News) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (live.id_of(news).encode(), news.name.encode(), news.data)
