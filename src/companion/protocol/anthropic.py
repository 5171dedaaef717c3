"""The events of an Anthropic Messages stream, typed as far as we act on them.

Two steps: msgspec decodes the shapes we know, fast. What it refuses is tried with `json` before anybody is blamed: lone
surrogates, invalid UTF-8, unknown types and odd fields are not the upstream's fault. Nothing here is ever encoded back
into a stream that had bytes of its own; the structs are for reading, and for events that we make ourselves.
"""

import json
from enum import StrEnum
from types import UnionType
from typing import Any, ClassVar, Final, NoReturn, Union, get_args, get_origin

import msgspec

from companion.protocol.sse import Frame
from companion.protocol.violations import Violated, Violation


class EventKind(StrEnum):
    """What the grammar calls an event. The second half are cases of the first that the state of the stream decides."""

    MESSAGE_START = "message_start"
    BLOCK_START = "content_block_start"
    BLOCK_DELTA = "content_block_delta"
    BLOCK_STOP = "content_block_stop"
    MESSAGE_DELTA = "message_delta"
    MESSAGE_STOP = "message_stop"
    PING = "ping"
    ERROR = "error"
    UNKNOWN = "unknown"
    BROKEN = "broken"  # not JSON
    UNUSABLE = "unusable"  # JSON, but without what its type needs
    INTERIM_DELTA = "interim_delta"  # a message_delta without a stop reason
    MISFIT_DELTA = "misfit_delta"  # a delta of a type that the open block cannot take
    LATE_DELTA = "late_delta"  # a delta for a block that was stopped on its behalf
    LATE_STOP = "late_stop"  # a stop for such a block
    BROKEN_STOP = "broken_stop"  # the stop of a tool_use whose input does not parse
    END = "end"  # of the input


class CacheCreation(msgspec.Struct, omit_defaults=True, gc=False):
    """Tokens that were written to the prompt cache, by how long they stay there."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, omit_defaults=True, gc=False):
    """What the output tokens were for."""

    thinking_tokens: int | None = None


class Usage(msgspec.Struct, omit_defaults=True, gc=False):
    """Token counts as the upstream tells them; in a stream the last value of each counts."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None

    @property
    def cache_5m(self) -> int | None:
        """Tokens written to the cache for 5 minutes, which is how long all stay when nothing else is told."""
        told = self.cache_creation
        return self.cache_creation_input_tokens if told is None else told.ephemeral_5m_input_tokens

    @property
    def cache_1h(self) -> int | None:
        told = self.cache_creation
        return None if told is None else told.ephemeral_1h_input_tokens

    @property
    def reasoning(self) -> int | None:
        told = self.output_tokens_details
        return None if told is None else told.thinking_tokens

    def merge(self, newer: "Usage | None") -> None:
        for name in USAGE_FIELDS if newer else ():
            if (value := getattr(newer, name)) is not None:
                setattr(self, name, value)


USAGE_FIELDS: Final = Usage.__struct_fields__


class StartedMessage(msgspec.Struct, omit_defaults=True):
    """`message` of a message_start. `content` is anything: it has to be an empty list."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    model: str | None = None
    content: Any = None
    usage: Usage | None = None


class Block(msgspec.Struct, omit_defaults=True):
    """`content_block` of a content_block_start."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None

    @property
    def is_tool(self) -> bool:
        return is_tool(self.type)


class Delta(msgspec.Struct, omit_defaults=True, gc=False):
    """`delta` of a content_block_delta."""

    type: str
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None


class Ending(msgspec.Struct, gc=False):
    """`delta` of a message_delta."""

    stop_reason: str | None = None
    stop_sequence: str | None = None


class MessageStart(msgspec.Struct, tag_field="type", tag="message_start"):
    kind: ClassVar[EventKind] = EventKind.MESSAGE_START
    line: ClassVar[bytes] = b"message_start"
    message: StartedMessage


class ContentBlockStart(msgspec.Struct, tag_field="type", tag="content_block_start"):
    kind: ClassVar[EventKind] = EventKind.BLOCK_START
    line: ClassVar[bytes] = b"content_block_start"
    content_block: Block
    index: int | None = None


class ContentBlockDelta(msgspec.Struct, tag_field="type", tag="content_block_delta", gc=False):
    kind: ClassVar[EventKind] = EventKind.BLOCK_DELTA
    line: ClassVar[bytes] = b"content_block_delta"
    delta: Delta
    index: int | None = None


class ContentBlockStop(msgspec.Struct, tag_field="type", tag="content_block_stop", gc=False):
    kind: ClassVar[EventKind] = EventKind.BLOCK_STOP
    line: ClassVar[bytes] = b"content_block_stop"
    index: int | None = None


class MessageDelta(msgspec.Struct, tag_field="type", tag="message_delta", gc=False):
    kind: ClassVar[EventKind] = EventKind.MESSAGE_DELTA
    line: ClassVar[bytes] = b"message_delta"
    delta: Ending
    usage: Usage | None = None


class MessageStop(msgspec.Struct, tag_field="type", tag="message_stop", gc=False):
    kind: ClassVar[EventKind] = EventKind.MESSAGE_STOP
    line: ClassVar[bytes] = b"message_stop"


