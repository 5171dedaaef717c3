"""The good answer, and streams that come late, are dressed oddly or are cut."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from companion.simulator.exchange import Exchange, Reply
from companion.simulator.messages import Block, Event, Message, Text, Thinking, ToolUse, dumps, error, sse
from companion.simulator.replies.shape import Shape, play_frames, shaped
from companion.simulator.wire import End

Where = Literal[
    "before_start",
    "before_content",
    "in_thinking",
    "after_thinking",
    "in_text",
    "after_text",
    "in_tool",
    "after_tool",
    "before_message_delta",
    "before_message_stop",
    "after_message_delta",
]
How = Literal["fin", "rst", "clean", "stall", "hang", "error"]

_BLOCKS: Final = {"thinking": "thinking", "text": "text", "tool": "tool_use"}


def answer(
    text: str | None = None,
    thinking: str | None = None,
    tools: Sequence[tuple[str, Mapping[str, Any]]] = (),
    *,
    stop_reason: str | None = "auto",
    usage: Mapping[str, Any] | None = None,
    pace: float | None = None,
    piece: int = 12,
) -> Reply:
    """A good answer: what the script says, or the given thinking, text and tool calls, in this order."""
    if text is None and thinking is None and not tools:
        return shaped("answer", Shape(pace=pace))
    return shaped("answer", Shape(of=message(text, thinking, tools, stop_reason, usage, piece), pace=pace))


def message(
    text: str | None = None,
    thinking: str | None = None,
    tools: Sequence[tuple[str, Mapping[str, Any]]] = (),
    stop_reason: str | None = "auto",
    usage: Mapping[str, Any] | None = None,
    piece: int = 12,
) -> Message:
    """The answer to give or to cut, where the scripted one will not do."""
    blocks: list[Block] = [] if thinking is None else [Thinking(thinking)]
    blocks += [] if text is None else [Text(text)]
    blocks += (ToolUse(name, given) for name, given in tools)
    return Message(tuple(blocks), stop_reason, usage, piece)


def events(stream: Sequence[Event | bytes], end: End = "clean", pace: float | None = None) -> Reply:
    """A stream of exactly these events; bytes stand for a frame as it is."""
    frames = [frame if isinstance(frame, bytes) else sse(frame) for frame in stream]

    async def play(exchange: Exchange) -> None:
        await play_frames(exchange, frames, Shape(end=end, pace=pace))

    return Reply("events", play)


def cut(where: Where, how: How = "fin", *, nth: int = 1, of: Message | None = None) -> Reply:
    """The scripted answer, broken off: in or after its nth block of a kind, or around its end.

    `error` ends it with an error event; `stall` leaves the client in silence. An answer that is not streamed breaks
    off in the middle. Where the answer has no such place, the fault waits for one that has.
    """
    end: End = "clean" if how == "error" else how

    def edit(stream: list[Event]) -> list[Event] | None:
        kept = _kept(stream, where, nth)
        if kept is None:
            return None
        return [*stream[:kept], *([error("api_error", "The simulator broke off.")] if how == "error" else [])]

    def half(whole: dict[str, Any]) -> bytes:
        body = dumps(whole)
        return body[: len(body) // 2]

    return shaped(f"cut:{where}:{how}", Shape(edit=edit, whole=half, end=end, of=of))


def _kept(stream: list[Event], where: Where, nth: int) -> int | None:
    types = [event["type"] for event in stream]
    if where == "before_start":
        return 0
    if where == "before_content":
        return 1
    if where == "before_message_delta":
        return types.index("message_delta")
    if where in {"before_message_stop", "after_message_delta"}:
        return types.index("message_delta") + 1
    place, _, kind = where.partition("_")
    index = _block(stream, _BLOCKS[kind], nth)
    if index is None:
        return None
    if place == "after":
        return _place(stream, "content_block_stop", index)[0] + 1
    deltas = _place(stream, "content_block_delta", index)
    return deltas[len(deltas) // 2] + 1 if deltas else _place(stream, "content_block_start", index)[0] + 1


def _block(stream: list[Event], kind: str, nth: int) -> int | None:
    starts = [event for event in stream if event["type"] == "content_block_start"]
    found = [int(event["index"]) for event in starts if event["content_block"]["type"] == kind]
    return found[nth - 1] if len(found) >= nth else None


def _place(stream: list[Event], type: str, index: int) -> list[int]:
    return [at for at, event in enumerate(stream) if event["type"] == type and event["index"] == index]


def error_first(type: str = "overloaded_error", message: str = "Overloaded") -> Reply:
    """A stream whose first event is an error."""
    return shaped("error_first", Shape(edit=lambda _: [error(type, message)]))


def pings(count: int = 3, every: float = 0.02) -> Reply:
    """Pings, some seconds apart, and then the answer."""
    return shaped("pings", Shape(before=(sse({"type": "ping"}),) * count, every=every))


def comments(count: int = 3, every: float = 0.02) -> Reply:
    """SSE comments, some seconds apart, and then the answer."""
    return shaped("comments", Shape(before=(b": still here\n\n",) * count, every=every))


def late(seconds: float = 1.0, pause: float = 0.0) -> Reply:
    """Seconds pass before the head, and `pause` after it; then the answer."""
    return shaped("late", Shape(delay=seconds, pause=pause))


def wrong_type(type: str = "text/plain") -> Reply:
    """The right bytes under another content type."""
    return shaped("wrong_type", Shape(type=type))


def unframed() -> Reply:
    """An answer without length or chunks, which lasts until the connection is closed."""
    return shaped("unframed", Shape(until_close=True))


def crlf(ending: Literal["\r\n", "\r"] = "\r\n") -> Reply:
    """A stream whose lines end in another way than with a line feed."""
    return shaped("crlf", Shape(dress=lambda frames: [frame.replace(b"\n", ending.encode()) for frame in frames]))


def bytewise(size: int = 1) -> Reply:
    """An answer in chunks of so many bytes."""
    return shaped("bytewise", Shape(dress=lambda frames: _cut_up(b"".join(frames), size)))


def gzip(whole: bool = False) -> Reply:
    """An answer in gzip: each event flushed, or compressed as a whole."""
    return _coded("gzip", lambda: zlib.compressobj(wbits=31), whole)


def deflate(whole: bool = False, raw: bool = False) -> Reply:
    """An answer in deflate: each event flushed, or compressed as a whole; `raw` leaves the zlib header out."""
    return _coded("deflate", lambda: zlib.compressobj(wbits=-15 if raw else 15), whole)


def lying_encoding(coding: str = "gzip") -> Reply:
    """An answer that is not in the encoding that its head claims."""
    return shaped("lying_encoding", Shape(fields=(("content-encoding", coding),)))


def _coded(coding: str, compressor: "Callable[[], zlib._Compress]", whole: bool) -> Reply:
    def dress(frames: list[bytes]) -> list[bytes]:
        squeeze = compressor()
        if whole:
            return [squeeze.compress(b"".join(frames)) + squeeze.flush()]
        flushed = [squeeze.compress(frame) + squeeze.flush(zlib.Z_SYNC_FLUSH) for frame in frames]
        return [*flushed, squeeze.flush()]

    return shaped(coding, Shape(dress=dress, fields=(("content-encoding", coding),)))


def _cut_up(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
