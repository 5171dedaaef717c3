"""Reading events: fast where they are what we know, and never unjust where they are not."""

import json

import pytest

from companion.protocol.anthropic import (
    Block,
    Broken,
    ContentBlockDelta,
    ContentBlockStart,
    Delta,
    Ending,
    ErrorBody,
    ErrorEvent,
    Event,
    MessageDelta,
    MessageStart,
    Ping,
    StartedMessage,
    Unknown,
    Usage,
    meant,
    read,
)
from companion.protocol.sse import Frame
from companion.protocol.violations import Violation


def data(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def decode(data: bytes) -> Event:
    return read(Frame(None, data, b""))


def test_known_events_are_typed():
    usage = {"input_tokens": 3, "cache_read_input_tokens": 4, "service_tier": "standard"}

    assert decode(data(type="ping")) == Ping()
    assert decode(
        data(type="message_start", message={"role": "assistant", "content": [], "usage": usage})
    ) == MessageStart(
        StartedMessage(role="assistant", content=[], usage=Usage(input_tokens=3, cache_read_input_tokens=4))
    )
    assert decode(
        data(
            type="content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "B", "input": {}}
        )
    ) == ContentBlockStart(Block("tool_use", id="t", name="B", input={}), 1)
    assert decode(
        data(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    ) == MessageDelta(Ending("end_turn"), Usage(output_tokens=9))
    assert decode(data(type="error", error={"type": "overloaded_error", "message": "Overloaded"})) == ErrorEvent(
        ErrorBody("overloaded_error", "Overloaded")
    )


def test_unknown_types_and_unknown_fields_are_let_be():
    assert decode(data(type="message_mood", mood="good")) == Unknown("message_mood")
    assert decode(data(type="ping", mood="good")) == Ping()
    assert decode(data(mood="good")) == Unknown()
    assert decode(data(type=["ping"])) == Unknown()


def test_odd_fields_count_as_absent():
    odd = data(type="message_start", message={"id": 5, "role": None, "content": {}, "usage": {"input_tokens": "x"}})
    assert decode(odd) == MessageStart(StartedMessage(content={}, usage=Usage()))
    assert decode(data(type="message_delta", delta={"stop_reason": 5}, usage=[])) == MessageDelta(Ending())
    assert decode(data(type="message_delta", delta={}, usage={"output_tokens": 5.0})) == MessageDelta(
        Ending(), Usage(output_tokens=5)
    )


@pytest.mark.parametrize("text", [rb"\ud83d", b"\xff", rb"\ud83d\ud83d"])
def test_odd_text_is_not_the_upstreams_fault(text):
    told = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % text
    event = decode(told)

    assert isinstance(event, ContentBlockDelta)
    assert event.index == 0
    assert event.delta.text


def test_duplicate_keys_are_carried():
    told = b'{"type":"content_block_delta","index":5,"index":0,"delta":{"type":"text_delta","text":"a","text":"b"}}'

    assert decode(told) == ContentBlockDelta(Delta("text_delta", text="b"), 0)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (b"hello", Violation.BAD_JSON),
        (b'{"type":"ping"', Violation.BAD_JSON),
        (b'{"type":"new","n":NaN}', Violation.BAD_JSON),
        (b'["ping"]', Violation.BAD_JSON),
        (b'{"a":' * 100_000, Violation.BAD_JSON),
        (b'{"type":"message_start"}', Violation.BAD_EVENT),
        (b'{"type":"message_start","message":[]}', Violation.BAD_EVENT),
        (b'{"type":"content_block_start","index":0,"content_block":{"text":""}}', Violation.BAD_EVENT),
        (b'{"type":"content_block_delta","index":0,"delta":null}', Violation.BAD_EVENT),
    ],
)
def test_what_no_client_could_use_is_broken(broken, name):
    event = decode(broken)

    assert isinstance(event, Broken)
    assert event.violation is name


def test_errors_of_any_shape_are_errors():
    assert decode(data(error={"message": "no", "code": 429})) == ErrorEvent(ErrorBody("429", "no"))
    assert decode(data(type="error", error="no")) == ErrorEvent(ErrorBody(message="no"))
    assert decode(data(type="error")) == ErrorEvent(ErrorBody())
    assert decode(data(error={"reason": 1})) == ErrorEvent(ErrorBody(message='{"reason": 1}'))
    assert read(Frame(b"error", b"Service down", b"")) == ErrorEvent(ErrorBody(message="Service down"))
    assert read(Frame(b"error", b'{"detail":"x"}', b"")) == ErrorEvent(ErrorBody(message='{"detail":"x"}'))


def test_frames_that_are_no_events_of_ours():
    assert read(Frame(None, b"", b": hm\n\n")) == Unknown()
    assert read(Frame(None, b"[DONE]", b"")) == Unknown()
    assert read(Frame(b"ping", b"", b"")) == Ping()
    assert read(Frame(b"ping", b"now", b"")) == Ping()
    assert read(Frame(b"mood", b"{}", b"")) == Unknown()
    assert read(Frame(b"message_stop", b"{}", b"")) == Unknown()


def test_a_known_event_without_its_type_is_broken():
    assert read(Frame(b"content_block_delta", b'{"index":0}', b"")) == Broken(
        Violation.BAD_EVENT, "an event without a type"
    )


def test_usage_keeps_the_last_value_of_each_count():
    usage = Usage(input_tokens=3, output_tokens=1)
    usage.merge(Usage(output_tokens=9, cache_read_input_tokens=0))
    usage.merge(None)

    assert usage == Usage(input_tokens=3, output_tokens=9, cache_read_input_tokens=0)


def test_stop_reasons_in_our_words():
    assert [meant(reason) for reason in ("stop", "length", "refusal", "new", "", None)] == [
        "end_turn",
        "max_tokens",
        "refusal",
        "new",
        None,
        None,
    ]
