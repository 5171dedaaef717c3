"""Complete streams whose events are wrong, or merely unusual, in one thing each."""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from companion.simulator.exchange import Reply
from companion.simulator.messages import Event, dumps
from companion.simulator.replies.shape import Edit, Shape, Whole, shaped

_Message = dict[str, Any]


def _oddity(edit: Edit) -> Callable[[], Reply]:
    """Make the reply that applies an edit; it waits for a stream that has the place for it."""
    return _both(edit, None)


def _in_both_forms(whole: Callable[[_Message], _Message]) -> Callable[[Edit], Callable[[], Reply]]:
    """The same, with what the oddity is for a request that does not stream."""
    return lambda edit: _both(edit, lambda message: dumps(whole(message)))


def _both(edit: Edit, whole: Whole | None) -> Callable[[], Reply]:
    def reply() -> Reply:
        return shaped(edit.__name__, Shape(edit=edit, whole=whole))

    reply.__name__ = edit.__name__
    reply.__doc__ = edit.__doc__
    return reply


def _first(stream: list[Event], type: str) -> int | None:
    return next((at for at, event in enumerate(stream) if event["type"] == type), None)


def _first_block(stream: list[Event], type: str) -> int | None:
    starts = (at for at, event in enumerate(stream) if event["type"] == "content_block_start")
    return next((at for at in starts if stream[at]["content_block"]["type"] == type), None)


def _shifted(stream: list[Event], by: int) -> list[Event]:
    return [{**event, "index": event["index"] + by} if "index" in event else event for event in stream]


def _block(index: int, block: Mapping[str, Any], *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": dict(block)},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


# === what a growing protocol brings


@_oddity
def unknown_event(stream: list[Event]) -> list[Event]:
    """Events of a type that nobody knows, before and after the content."""
    strange = {"type": "weather_report", "weather": {"sky": "clear"}}
    return [stream[0], strange, *stream[1:-2], strange, *stream[-2:]]


@_oddity
def unknown_delta(stream: list[Event]) -> list[Event] | None:
    """A delta of a type that nobody knows."""
    at = _first(stream, "content_block_delta")
    if at is None:
        return None
    return [*stream[: at + 1], {**stream[at], "delta": {"type": "sparkle_delta", "sparkle": 3}}, *stream[at + 1 :]]


_HOLOGRAM: Final = {"type": "hologram", "data": "3d"}


@_in_both_forms(lambda message: {**message, "content": [*message["content"], _HOLOGRAM]})
def unknown_block(stream: list[Event]) -> list[Event]:
    """A block of a type that nobody knows, after the others."""
    blocks = sum(event["type"] == "content_block_start" for event in stream)
    return [*stream[:-2], *_block(blocks, _HOLOGRAM), *stream[-2:]]


_REDACTED: Final = {"type": "redacted_thinking", "data": "c2ltdWxhdGVkIHNlY3JldA=="}


@_in_both_forms(lambda message: {**message, "content": [_REDACTED, *message["content"]]})
def redacted_thinking(stream: list[Event]) -> list[Event]:
    """A redacted_thinking block before the others."""
    return [stream[0], *_block(0, _REDACTED), *_shifted(stream[1:], 1)]


_SEARCH: Final = {"type": "server_tool_use", "id": "srvtoolu_sim_1", "name": "web_search", "input": {"query": "x"}}
_FOUND: Final = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_sim_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://example.invalid/",
            "title": "X",
            "encrypted_content": "eA==",
            "page_age": None,
        }
    ],
}


@_in_both_forms(lambda message: {**message, "content": [_SEARCH, _FOUND, *message["content"]]})
def server_tool(stream: list[Event]) -> list[Event]:
    """A web search that the upstream did by itself, before the other blocks."""
    search = _block(0, {**_SEARCH, "input": {}}, {"type": "input_json_delta", "partial_json": '{"query": "x"}'})
    return [stream[0], *search, *_block(1, _FOUND), *_shifted(stream[1:], 2)]


# === what is missing or too much


@_oddity
def no_message_start(stream: list[Event]) -> list[Event]:
    """A stream without its message_start."""
    return stream[1:]


@_oddity
def duplicate_message_start(stream: list[Event]) -> list[Event]:
    """A second message_start right after the first."""
    return [stream[0], *stream]


@_oddity
def no_block_start(stream: list[Event]) -> list[Event]:
    """No content_block_start anywhere."""
    return [event for event in stream if event["type"] != "content_block_start"]


@_oddity
def no_block_stop(stream: list[Event]) -> list[Event]:
    """No content_block_stop anywhere."""
    return [event for event in stream if event["type"] != "content_block_stop"]


@_oddity
def index_gap(stream: list[Event]) -> list[Event]:
    """Block indices that begin at 3."""
    return _shifted(stream, 3)


