"""What is wrong inside events whose order is right: one table, a violation → how it is seen and mended.

A check answers None for "nothing wrong", else the Mend: edits by path into the event's JSON, or that its frame is to be
written anew. Everything here can be repaired, or is only noted; faults are in `grammar.py`.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from companion.protocol import spans
from companion.protocol.anthropic import (
    Block,
    ContentBlockStart,
    Event,
    EventKind,
    MessageDelta,
    MessageStart,
    Usage,
    meant,
)
from companion.protocol.grammar import State
from companion.protocol.progress import Progress, is_json
from companion.protocol.sse import BOM, Frame
from companion.protocol.violations import Violation

Edits = dict[tuple[str, ...], bytes]


class Mend(msgspec.Struct, frozen=True):
    """How to put an event right. `given` is a delta for what was in a block's start, should none bring it again."""

    edits: Edits = {}
    given: bytes | None = None
    reframe: bool = False


Check = Callable[[Progress, Any, Frame], Mend | None]


class Shape(msgspec.Struct, frozen=True):
    """One row: for which kinds, how it is seen, whether it is more than a note, and its test."""

    kinds: frozenset[EventKind]
    check: Check
    repaired: bool
    test: str


def zeros(usage: Usage | None, known: Usage, *names: str) -> dict[str, bytes]:
    """What to write for counts that a usage object lacks."""
    return {
        name: b"%d" % (getattr(known, name) or 0) for name in names if usage is None or getattr(usage, name) is None
    }


def _mark(_: Progress, __: Event, frame: Frame) -> Mend | None:
    """Python's SDK takes it for a part of the first field's name."""
    return Mend(reframe=True) if frame.raw.startswith(BOM) else None


def _no_line(_: Progress, __: Event, frame: Frame) -> Mend | None:
    """Every client reads a stream without `event:` lines as an empty one."""
    return Mend(reframe=True) if frame.event is None else None


def _other_line(_: Progress, event: Any, frame: Frame) -> Mend | None:
    return Mend(reframe=True) if frame.event not in {None, event.line} else None


def _usage(progress: Progress, event: MessageStart | MessageDelta, _: Frame) -> Mend | None:
    if isinstance(event, MessageStart):
        lacking = zeros(event.message.usage, progress.usage, "input_tokens", "output_tokens")
        return Mend({("message", "usage", name): zero for name, zero in lacking.items()}) if lacking else None
    lacking = zeros(event.usage, progress.usage, "output_tokens")
    return Mend({("usage", name): zero for name, zero in lacking.items()}) if lacking else None


def _role(_: Progress, event: MessageStart, __: Frame) -> Mend | None:
    return None if event.message.role == "assistant" else Mend({("message", "role"): b'"assistant"'})


def _content(_: Progress, event: MessageStart, __: Frame) -> Mend | None:
    return None if event.message.content == [] else Mend({("message", "content"): b"[]"})


def _id(_: Progress, event: MessageStart, __: Frame) -> Mend | None:
    return None if (event.message.id or "").startswith("msg_") else Mend()


def _incomplete(_: Progress, event: ContentBlockStart, __: Frame) -> Mend | None:
    """Python's SDK adds deltas to what the start has, and fails where it has nothing."""
    block = event.content_block
    if block.is_tool and not block.input and block.input != {}:
        return Mend({("content_block", "input"): b"{}"})
    if block.type in {"text", "thinking"} and getattr(block, block.type) is None:
        return Mend({("content_block", block.type): b'""'})
    return None


def _tool_input(_: Progress, event: ContentBlockStart, frame: Frame) -> Mend | None:
    """Clients ignore the input that a start brings and wait for deltas."""
    block = event.content_block
    if not block.is_tool or not block.input:
        return None
    written = isinstance(block.input, str) and is_json(block.input.encode("utf-8", "surrogatepass"))
    text = block.input if written else _text(frame.data, "input")
    delta = b'{"type":"input_json_delta","partial_json":%b}' % spans.encode(text)
    return Mend({("content_block", "input"): b"{}"}, delta)