class Ping(msgspec.Struct, tag_field="type", tag="ping", gc=False):
    kind: ClassVar[EventKind] = EventKind.PING
    line: ClassVar[bytes] = b"ping"


class ErrorBody(msgspec.Struct, gc=False):
    type: str = "api_error"
    message: str = ""


class ErrorEvent(msgspec.Struct, tag_field="type", tag="error"):
    kind: ClassVar[EventKind] = EventKind.ERROR
    line: ClassVar[bytes] = b"error"
    error: ErrorBody


class Unknown(msgspec.Struct, gc=False):
    """An event of a later protocol, or a frame that is none (comments: `type` is empty). It passes untouched."""

    kind: ClassVar[EventKind] = EventKind.UNKNOWN
    line: ClassVar[bytes] = b""
    type: str = ""


class Broken(msgspec.Struct, gc=False):
    """A frame that no client could use, and why: `violation` is BAD_JSON or BAD_EVENT."""

    line: ClassVar[bytes] = b""
    violation: Violation
    detail: str

    @property
    def kind(self) -> EventKind:
        return EventKind.BROKEN if self.violation is Violation.BAD_JSON else EventKind.UNUSABLE


Known = (
    ContentBlockDelta
    | MessageStart
    | ContentBlockStart
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
    | ErrorEvent
)
Event = Known | Unknown | Broken

_decode: Final = msgspec.json.Decoder(Known).decode
_SHAPES: Final = {shape.kind.value: shape for shape in get_args(Known)}
_REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_tool(block_type: str | None) -> bool:
    """Whether a block of this type takes its input as JSON in pieces (tool_use, server_tool_use, mcp_tool_use)."""
    return block_type is not None and block_type.endswith("tool_use")


def meant(stop_reason: str | None) -> str | None:
    """A stop reason in Anthropic's words; one that is new to us stays."""
    return _STOP_REASONS.get(stop_reason or "", stop_reason or None)


_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def read(frame: Frame) -> Event:
    """The event that a frame is. Nothing is raised: what no client could use is a Broken."""
    try:
        return _decode(frame.data)  # type: ignore[no-any-return]  # msgspec does not type unions
    except _REFUSED:
        return _read_slowly(frame)


def _read_slowly(frame: Frame) -> Event:
    if frame.event == b"ping":
        return Ping()
    if not frame.data:
        return Unknown()
    try:
        event = _judge(frame.data)
    except Violated as violated:
        event = Broken(violated.name, violated.detail)
    if frame.event == b"error" and not isinstance(event, ErrorEvent):
        return ErrorEvent(ErrorBody(message=frame.data[:1000].decode("utf-8", "replace")))
    if isinstance(event, Unknown) and not event.type and (frame.event or b"").decode("latin-1") in _NEED_A_TYPE:
        return Broken(Violation.BAD_EVENT, "an event without a type")
    return event


# A message_stop without a type is as good as none, and a missing one is repaired.
_NEED_A_TYPE: Final = _SHAPES.keys() - {"message_stop"}


def _judge(data: bytes) -> Event:
    """What msgspec refused: a type of a later protocol, odd fields, or really broken."""
    if data == b"[DONE]":
        return Unknown()
    try:
        told = loads(data)
    except ValueError as error:
        raise Violated(Violation.BAD_JSON, str(error)) from None
    if not isinstance(told, dict):
        raise Violated(Violation.BAD_JSON, "not a JSON object")
    type = told.get("type")
    if type == "error" or (type is None and told.get("error")):
        return ErrorEvent(_error_body(told.get("error")))
    shape = _SHAPES.get(type) if isinstance(type, str) else None
    if shape is None:
        return Unknown(type if isinstance(type, str) else "")
    try:
        return loosely(told, shape)  # type: ignore[no-any-return]  # it is what `shape` says
    except (msgspec.ValidationError, TypeError) as error:
        raise Violated(Violation.BAD_EVENT, f"{type}: {error}") from None


def loads(data: bytes) -> Any:
    """JSON as JavaScript reads it: invalid UTF-8 is let be, NaN is none. Raises ValueError."""
    try:
        return json.loads(data.decode("utf-8", "replace"), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def loosely(told: Any, shape: Any) -> Any:
    """As msgspec.convert, but an optional field of the wrong type counts as absent."""
    if get_origin(shape) is list and isinstance(told, list):
        return [loosely(item, get_args(shape)[0]) for item in told]
    if get_origin(shape) in {Union, UnionType}:
        shape = next((part for part in get_args(shape) if isinstance(part, type(msgspec.Struct))), shape)
    if not isinstance(shape, type(msgspec.Struct)) or not isinstance(told, dict):
        return msgspec.convert(int(told) if isinstance(told, float) and told.is_integer() else told, shape)
    kept = {}
    for field in msgspec.structs.fields(shape):
        try:
            if field.name in told:
                kept[field.name] = loosely(told[field.name], field.type)
        except msgspec.ValidationError:
            if field.required:
                raise
    return shape(**kept)


def _error_body(told: Any) -> ErrorBody:
    if not isinstance(told, dict):
        return ErrorBody(message=str(told or ""))
    type, message = told.get("type") or told.get("code"), told.get("message")
    return ErrorBody(str(type or "api_error"), message if isinstance(message, str) else json.dumps(told))
