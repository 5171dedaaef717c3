"""One test for each thing that can be wrong inside an event; it fails when its row is taken out."""

import json

import pytest

from companion.protocol.shapes import SHAPES
from companion.protocol.sse import BOM, Decoder
from companion.protocol.validate import Stream, Violated
from companion.protocol.violations import Violation
from tests.protocol.streams import (
    PING,
    START,
    STOP,
    delta,
    event,
    message_delta,
    message_start,
    payloads,
    start,
    stop,
    text,
    tool_json,
)

V = Violation


def feed(stream: Stream, *raws: bytes) -> bytes:
    data = b"".join(raws)
    return stream.feed(Decoder().feed(data), data)


def after(*raws: bytes, mode: str = "repair") -> Stream:
    stream = Stream(mode)
    feed(stream, *raws)
    return stream


def mends(before: tuple[bytes, ...], wrong: bytes, right: bytes, violation: Violation) -> Stream:
    """`wrong` reaches the client as `right`; it is a fault in strict mode and untouched in observe mode."""
    stream, observing = after(*before), after(*before, mode="observe")

    assert feed(stream, wrong) == right
    assert stream.violations == {violation: 1}
    assert stream.repaired
    assert feed(observing, wrong) == wrong
    assert observing.violations == {violation: 1}
    assert not observing.repaired
    with pytest.raises(Violated, match=violation):
        feed(after(*before, mode="strict"), wrong)
    return stream


# === frames


def test_a_byte_order_mark_is_taken_off():
    mends((), BOM + START, START, V.BYTE_ORDER_MARK)


def test_a_missing_event_line_is_added():
    mends((), START.partition(b"\n")[2], START, V.MISSING_EVENT_LINE)


def test_a_ping_without_its_line_is_mended_too():
    assert feed(Stream(), b'data: {"type": "ping"}\n\n') == PING


def test_the_event_line_is_the_type():
    mends((), START.replace(b"event: message_start", b"event: message"), START, V.WRONG_EVENT_LINE)


def test_data_in_several_lines_stays_valid_when_its_frame_is_written_anew():
    pretty = json.dumps(payloads(START)[0], indent=1)
    lines = "".join(f"data: {line}\n" for line in pretty.split("\n")) + "\n"

    out = feed(Stream(), lines.encode())

    assert out == b"event: message_start\n" + lines.encode()


# === message_start


@pytest.mark.parametrize("usage", ["absent", None, [], 5])
def test_missing_usage_becomes_zeros(usage):
    mends((), message_start(usage=usage), message_start(usage={"input_tokens": 0, "output_tokens": 0}), V.NO_USAGE)


def test_only_the_counts_that_lack_are_added():
    wrong = {"cache_read_input_tokens": 3, "output_tokens": 1}
    mends((), message_start(usage=wrong), message_start(usage={**wrong, "input_tokens": 0}), V.NO_USAGE)


@pytest.mark.parametrize("reason", [None, "end_turn"])
@pytest.mark.parametrize("usage", [{"input_tokens": 3}, None])
def test_a_message_delta_without_usage_gets_what_is_known(reason, usage):
    told = {"stop_reason": reason, "stop_sequence": None}
    wrong = event("message_delta", delta=told, usage=usage)

    mends((START,), wrong, message_delta(reason, {**(usage or {}), "output_tokens": 1}), V.NO_USAGE)


@pytest.mark.parametrize("role", ["absent", "user", None])
def test_the_role_is_assistant(role):
    wrong = message_start(role=role)
    stream = Stream()

    assert payloads(feed(stream, wrong))[0]["message"]["role"] == "assistant"
    assert stream.violations == {V.WRONG_ROLE: 1}


@pytest.mark.parametrize("content", [None, "x", [{"type": "text", "text": "x"}]])
def test_a_message_starts_without_content(content):
    mends((), message_start(content=content), START, V.CONTENT_IN_START)


@pytest.mark.parametrize("id", ["20250101", None, "absent"])
def test_an_id_of_another_make_is_only_noted(id):
    for mode in ("strict", "repair", "observe"):
        stream = Stream(mode)
        assert feed(stream, message_start(id=id)) == message_start(id=id)
        assert stream.violations == {V.FOREIGN_ID: 1}
        assert not stream.repaired


# === content_block_start


@pytest.mark.parametrize(
    "given", [{"type": "text"}, {"type": "thinking"}, {"type": "tool_use", "id": "t", "name": "B"}]
)
def test_a_block_start_has_its_empty_field(given):
    name = {"tool_use": "input"}.get(given["type"], given["type"])
    wrong = event("content_block_start", index=0, content_block=given)
    right = {**given, name: {} if name == "input" else ""}

    mends((START,), wrong, event("content_block_start", index=0, content_block=right), V.INCOMPLETE_BLOCK_START)


