"""A stream's shape: how it differs from a good one, as data. One player plays them all."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from companion.simulator.exchange import JSON, SSE, Exchange, Fields, Reply
from companion.simulator.messages import Event, Message, Refusal, Text, Thinking, ToolUse, dumps, events, sse, whole
from companion.simulator.wire import End

Edit = Callable[[list[Event]], list[Event] | None]
"""Makes other events of an answer's events; None when the answer has no place for it."""

Dress = Callable[[list[bytes]], list[bytes]]
"""Makes other bytes of an answer's frames; a paced stream sends one of what comes out at a time."""

Whole = Callable[[dict[str, Any]], bytes]
"""Makes the body for a request that does not stream."""

# What an edit works on when the conversation has no script and its answer no place for the edit.
SAMPLE: Final = Message(
    (
        Thinking("I think about it before I do it."),
        Text("I look around first."),
        ToolUse("Bash", {"command": "echo simulated", "description": "Say simulated"}),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How an answer differs from the scripted one.

    `delay` seconds pass before the head and `pause` after it; then each of `before` is sent, `every` seconds apart,
    if it is a stream. `of` replaces the scripted answer, `pace` its pace.
    """

    edit: Edit | None = None
    whole: Whole | None = None
    dress: Dress | None = None
    type: str | None = None
    fields: Fields = ()
    until_close: bool = False
    delay: float = 0.0
    pause: float = 0.0
    before: tuple[bytes, ...] = ()
    every: float = 0.0
    of: Message | None = None
    pace: float | None = None
    end: End = "clean"


def shaped(name: str, shape: Shape) -> Reply:
    """The reply that answers in this shape."""

    async def play(exchange: Exchange) -> None:
        given = shape.of or exchange.answer
        if isinstance(given, Refusal):
            await exchange.refuse(given)
        elif exchange.received.stream:
            await _stream(replace(exchange, answer=given), shape)
        else:
            await _whole(replace(exchange, answer=given), shape)

    return Reply(name, play, lambda exchange: _fits(exchange, shape))


async def play_frames(exchange: Exchange, frames: Sequence[bytes], shape: Shape, length: int | None = None) -> None:
    """Send a head and then frames, in the time and with the end that the shape wants; chunked without a length."""
    await asyncio.sleep(shape.delay)
    kind = shape.type or (SSE if exchange.received.stream else JSON)
    fields = exchange.head_fields(200, kind, shape.fields)
    exchange.wire.head(200, fields, length=length, until_close=shape.until_close)
    await asyncio.sleep(shape.pause)
    for early in shape.before:
        await exchange.wire.write(early)
        await asyncio.sleep(shape.every)
    pace = exchange.pace if shape.pace is None else shape.pace
    if pace > 0:
        await _paced(exchange, frames, pace)
    else:
        await exchange.wire.write(*frames)
    await exchange.wire.end(shape.end)


async def _paced(exchange: Exchange, frames: Sequence[bytes], pace: float) -> None:
    now = asyncio.get_running_loop().time
    due = now()
    for frame in frames:
        await exchange.wire.write(frame)
        due += pace
        await asyncio.sleep(max(0.0, due - now()))


async def _stream(exchange: Exchange, shape: Shape) -> None:
    frames = [sse(event) for event in _events(exchange, shape) or ()]
    await play_frames(exchange, shape.dress(frames) if shape.dress else frames, shape)


async def _whole(exchange: Exchange, shape: Shape) -> None:
    assert isinstance(exchange.answer, Message)
    body = (shape.whole or dumps)(whole(exchange.answer, exchange.stamp))
    frames = shape.dress([body]) if shape.dress else [body]
    plain = shape.whole is None and shape.dress is None and not shape.until_close
    await play_frames(exchange, frames, replace(shape, before=()), len(body) if plain else None)


def _fits(exchange: Exchange, shape: Shape) -> bool:
    if shape == Shape(of=shape.of, pace=shape.pace):
        return True
    if isinstance(shape.of or exchange.answer, Refusal):
        return False
    if not exchange.received.stream:
        return shape.edit is None or shape.whole is not None
    return _events(exchange, shape) is not None


def _events(exchange: Exchange, shape: Shape) -> list[Event] | None:
    answer = shape.of or exchange.answer
    assert isinstance(answer, Message)
    edit: Edit = shape.edit or list
    edited = edit(events(answer, exchange.stamp))
    if edited is None and not exchange.scripted and shape.of is None:
        edited = edit(events(SAMPLE, exchange.stamp))
    return edited
