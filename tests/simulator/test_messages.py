"""One message in two forms."""

import json
from typing import Any

import pytest

from companion.simulator.messages import Event, Message, Other, Stamp, Text, Thinking, ToolUse, dumps, events, whole

STAMP = Stamp("0123456789abcdef" * 4, "claude-opus-5-5", 42)
FULL = Message(
    (
        Thinking("Let me think about that."),
        Text("Grüße 🙂, and more than one delta of it."),
        ToolUse("Bash", {"command": "echo '🙂'", "description": "Say it"}),
        Other({"type": "redacted_thinking", "data": "eA=="}),
    )
)


def accumulated(stream: list[Event]) -> Event:
    """What a client makes of a stream."""
    message = dict(stream[0]["message"])
    content: list[dict[str, Any]] = []
    inputs: dict[int, str] = {}
    for event in stream[1:]:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(content)
                content.append(dict(block))
            case {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta"} as delta}:
                inputs[index] = inputs.get(index, "") + delta["partial_json"]
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                key = delta["type"].removesuffix("_delta")
                content[index][key] += delta[key]
            case {"type": "content_block_stop", "index": index} if index in inputs:
                content[index]["input"] = json.loads(inputs[index])
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message |= delta | {"usage": usage}
    return message | {"content": content}


@pytest.mark.parametrize(
    "message",
    [
        FULL,
        Message(()),
        Message((Text(""),)),
        Message((Thinking(""), Text("x"))),
        Message((Text("a" * 500),), piece=1),
        Message((Text("x"),), stop_reason=None, usage={"input_tokens": 7, "cache_read_input_tokens": 3}),
    ],
)
def test_the_stream_and_the_whole_say_the_same(message):
    assert accumulated(events(message, STAMP)) == whole(message, STAMP)


def test_equal_requests_get_equal_ids():
    again = whole(FULL, Stamp(STAMP.seed, "x", 1))

    assert again["id"] == whole(FULL, STAMP)["id"]
    assert [block["id"] for block in again["content"] if "id" in block] == ["toolu_sim_0123456789abcdef_2"]


def test_a_tool_waits_unless_the_message_says_otherwise():
    assert Message((ToolUse("x", {}),)).stop == "tool_use"
    assert Message((Text("x"),)).stop == "end_turn"
    assert Message((ToolUse("x", {}),), stop_reason="max_tokens").stop == "max_tokens"


def test_a_lone_surrogate_still_makes_json():
    assert json.loads(dumps({"text": "\ud83d"})) == {"text": "\ud83d"}
