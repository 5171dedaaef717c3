"""The stream as a whole: bytes that stay, modes, ends, evidence; and the proof that its output is always valid."""

from contextlib import suppress
from itertools import pairwise

import anthropic
import httpx2
import pytest
from anthropic.types import MessageParam
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.errors import Kind
from companion.protocol.anthropic import ContentBlockStop, MessageStop, Ping, Usage, read
from companion.protocol.progress import MAX_TOOL_INPUT
from companion.protocol.sse import Decoder, parse
from companion.protocol.validate import Cut, Stream, Violated
from companion.protocol.violations import Violation
from tests.protocol.streams import (
    ERROR,
    NO_DELTA,
    NOT_JSON,
    PING,
    START,
    STOP,
    TEXT,
    TOOL,
    UNKNOWN,
    delta,
    message_delta,
    message_start,
    payloads,
    start,
    stop,
    text,
    thinking,
    tool_json,
    types,
)

V = Violation
NOTES = {V.FOREIGN_ID, V.END_TURN_WITH_TOOL}


def feed(stream: Stream, *raws: bytes) -> bytes:
    data = b"".join(raws)
    return stream.feed(Decoder().feed(data), data)


def after(*raws: bytes, mode: str = "repair", model: str | None = None) -> Stream:
    stream = Stream(mode, model)
    feed(stream, *raws)
    return stream


# === bytes are sacred


@pytest.mark.parametrize("events", [TEXT, TOOL], ids=["text", "tool"])
@pytest.mark.parametrize("mode", ["strict", "repair", "observe"])
def test_a_right_stream_passes_as_the_very_object_that_came(events, mode):
    stream, decoder = Stream(mode), Decoder()

    for raw in events:
        assert stream.feed(decoder.feed(raw), raw) is raw

    assert stream.end() == b""
    assert not stream.violations
    assert not stream.repaired


def test_a_chunk_of_many_frames_passes_as_the_very_object_that_came():
    whole = b"".join(TOOL)

    assert Stream().feed(Decoder().feed(whole), whole) is whole


@pytest.mark.parametrize("raw", [START, text(), stop(), PING])
def test_take_gives_back_the_very_bytes(raw):
    stream = after(START, start(), text()) if raw is not START else Stream()

    assert stream.take(read(parse(raw)), raw) is raw


def test_a_frame_without_data_passes():
    assert feed(Stream("strict"), b": working\n\n", b"event: ping\n\n") == b": working\n\nevent: ping\n\n"


def test_other_line_ends_pass_as_they_come():
    whole = b"".join(TEXT).replace(b"\n", b"\r\n")
    stream = Stream("strict")

    assert stream.feed(Decoder().feed(whole), whole) == whole
    assert stream.complete


def test_what_is_left_of_a_chunk_is_not_sent_before_its_frame_is_whole():
    stream, decoder = Stream(), Decoder()
    data = START + b"event: pi"

    assert stream.feed(decoder.feed(data), data) == START
    assert stream.feed(decoder.feed(b"ng\ndata: {}\n\n"), b"ng\ndata: {}\n\n") == b"event: ping\ndata: {}\n\n"


def test_fields_that_are_new_to_us_pass_when_something_else_is_mended():
    before = (
        b'event: message_start\ndata: {"type":"message_start","future":{"a": [1.50]}, "message":{ "id":"msg_1","x":1e3,'
    )
    wrong = before + b'"content":[],"role":"assistant","usage":{"input_tokens" : 7.0e0 }}}\n\n'
    right = before + b'"content":[],"role":"assistant","usage":{"input_tokens" : 7.0e0,"output_tokens":0 }}}\n\n'

    assert feed(Stream(), wrong) == right


def test_half_an_emoji_is_not_the_upstreams_fault():
    raw = text("\ud83d")
    stream = after(START, start(), mode="strict")

    assert feed(stream, raw, raw, stop()) == raw + raw + stop()


