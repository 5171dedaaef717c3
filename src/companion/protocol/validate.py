"""A stream on its way to the client: every event is checked against the grammar and, where that is safe, put right.

What is right passes as the very bytes that came. In `repair` mode the output is a valid stream by construction,
whatever the input: each event either is a step of the grammar, becomes one, or is a fault. `strict` makes every
violation a fault; `observe` only counts, and bytes pass as they come.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from companion.protocol import spans, sse
from companion.protocol.anthropic import (
    Block,
    Broken,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorEvent,
    Event,
    EventKind,
    MessageDelta,
    MessageStart,
    read,
)
from companion.protocol.grammar import GRAMMAR, Action, Row, State, unexpected
from companion.protocol.progress import Progress
from companion.protocol.shapes import ABOUT, SHAPES, Edits, Mend
from companion.protocol.sse import Frame
from companion.protocol.violations import Cut, ProtocolError, Violated, Violation

__all__ = ["Cut", "Stream", "Violated"]

_DELTA: Final = b"content_block_delta"
_DELTA_LINE: Final = b"event: content_block_delta\n"
_STOP: Final = sse.encode("message_stop", b'{"type":"message_stop"}')
_USUAL: Final = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "tool_use": "input_json_delta",
    "server_tool_use": "input_json_delta",
}
# The block that a delta of this type is at home in, where one can be started without knowing more.
_IMPLIED: Final = {
    "text_delta": ("text", b'{"type":"text","text":""}'),
    "thinking_delta": ("thinking", b'{"type":"thinking","thinking":"","signature":""}'),
}
_NOTHING: Final = Mend()
_CUTS: Final = {
    State.START: "the stream ended before message_start",
    State.MESSAGE: "the stream ended without a stop reason",
    State.BLOCK: "the stream ended inside a block",
}


class Stream(Progress):
    """One answer. `mode` is strict, repair or observe; `model`, when given, is the name that the client is to see.

    `violations` counts by name; `repaired` tells that the client got other bytes than came, for the protocol's sake.
    """

    def __init__(self, mode: str = "repair", model: str | None = None) -> None:
        super().__init__()
        self.violations: Counter[str] = Counter()
        self.repaired = False
        self._observes = mode == "observe"
        self._strict = mode == "strict"
        self._shown = model
        self._usual: str | None = None  # the type of delta that needs no closer look
        self._usual_index: int | None = None  # and the index that it has

    # === events in, bytes out

    def feed(self, frames: Sequence[Frame], data: bytes) -> bytes:
        """What goes to the client for the frames that `data` completed: `data` itself where nothing changes.

        Raises Violated, whose `sent` is what the frames before the bad one come to.
        """
        pieces: list[bytes] = []
        try:
            for frame in frames:
                event = read(frame)
                if event.__class__ is ContentBlockDelta and frame.event == _DELTA and self._is_usual(event):
                    pieces.append(frame.raw)
                else:
                    pieces.append(self._take(event, frame))
        except ProtocolError as error:
            error.sent = b"".join(pieces)
            raise
        out = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return data if out == data else out

    def take_frame(self, event: Event, frame: Frame) -> bytes:
        """As `take`, for the event that `frame` was read as."""
        return self._take(event, frame)

    def take(self, event: Event, raw: bytes | None) -> bytes:
        """What goes to the client for one event: `raw` itself where nothing changes, b"" where it is dropped.

        `raw` is None for an event that was made here. Raises Violated.
        """
        if raw is None:
            return self._take(event, _framed(event))
        if event.__class__ is ContentBlockDelta and raw.startswith(_DELTA_LINE) and self._is_usual(event):
            return raw
        return self._take(event, sse.parse(raw))

    def end(self) -> bytes:
        """The input is over: what is missing at the end. Raises Cut when the answer is not whole."""
        row = self._row(EventKind.END)
        if row.action is Action.CUT:
            raise Cut(_CUTS[self.state])
        self._judge(row, "the stream ended")
        self.state = row.state
        return _STOP if row.action is Action.FINISH and not self._observes else b""

    def close_with(self, stop_reason: str) -> bytes:
        """The end that the upstream owes: stops the open text or thinking, tells `stop_reason`, ends the message.

        Raises ValueError where that would make something look whole that is not: no message yet, or another open block.
        """
        if not self.started or self.open not in {None, "text", "thinking"}:
            raise ValueError(f"a message cannot be closed here ({self.open or self.state})")
        out = self._stop_block()
        if self.state in {State.MESSAGE, State.BLOCK}:
            out += self._tell(stop_reason)
        if not self.complete:
            out += _STOP
        self.state = State.STOPPED
        self.repaired = True
        return out

    # === one event

    def _is_usual(self, event: Any) -> bool:
        """Takes a delta that is as the one before it was; False for any other, which needs a closer look."""
        delta = event.delta
        if delta.type != self._usual or event.index != self._usual_index:
            return False
        row = GRAMMAR.get((self.state, EventKind.BLOCK_DELTA))
        if row is None or row.violation is not None:
            return False
        if delta.partial_json:
            self.collect(delta)
        return True

    def _take(self, event: Event, frame: Frame) -> bytes:
        kind = self._kind(event)
        row = self._row(kind)
        if row.violation is not None:
            self._judge(row, _detail(event), event)
        if row.action is Action.DROP and not self._observes:
            self.state = row.state
            return b""
        mend = self._mend(kind, event, frame)
        before = self._before(row, event)
        self._advance(kind, row, event, mend)
        edits = {**mend.edits, **self._corrections(row, event)}
        if edits or mend.reframe:
            return before + sse.encode(event.line.decode(), spans.edit(frame.data, edits) if edits else frame.data)
        return before + frame.raw if before else frame.raw

    def _kind(self, event: Event) -> EventKind:
        """The kind of an event in the light of what came before it."""
        kind = event.kind
        match event:
            case MessageDelta() if not event.delta.stop_reason:
                return EventKind.INTERIM_DELTA
            case ContentBlockStart(content_block=block) if block.type == "tool_use" and not (block.id and block.name):
                return EventKind.UNUSABLE
            case ContentBlockDelta() if self.state is State.BLOCK:
                if event.index in self.closed_for:
                    return EventKind.LATE_DELTA
                return kind if self.fits(event.delta) else EventKind.MISFIT_DELTA
            case ContentBlockStop() if self.state is State.BLOCK:
                if event.index in self.closed_for:
                    return EventKind.LATE_STOP
                return kind if self.input_parses() else EventKind.BROKEN_STOP
        return kind

    def _row(self, kind: EventKind) -> Row:
        return GRAMMAR.get((self.state, kind)) or unexpected(self.state)

    def _judge(self, row: Row, detail: str, event: Event | None = None) -> None:
        """Counts what a row says is wrong, and raises what is not repaired."""
        if row.violation is None:
            return
        self.violations[row.violation] += 1
        if row.action is Action.FAIL or (not self._observes and (self._strict or row.action is Action.FAULT)):
            type = event.error.type if isinstance(event, ErrorEvent) else None
            raise Violated(row.violation, detail, type)
        self.repaired = not self._observes

    def _mend(self, kind: EventKind, event: Event, frame: Frame) -> Mend:
        """What is wrong inside the event, counted, and how to put all of it right."""
        edits: Edits = {}
        given = None
        reframe = False
        for violation in ABOUT[kind]:
            # Asked of the table each time: its tests take rows out of it.
            shape = SHAPES.get(violation)
            if shape is None or (mend := shape.check(self, event, frame)) is None:
                continue
            self.violations[violation] += 1
            if self._strict and shape.repaired:
                raise Violated(violation, _detail(event))
            if shape.repaired and not self._observes:
                self.repaired = True
                edits |= mend.edits
                given, reframe = mend.given or given, mend.reframe or reframe
        return Mend(edits, given, reframe) if edits or given or reframe else _NOTHING

    def _before(self, row: Row, event: Event) -> bytes:
        """What a row puts before its event. Raises Violated where that would make half a thing look whole."""
        match row.action:
            case Action.CLOSE:
                out = self._interrupt(row)
            case Action.OPEN | Action.REOPEN if isinstance(event, ContentBlockDelta):
                implied = _IMPLIED.get(event.delta.type)
                if implied is None and not self._observes:
                    raise Violated(row.violation or Violation.UNEXPECTED_EVENT, _detail(event))
                out = self._interrupt(row) if row.action is Action.REOPEN else b""
                out += self._start_block(event, *implied) if implied else b""
            case Action.INFER:
                out = self._tell(self.inferred_stop_reason())
            case _:
                out = self._given() if isinstance(event, ContentBlockStop) else b""
        return b"" if self._observes else out

    def _advance(self, kind: EventKind, row: Row, event: Event, mend: Mend) -> None:
        match event:
            case MessageStart():
                self.begin_message(event)
            case ContentBlockStart():
                self.begin_block(event.content_block, event.index)
                self.given = mend.given
            case ContentBlockDelta() if self.open is not None and kind is not EventKind.LATE_DELTA:
                self.fill(event)
            case ContentBlockStop() if kind is not EventKind.LATE_STOP:
                self.finish_block()
            case MessageDelta():
                self.end_message(event)
        self.state = row.state
        self._usual = _USUAL.get(self.open or "") if self.filled and self.told == self.index else None
        self._usual_index = self.index

    def _corrections(self, row: Row, event: Event) -> Edits:
        """What depends on how the whole stream has been changed: numbers, the known stop reason, the model's name."""
        edits: Edits = {}
        if isinstance(event, MessageStart) and self._shown not in {None, event.message.model}:
            edits["message", "model"] = spans.encode(self._shown)
        if self._observes:
            return edits
        if isinstance(event, ContentBlockStart | ContentBlockDelta | ContentBlockStop) and event.index != self.index:
            edits["index",] = b"%d" % self.index
        if row.action is Action.KEEP:
            edits["delta", "stop_reason"] = spans.encode(self.stop_reason)
        return edits

    # === events of our own

    def _interrupt(self, row: Row) -> bytes:
        """Stops the open block on the upstream's behalf. Raises Violated in the middle of a tool's input."""
        if not self._observes and not self.input_parses():
            raise Violated(row.violation or Violation.UNEXPECTED_EVENT, "in the middle of a tool's input")
        self.closed_for.add(self.told)
        return self._stop_block()

    def _stop_block(self) -> bytes:
        if self.open is None:
            return b""
        out = self._given() + _frame("content_block_stop", b'"index":%d' % self.index)
        self.finish_block()
        return out

    def _given(self) -> bytes:
        if self.given is None:
            return b""
        return _frame("content_block_delta", b'"index":%d,"delta":%b' % (self.index, self.given))

    def _start_block(self, event: ContentBlockDelta, type: str, block: bytes) -> bytes:
        self.begin_block(Block(type), event.index)
        return _frame("content_block_start", b'"index":%d,"content_block":%b' % (self.index, block))

    def _tell(self, stop_reason: str) -> bytes:
        self.stop_reason = stop_reason
        told = spans.encode(stop_reason), self.usage.output_tokens or 0
        return _frame(
            "message_delta", b'"delta":{"stop_reason":%b,"stop_sequence":null},"usage":{"output_tokens":%d}' % told
        )


def _frame(type: str, fields: bytes) -> bytes:
    return sse.encode(type, b'{"type":"%b",%b}' % (type.encode(), fields))


def _framed(event: Event) -> Frame:
    """The frame of an event that has no bytes of its own."""
    data = spans.encode(event)
    return Frame(event.line, data, sse.encode(event.line.decode(), data))


def _detail(event: Event) -> str:
    match event:
        case Broken(detail=detail):
            return detail
        case ErrorEvent(error=error):
            return f"{error.type}: {error.message}"
    return str(event.kind)