def test_an_empty_string_is_no_tool_input():
    mends((START,), start(type="tool_use", input=""), start(type="tool_use"), V.INCOMPLETE_BLOCK_START)


def test_tool_input_in_the_start_becomes_a_delta():
    mends((START,), start(type="tool_use", input={"a": [1.0]}), start(type="tool_use"), V.TOOL_INPUT_IN_START)


def test_tool_input_of_the_start_comes_just_before_the_stop():
    stream = after(START, start(type="tool_use", input={"a": [1.0, "ü"]}))

    assert feed(stream, PING) == PING
    assert feed(stream, stop()) == tool_json('{"a":[1.0,"\\u00fc"]}') + stop()
    assert stream.finished == "tool_use"


def test_tool_input_of_the_start_comes_before_a_stop_of_ours():
    stream = after(START, start(type="tool_use", input={"a": 1}))

    assert feed(stream, message_delta("tool_use")) == tool_json('{"a":1}') + stop() + message_delta("tool_use")


def test_tool_input_that_comes_twice_is_told_once():
    stream = after(START, start(type="tool_use", input={"a": 1}))

    assert feed(stream, tool_json('{"a":1}'), stop()) == tool_json('{"a":1}') + stop()


def test_tool_input_that_is_written_as_a_string_is_read():
    stream = after(START, start(type="tool_use", input='{"a":1}'))

    assert feed(stream, stop()) == tool_json('{"a":1}') + stop()


@pytest.mark.parametrize("type", ["text", "thinking"])
def test_text_in_the_start_becomes_a_delta(type):
    stream = after(START)

    assert feed(stream, start(0, type, **{type: "Hello"})) == start(0, type)
    assert feed(stream, stop()) == delta(0, f"{type}_delta", **{type: "Hello"}) + stop()
    assert stream.violations == {V.TEXT_IN_START: 1}
    assert stream.content


def test_text_of_the_start_that_deltas_bring_again_is_told_once():
    stream = after(START, start(0, text="Hello"))

    assert feed(stream, text(""), text("Hello"), stop()) == text("") + text("Hello") + stop()


# === indices


def test_blocks_are_numbered_from_zero():
    mends((START,), start(3), start(0), V.WRONG_INDEX)


def test_deltas_and_stops_follow_the_new_number_without_being_counted():
    stream = after(START, start(3))

    assert feed(stream, text("a", 3), text("b", 3), stop(3)) == text("a") + text("b") + stop()
    assert feed(stream, start(4, "thinking"), stop(4)) == start(1, "thinking") + stop(1)
    assert stream.violations == {V.WRONG_INDEX: 2}


def test_deltas_of_another_number_belong_to_the_open_block():
    stream = after(START, start(), text(), stop(), start(1))

    assert feed(stream, text("a", 0), text("b", 0), stop(0)) == text("a", 1) + text("b", 1) + stop(1)
    assert stream.violations == {V.WRONG_INDEX: 3}


def test_a_missing_index_is_added():
    stream = after(START)
    wrong = [
        event("content_block_start", content_block={"type": "text", "text": ""}),
        event("content_block_delta", delta={"type": "text_delta", "text": "x"}),
        event("content_block_stop"),
    ]

    assert [payload["index"] for payload in payloads(feed(stream, *wrong))] == [0, 0, 0]


# === the stop reason


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_stop_reasons_of_openai_are_translated(foreign, ours):
    before = (START, start(), text(), stop())
    stream = mends(before, message_delta(foreign), message_delta(ours), V.FOREIGN_STOP_REASON)
    assert stream.stop_reason == ours


@pytest.mark.parametrize("reason", ["pause_turn", "refusal", "stop_sequence", "a_reason_of_tomorrow"])
def test_other_stop_reasons_pass(reason):
    stream = after(START, mode="strict")

    assert feed(stream, message_delta(reason), STOP) == message_delta(reason) + STOP


def test_end_turn_with_a_tool_is_only_noted():
    for mode in ("strict", "repair"):
        stream = after(START, start(type="tool_use"), stop(), mode=mode)
        assert feed(stream, message_delta("end_turn")) == message_delta("end_turn")
        assert stream.violations == {V.END_TURN_WITH_TOOL: 1}
        assert not stream.repaired


# === the table as a whole


def test_every_row_names_a_test_of_its_own():
    tests = [shape.test.partition("::")[2] for shape in SHAPES.values()]

    assert len(set(tests)) == len(tests)
    assert set(tests) <= globals().keys()


def test_a_block_start_that_needs_nothing_passes():
    stream = after(START, mode="strict")
    odd = event("content_block_start", index=0, content_block={"type": "server_tool_use", "input": {}, "new": None})

    assert feed(stream, odd, stop()) == odd + stop()