@pytest.mark.parametrize(
    "events",
    [
        (start(type="thinking", signature="absent"), thinking(), stop()),
        (start(type="redacted_thinking", data="x"), stop()),
        (
            start(type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
            tool_json('{"query":"x"}'),
            stop(),
            start(1, "web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
            stop(1),
        ),
        (start(), delta(0, "citations_delta", citation={}), text(), stop()),
        (start(), delta(0, "mood_delta", mood="good"), stop()),
        (start(type="mood"), text(), tool_json("{"), stop()),
        (message_delta("model_context_window_exceeded", {"output_tokens": 0}), STOP),
    ],
)
def test_what_clients_can_read_is_no_violation(events):
    stream = after(message_start(model="gpt-x", usage={"input_tokens": 0, "output_tokens": 0}), mode="strict")

    assert feed(stream, *events) == b"".join(events)


def test_done_of_another_protocol_is_no_violation():
    stream = after(*TEXT, mode="strict")

    assert feed(stream, b"data: [DONE]\n\n") == b"data: [DONE]\n\n"


# === made events


def test_an_event_without_bytes_gets_its_own():
    stream = after(START, start(), mode="strict")

    assert payloads(stream.take(ContentBlockStop(index=0), None)) == [{"type": "content_block_stop", "index": 0}]
    assert stream.finished == "text"
    assert stream.take(Ping(), None) == b'event: ping\ndata: {"type":"ping"}\n\n'


# === the model's name


def test_the_client_sees_the_name_that_it_asked_for():
    for mode in ("strict", "repair", "observe"):
        stream = Stream(mode, "claude-opus")
        assert feed(stream, START) == message_start(model="claude-opus")
        assert stream.model == "claude-x"
        assert not stream.repaired
        assert not stream.violations


def test_the_same_name_changes_nothing():
    assert Stream(model="claude-x").take(read(parse(START)), START) is START


# === modes


def test_observe_counts_and_changes_nothing():
    whole = b"".join((
        NOT_JSON, START, START, text(), stop(5), start(1, "tool_use", input={"a": 1}), start(9), text("x", 1),
        thinking(), stop(1), stop(9), NO_DELTA, message_delta("stop"), message_delta(None), start(3), STOP, text(),
    ))  # fmt: skip
    stream = Stream("observe")

    assert stream.feed(Decoder().feed(whole), whole) is whole
    assert stream.end() == b""
    assert stream.complete
    assert not stream.repaired
    assert stream.violations.keys() >= {V.BAD_JSON, V.DUPLICATE_MESSAGE_START, V.LATE_DELTA, V.TOOL_INPUT_IN_START}


def test_observe_adds_no_missing_end():
    stream = after(*TEXT[:-1], mode="observe")

    assert stream.end() == b""
    assert stream.violations == {V.MISSING_MESSAGE_STOP: 1}


def test_strict_makes_a_missing_end_a_fault():
    with pytest.raises(Violated, match="missing_message_stop"):
        after(*TEXT[:-1], mode="strict").end()


# === faults


def test_what_came_before_the_fault_in_the_same_piece_is_not_lost():
    stream = Stream()

    with pytest.raises(Violated) as raised:
        feed(stream, START, start(), text("seen"), NOT_JSON, text("unseen"))

    assert raised.value.sent == START + start() + text("seen")
    assert stream.open == "text"


def test_an_error_event_is_another_kind_of_fault_than_a_violation():
    for raw, kind in ((ERROR, Kind.ERROR_EVENT), (NOT_JSON, Kind.VIOLATION)):
        with pytest.raises(Violated) as raised:
            feed(Stream(), START, raw)
        assert raised.value.kind is kind


def test_an_error_event_is_recognised_whatever_its_shape():
    for raw in (
        b"event: error\ndata: oops\n\n",
        b'data: {"error":{"message":"oops"}}\n\n',
        b'data: {"error":"oops"}\n\n',
    ):
        with pytest.raises(Violated, match="error_event: api_error: oops"):
            feed(Stream(), START, raw)


def test_a_tool_without_a_name_is_a_fault():
    for nameless in (start(type="tool_use", id="absent"), start(type="tool_use", name="")):
        with pytest.raises(Violated, match="bad_event"):
            feed(Stream(), START, nameless)


def test_a_tool_is_never_stopped_in_the_middle_of_its_input():
    for following in (start(1), message_delta("tool_use")):
        stream = after(START, start(type="tool_use"), tool_json('{"a'))
        with pytest.raises(Violated, match="missing_block_stop"):
            feed(stream, following)
        assert stream.open == "tool_use"


def test_a_tool_whose_input_is_whole_is_stopped_for_it():
    stream = after(START, start(type="tool_use"), tool_json('{"a":1}'))

    assert feed(stream, message_delta("tool_use")) == stop() + message_delta("tool_use")


def test_tool_input_may_be_cut_in_the_middle_of_an_emoji():
    pieces = (tool_json('{"a":"\ud83d'), tool_json("\ude00"), tool_json('\\ud83d"}'))
    stream = after(START, start(type="tool_use"), mode="strict")

    assert feed(stream, *pieces, stop()) == b"".join(pieces) + stop()


def test_tool_input_that_never_ends_is_a_fault():
    stream, piece = after(START, start(type="tool_use")), tool_json("x" * 1024 * 1024)
    for _ in range(MAX_TOOL_INPUT // 1024 // 1024):
        feed(stream, piece)

    with pytest.raises(Violated, match="too_large"):
        feed(stream, piece)


# === ends


def test_a_cut_between_blocks_closes_with_the_tool():
    stream = after(*TOOL[:12])

    told, stopped = payloads(stream.close_with("tool_use"))

    assert told["delta"]["stop_reason"] == "tool_use"
    assert stopped == {"type": "message_stop"}
    assert stream.complete
    assert stream.repaired


def test_open_text_is_stopped_before_the_message_is_closed():
    stream = after(START, start(), text())

    assert types(stream.close_with("max_tokens")) == ["content_block_stop", "message_delta", "message_stop"]


def test_only_what_is_missing_is_closed():
    assert types(after(*TEXT[:-1]).close_with("max_tokens")) == ["message_stop"]
    assert after(*TEXT).close_with("max_tokens") == b""


def test_nothing_that_still_comes_counts_after_a_close_of_ours():
    stream = after(START, start(), text())
    stream.close_with("max_tokens")

    assert feed(stream, text(), stop()) == b""
    assert stream.end() == b""


@pytest.mark.parametrize(
    "events",
    [
        (),
        (START, start(type="tool_use"), tool_json('{"a')),
        (START, start(type="tool_use")),
        (START, start(type="new")),
    ],
    ids=["nothing", "half an input", "no input yet", "unknown"],
)
def test_what_may_be_half_is_never_closed(events):
    with pytest.raises(ValueError, match="cannot be closed"):
        after(*events).close_with("tool_use")


def test_progress_is_what_the_after_gate_table_asks_for():
    stream = after(*TOOL[:7])
    assert (stream.open, stream.finished, stream.stop_reason) == ("text", "thinking", None)
    feed(stream, *TOOL[7:])
    assert (stream.open, stream.finished, stream.stop_reason) == (None, "tool_use", "tool_use")
    assert stream.usage == Usage(input_tokens=7, output_tokens=5)


# === evidence


@pytest.mark.parametrize(
    ("events", "content", "visible"),
    [
        ((START, PING, UNKNOWN), False, False),
        ((START, start()), False, False),
        ((START, start(), text("")), False, False),
        ((START, start(), text("x")), True, True),
        ((START, start(), stop()), False, False),
        ((START, start(0, text="x")), False, False),
        ((START, start(0, text="x"), stop()), True, True),
        ((START, start(type="thinking")), True, False),
        ((START, start(type="thinking"), thinking(), stop()), True, False),
        ((START, start(type="redacted_thinking", data="x")), False, False),
        ((START, start(type="redacted_thinking", data="x"), stop()), True, False),
        ((START, start(type="tool_use")), False, False),
        ((START, start(type="tool_use"), tool_json("")), False, False),
        ((START, start(type="tool_use"), tool_json("{")), True, True),
        ((START, start(type="tool_use"), stop()), True, True),
        ((START, start(type="mood"), delta(0, "mood_delta", mood="good")), True, True),
    ],
)
def test_the_first_content_is_seen(events, content, visible):
    stream = after(*events)

    assert (stream.content, stream.visible) == (content, visible)


def test_an_answer_without_content_is_empty():
    assert after(START, message_delta("end_turn"), STOP).empty
    assert after(START, STOP).empty
    assert after(START, start(), text(""), stop(), message_delta("stop"), STOP).empty
    assert not after(*TEXT).empty
    for reason in ("refusal", "pause_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded"):
        assert not after(START, message_delta(reason), STOP).empty


# === the proof

EVENTS = st.one_of(
    st.sampled_from([START, STOP, PING, UNKNOWN, ERROR, NOT_JSON, NO_DELTA, b": hm\n\n", b"data: [DONE]\n\n"]),
    st.sampled_from(TEXT + TOOL),
    st.builds(
        message_start,
        usage=st.sampled_from(["absent", None, {"input_tokens": 1}]),
        role=st.sampled_from(["assistant", "user", None]),
        content=st.sampled_from([[], None, ["x"]]),
    ),
    st.builds(start, st.integers(0, 3), st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking", "mood"])),
    st.builds(start, st.integers(0, 3), st.just("tool_use"), input=st.sampled_from(["", {"a": 1}, "{}", 5, [1]])),
    st.builds(start, st.integers(0, 3), st.just("text"), text=st.sampled_from(["x", None, "absent"])),
    st.builds(text, st.sampled_from(["", "x"]), st.integers(0, 3)),
    st.builds(thinking, st.sampled_from(["", "x"]), st.integers(0, 3)),
    st.builds(tool_json, st.sampled_from(["", "{}", '{"a', '":1}']), st.integers(0, 3)),
    st.builds(delta, st.integers(0, 3), st.sampled_from(["signature_delta", "mood_delta"])),
    st.builds(stop, st.integers(0, 3)),
    st.builds(
        message_delta,
        st.sampled_from(["end_turn", "tool_use", "stop", "length", None, ""]),
        st.sampled_from([None, {}, {"output_tokens": None}, []]),
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> list[bytes]:
    """A right stream with some events taken out, put in, swapped or without their line; or anything at all."""
    if draw(st.booleans()):
        return draw(st.lists(EVENTS, max_size=12))
    events = list(draw(st.sampled_from([TEXT, TOOL])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(events)))
        match draw(st.integers(0, 3)):
            case 0:
                events.insert(at, draw(EVENTS))
            case 1:
                del events[at : at + 1]
            case 2:
                events[at : at + 1] = [raw[raw.find(b"data: ") :] for raw in events[at : at + 1] if b"data: " in raw]
            case 3:
                del events[at:]
    return events


def repaired(events: list[bytes]) -> tuple[Stream, bytes, bool]:
    """The stream, what the client got, and whether it ended well."""
    stream, out = Stream(), b""
    try:
        for raw in events:
            out += feed(stream, raw)
        return stream, out + stream.end(), True
    except Violated as violated:
        return stream, out + violated.sent, False
    except Cut:
        return stream, out, False


@given(mutated())
@settings(max_examples=400, deadline=None)
def test_whatever_comes_in_what_goes_out_is_accepted_by_a_strict_stream(events):
    stream, out, well = repaired(events)
    strict = Stream("strict")

    assert feed(strict, out) == out
    assert strict.violations.keys() <= NOTES
    assert strict.complete is stream.complete
    assert (strict.open, strict.finished, strict.stop_reason) == (stream.open, stream.finished, stream.stop_reason)
    assert not well or strict.end() == b""


@given(mutated())
@settings(max_examples=100, deadline=None)
def test_a_stream_that_can_be_closed_is_accepted_by_a_strict_stream(events):
    stream, out, _ = repaired(events)
    try:
        out += stream.close_with("max_tokens")
    except ValueError:
        return
    strict = Stream("strict")

    assert feed(strict, out) == out
    assert strict.complete


@given(mutated(), st.lists(st.integers(0, 12), max_size=5))
@settings(max_examples=100, deadline=None)
def test_it_does_not_matter_how_the_events_come_in_pieces(events, cuts):
    _, expected, _ = repaired(events)
    stream, out = Stream(), b""
    bounds = [0, *sorted(cuts), len(events)]
    try:
        for first, last in pairwise(bounds):
            out += feed(stream, *events[first:last])
        out += stream.end()
    except Violated as violated:
        out += violated.sent
    except Cut:
        pass

    assert out == expected


@given(mutated())
@settings(max_examples=100, deadline=None)
def test_observe_never_changes_a_byte(events):
    stream = Stream("observe")
    with suppress(Cut):
        for raw in events:
            if raw is ERROR and not stream.complete:
                break
            assert feed(stream, raw) == raw
        assert stream.end() == b""


@given(mutated())
@settings(max_examples=60, deadline=None)
def test_what_ends_well_is_accepted_by_the_sdk(events):
    _, out, well = repaired(events)
    if not well:
        return
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=out)
    transport = httpx2.MockTransport(lambda _: answer)
    with httpx2.Client(transport=transport) as http:
        client = anthropic.Anthropic(base_url="http://sdk.test", api_key="x", http_client=http, max_retries=0)
        question: MessageParam = {"role": "user", "content": "x"}
        with client.messages.stream(model="m", max_tokens=1, messages=[question]) as stream:
            message = stream.get_final_message()

    told = payloads(out)
    assert len(message.content) == sum(payload["type"] == "content_block_start" for payload in told)
    assert message.stop_reason is not None
    assert message.usage.output_tokens is not None


def test_message_stop_is_an_event_of_its_own():
    assert after(*TEXT[:-1]).take(MessageStop(), None) == STOP
