"""What an upstream answers: one Message, which renders as JSON or as the events of a stream, with the same content.

Ids come from the request's sha256, so that equal requests get equal answers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Event = dict[str, Any]

SIGNATURE: Final = "c2lnbmVkIGJ5IHRoZSBzaW11bGF0b3I="


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thinking block; an empty text is what `display: omitted` gives."""

    text: str
    signature: str = SIGNATURE


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class ToolUse:
    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Other:
    """Any other block; a stream gives it whole in its start."""

    block: Mapping[str, Any]


Block = Thinking | Text | ToolUse | Other


@dataclass(frozen=True, slots=True)
class Message:
    """An answer; `piece` is how many characters make a delta.

    `stop_reason` "auto" tells from the blocks whether a tool waits; `usage` overrides the tokens that would be counted.
    """

    blocks: tuple[Block, ...]
    stop_reason: str | None = "auto"
    usage: Mapping[str, Any] | None = None
    piece: int = 12

    @property
    def stop(self) -> str | None:
        if self.stop_reason != "auto":
            return self.stop_reason
        return "tool_use" if any(isinstance(block, ToolUse) for block in self.blocks) else "end_turn"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error: what the script says on purpose, such as a prompt that is too long."""

    status: int
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer takes from the request it answers."""

    seed: str
    model: str
    input_tokens: int

    @property
    def message_id(self) -> str:
        return f"msg_sim_{self.seed[:20]}"

    def tool_id(self, index: int) -> str:
        return f"toolu_sim_{self.seed[:16]}_{index}"


def whole(message: Message, stamp: Stamp) -> dict[str, Any]:
    """The answer to a request that does not stream."""
    content = [_finished(block, stamp, index) for index, block in enumerate(message.blocks)]
    return _envelope(stamp, content, message.stop, _usage(message, stamp))


def events(message: Message, stamp: Stamp) -> list[Event]:
    """The answer to a request that streams, with a ping where the real upstream sends one."""
    usage = _usage(message, stamp)
    stream: list[Event] = [
        {"type": "message_start", "message": _envelope(stamp, [], None, {**usage, "output_tokens": 1})}
    ]
    for index, block in enumerate(message.blocks):
        started = _started(block, stamp, index)
        stream.append({"type": "content_block_start", "index": index, "content_block": started})
        if index == 0:
            stream.append({"type": "ping"})
        stream += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in _deltas(message, block))
        stream.append({"type": "content_block_stop", "index": index})
    stream.append({"type": "message_delta", "delta": {"stop_reason": message.stop, "stop_sequence": None}})
    stream[-1]["usage"] = usage
    return [*stream, {"type": "message_stop"}]


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8; a lone surrogate, which UTF-8 does not know, makes it all ASCII."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def sse(event: Event) -> bytes:
    """An event as its frame on the wire."""
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), dumps(event))


def error(type: str, message: str) -> Event:
    """The error envelope; as an event it looks the same."""
    return {"type": "error", "error": {"type": type, "message": message}}


def _envelope(stamp: Stamp, content: list[Event], stop_reason: str | None, usage: Mapping[str, Any]) -> Event:
    return {
        "id": stamp.message_id,
        "type": "message",
        "role": "assistant",
        "model": stamp.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _usage(message: Message, stamp: Stamp) -> Mapping[str, Any]:
    said = sum(len(delta) for block in message.blocks for delta in map(dumps, _deltas(message, block)))
    counted = {
        "input_tokens": stamp.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1 + said // 16,
    }
    return {**counted, **(message.usage or {})}


def _finished(block: Block, stamp: Stamp, index: int) -> Event:
    match block:
        case Thinking(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Text(text):
            return {"type": "text", "text": text}
        case ToolUse(name, given):
            return {"type": "tool_use", "id": stamp.tool_id(index), "name": name, "input": dict(given)}
        case Other(other):
            return dict(other)


def _started(block: Block, stamp: Stamp, index: int) -> Event:
    match block:
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Text():
            return {"type": "text", "text": ""}
        case ToolUse():
            return {**_finished(block, stamp, index), "input": {}}
        case Other():
            return _finished(block, stamp, index)


def _deltas(message: Message, block: Block) -> list[Event]:
    size = message.piece
    match block:
        case Thinking(text, signature):
            thoughts: list[Event] = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(text, size)]
            return [*thoughts, {"type": "signature_delta", "signature": signature}]
        case Text(text):
            return [{"type": "text_delta", "text": piece} for piece in _pieces(text, size)]
        case ToolUse(_, given):
            pieces = _pieces(json.dumps(given), size)
            return [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces)]
        case Other():
            return []


def _pieces(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))