def _text_in_start(_: Progress, event: ContentBlockStart, frame: Frame) -> Mend | None:
    block: Block = event.content_block
    if block.type not in {"text", "thinking"} or not getattr(block, block.type):
        return None
    name = block.type
    delta = b'{"type":"%b_delta","%b":%b}' % (name.encode(), name.encode(), _text(frame.data, name).encode())
    return Mend({("content_block", name): b'""'}, delta)


def _text(data: bytes, name: str) -> str:
    """The JSON of a field of content_block as it stands."""
    where = spans.find(data, "content_block", name)
    return data[where[0] : where[1]].decode("utf-8", "replace") if where else "null"


def _index(progress: Progress, event: Any, _: Frame) -> Mend | None:
    """Python's SDK puts blocks into a list and looks them up by index. The stream renumbers; this only sees."""
    if isinstance(event, ContentBlockStart):
        wrong = event.index != progress.index + 1
    else:
        wrong = progress.state is State.BLOCK and event.index != progress.told
    return Mend() if wrong else None


def _stop_reason(_: Progress, event: MessageDelta, __: Frame) -> Mend | None:
    ours = meant(event.delta.stop_reason)
    return None if ours == event.delta.stop_reason else Mend({("delta", "stop_reason"): spans.encode(ours)})


def _end_turn(progress: Progress, event: MessageDelta, _: Frame) -> Mend | None:
    """Claude Code runs tools whatever the stop reason is; programs on an SDK may not."""
    return Mend() if progress.used_tool and meant(event.delta.stop_reason) == "end_turn" else None


def _shape(check: Check, test: str, *kinds: EventKind) -> Shape:
    return Shape(frozenset(kinds), check, repaired=True, test=f"tests/protocol/test_shapes.py::{test}")


def _noted(check: Check, test: str, *kinds: EventKind) -> Shape:
    return Shape(frozenset(kinds), check, repaired=False, test=f"tests/protocol/test_shapes.py::{test}")


_K, _V = EventKind, Violation
_TYPED: Final = frozenset(EventKind) - {_K.UNKNOWN, _K.BROKEN, _K.UNUSABLE, _K.ERROR, _K.END}

SHAPES: dict[Violation, Shape] = {
    _V.BYTE_ORDER_MARK: _shape(_mark, "test_a_byte_order_mark_is_taken_off", *_TYPED),
    _V.MISSING_EVENT_LINE: _shape(_no_line, "test_a_missing_event_line_is_added", *_TYPED),
    _V.WRONG_EVENT_LINE: _shape(_other_line, "test_the_event_line_is_the_type", *_TYPED),
    _V.NO_USAGE: _shape(
        _usage, "test_missing_usage_becomes_zeros", _K.MESSAGE_START, _K.MESSAGE_DELTA, _K.INTERIM_DELTA
    ),
    _V.WRONG_ROLE: _shape(_role, "test_the_role_is_assistant", _K.MESSAGE_START),
    _V.CONTENT_IN_START: _shape(_content, "test_a_message_starts_without_content", _K.MESSAGE_START),
    _V.FOREIGN_ID: _noted(_id, "test_an_id_of_another_make_is_only_noted", _K.MESSAGE_START),
    _V.INCOMPLETE_BLOCK_START: _shape(_incomplete, "test_a_block_start_has_its_empty_field", _K.BLOCK_START),
    _V.TOOL_INPUT_IN_START: _shape(_tool_input, "test_tool_input_in_the_start_becomes_a_delta", _K.BLOCK_START),
    _V.TEXT_IN_START: _shape(_text_in_start, "test_text_in_the_start_becomes_a_delta", _K.BLOCK_START),
    _V.WRONG_INDEX: _shape(_index, "test_blocks_are_numbered_from_zero", _K.BLOCK_START, _K.BLOCK_DELTA, _K.BLOCK_STOP),
    _V.FOREIGN_STOP_REASON: _shape(_stop_reason, "test_stop_reasons_of_openai_are_translated", _K.MESSAGE_DELTA),
    _V.END_TURN_WITH_TOOL: _noted(_end_turn, "test_end_turn_with_a_tool_is_only_noted", _K.MESSAGE_DELTA),
}

# Most rows are about one or two kinds: which ones to look at, in the table's order.
ABOUT: Final[dict[EventKind, tuple[Violation, ...]]] = {
    kind: tuple(violation for violation, shape in SHAPES.items() if kind in shape.kinds) for kind in EventKind
}
