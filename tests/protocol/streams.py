"""Streams as they are on the wire, in a few words. Everything is bytes; nothing here uses the code under test."""

import json
from typing import Any

EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"id": "toolu_1", "name": "Bash", "input": {}},
}


def event(type: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type, **fields}, separators=(",", ":"))
    return f"event: {type}\ndata: {data}\n\n".encode()


def message_start(**changes: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
        **changes,
    }
    return event("message_start", message={key: value for key, value in message.items() if value != "absent"})


def start(index: int = 0, type: str = "text", **fields: Any) -> bytes:
    block = {"type": type, **EMPTY.get(type, {}), **fields}
    block = {key: value for key, value in block.items() if value != "absent"}
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, type: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": type, **fields})


def text(value: str = "hi", index: int = 0) -> bytes:
    return delta(index, "text_delta", text=value)


def thinking(value: str = "hm", index: int = 0) -> bytes:
    return delta(index, "thinking_delta", thinking=value)


def tool_json(value: str, index: int = 0) -> bytes:
    return delta(index, "input_json_delta", partial_json=value)


def stop(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def message_delta(stop_reason: str | None = "end_turn", usage: Any = None) -> bytes:
    told = {"stop_reason": stop_reason, "stop_sequence": None}
    return event("message_delta", delta=told, usage={"output_tokens": 5} if usage is None else usage)


START = message_start()
STOP = event("message_stop")
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
UNKNOWN = event("message_mood", mood="good")
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
NOT_JSON = b'event: content_block_delta\ndata: {"type":"content_block_del\n\n'
NO_DELTA = event("content_block_delta", index=0)

TEXT = (START, start(), text("Hello"), text(" world"), stop(), message_delta(), STOP)
TOOL = (
    START,
    start(type="thinking"),
    thinking(),
    delta(0, "signature_delta", signature="c2ln"),
    stop(),
    start(1),
    text("I look.", 1),
    stop(1),
    start(2, "tool_use"),
    tool_json('{"command"', 2),
    tool_json(':"ls"}', 2),
    stop(2),
    start(3, "tool_use", id="toolu_2"),
    stop(3),
    message_delta("tool_use"),
    STOP,
)


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of every frame that has data."""
    lines = [line for line in stream.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def types(stream: bytes) -> list[str]:
    return [payload["type"] for payload in payloads(stream)]