@_oddity
def text_after_stop(stream: list[Event]) -> list[Event]:
    """Another text block after message_stop."""
    return [*stream, *_block(9, {"type": "text", "text": ""}, {"type": "text_delta", "text": "One more thing."})]


@_in_both_forms(lambda message: {**message, "content": [], "stop_reason": "end_turn"})
def empty_content(stream: list[Event]) -> list[Event]:
    """A message with no content at all, which ended its turn."""
    return [stream[0], _stopped(stream[-2], "end_turn"), stream[-1]]


def stop_reason(value: str | None = None) -> Reply:
    """Another stop_reason, such as length, pause_turn, refusal or none."""

    def edit(stream: list[Event]) -> list[Event]:
        return [*stream[:-2], _stopped(stream[-2], value), stream[-1]]

    return shaped("stop_reason", Shape(edit=edit, whole=lambda message: dumps({**message, "stop_reason": value})))


def _stopped(event: Event, value: str | None) -> Event:
    return {**event, "delta": {**event["delta"], "stop_reason": value}}


# === usage and model


def _without(holder: _Message) -> _Message:
    return {key: value for key, value in holder.items() if key != "usage"}


def _null(holder: _Message) -> _Message:
    return {**holder, "usage": None}


def _zero(holder: _Message) -> _Message:
    return {**holder, "usage": dict.fromkeys(holder["usage"], 0)}


def _usage(stream: list[Event], change: Callable[[_Message], _Message]) -> list[Event]:
    start = {**stream[0], "message": change(stream[0]["message"])}
    return [start, *stream[1:-2], change(stream[-2]), stream[-1]]


@_in_both_forms(_without)
def no_usage(stream: list[Event]) -> list[Event]:
    """No usage anywhere."""
    return _usage(stream, _without)


@_in_both_forms(_null)
def null_usage(stream: list[Event]) -> list[Event]:
    """Usage that is null."""
    return _usage(stream, _null)


@_in_both_forms(_zero)
def zero_usage(stream: list[Event]) -> list[Event]:
    """Usage that counts nothing."""
    return _usage(stream, _zero)


@_in_both_forms(lambda message: {**message, "model": "gpt-x"})
def other_model(stream: list[Event]) -> list[Event]:
    """The name of another model than was asked for."""
    return [{**stream[0], "message": {**stream[0]["message"], "model": "gpt-x"}}, *stream[1:]]


# === tools and thinking


@_oddity
def no_signature(stream: list[Event]) -> list[Event] | None:
    """Thinking that nobody signed."""
    if _first_block(stream, "thinking") is None:
        return None
    return [event for event in stream if event.get("delta", {}).get("type") != "signature_delta"]


@_oddity
def invalid_tool_json(stream: list[Event]) -> list[Event] | None:
    """A tool's input that ends before its JSON does, in a block that is closed as if it were whole."""
    at = _first_block(stream, "tool_use")
    if at is None:
        return None
    index = stream[at]["index"]
    deltas = [
        at for at, event in enumerate(stream) if event["type"] == "content_block_delta" and event["index"] == index
    ]
    return [*stream[: deltas[-1]], *stream[deltas[-1] + 1 :]]


@_oddity
def tool_input_in_start(stream: list[Event]) -> list[Event] | None:
    """A tool's input given whole in content_block_start, without deltas."""
    if _first_block(stream, "tool_use") is None:
        return None
    odd: list[Event] = []
    inputs: dict[int, str] = {}
    for event in stream:
        if event.get("delta", {}).get("type") == "input_json_delta":
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
        else:
            odd.append(copy.deepcopy(event))
    for event in odd:
        if event["type"] == "content_block_start" and event["index"] in inputs:
            event["content_block"]["input"] = json.loads(inputs[event["index"]])
    return odd


@_oddity
def foreign_tool(stream: list[Event]) -> list[Event] | None:
    """A call of a tool that the request did not offer."""
    at = _first_block(stream, "tool_use")
    if at is None:
        return None
    odd = copy.deepcopy(stream)
    odd[at]["content_block"]["name"] = "LaunchRocket"
    return odd


# === the lines


def data_only() -> Reply:
    """Data lines without event lines."""
    return shaped("data_only", Shape(edit=list, dress=lambda frames: [frame.partition(b"\n")[2] for frame in frames]))


def truncated_json() -> Reply:
    """JSON that breaks off in the first delta's data line; the stream goes on after it."""

    def dress(frames: list[bytes]) -> list[bytes]:
        at = next(at for at, frame in enumerate(frames) if frame.startswith(b"event: content_block_delta"))
        return [*frames[:at], frames[at][:-12] + b"\n\n", *frames[at + 1 :]]

    def edit(stream: list[Event]) -> list[Event] | None:
        return None if _first(stream, "content_block_delta") is None else stream

    return shaped("truncated_json", Shape(edit=edit, dress=dress))
