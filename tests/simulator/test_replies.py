"""Every reply, seen in its bytes."""

import gzip as gzip_
import json
import zlib
from typing import Any

import pytest

from companion.simulator import Reply, Simulator, replies
from companion.simulator.faults import FAULTS
from companion.simulator.messages import Event, Message, Text, ToolUse
from companion.simulator.replies import (
    answer,
    bad_chunk,
    bad_http,
    bytewise,
    close,
    comments,
    crlf,
    cut,
    data_only,
    deflate,
    empty,
    error_first,
    error_json,
    events,
    gzip,
    hang,
    headers_then_hang,
    html,
    json_for_stream,
    late,
    lying_encoding,
    pings,
    raw,
    redirect,
    reset,
    status,
    stop_reason,
    too_long,
    truncated_json,
    unframed,
    wrong_type,
)
from tests.simulator.wire import Wire, ask, body

HELLO = "Hello from the simulator."
DO = {"role": "user", "content": "do it [[script:thinking]]"}


async def given(reply: Reply, **request: Any) -> Wire:
    async with Simulator() as sim:
        sim.queue(reply)
        wire = await ask(sim, body(**request))
        assert not sim.queued
        assert [received.reply for received in sim.ledger] == [reply.name]
        return wire


def said(wire: Wire) -> str:
    return "".join(
        event["delta"]["text"] for event in wire.events if event.get("delta", {}).get("type") == "text_delta"
    )


# === the good answer


async def test_the_answer_streams():
    wire = await given(answer())

    assert (wire.status, wire.end) == (200, "last chunk")
    assert wire.header("content-type") == "text/event-stream; charset=utf-8"
    assert wire.types == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert said(wire) == HELLO
    assert wire.events[0]["message"]["model"] == "claude-opus-5-5"


async def test_the_answer_does_not_stream_when_it_is_not_asked_to():
    wire = await given(answer(), stream=False)

    assert (wire.status, wire.end, wire.header("content-type")) == (200, "length", "application/json")
    assert wire.json["content"] == [{"type": "text", "text": HELLO}]
    assert wire.json["stop_reason"] == "end_turn"


async def test_an_answer_may_be_made_to_order():
    order = answer(
        "Text", "Thought", [("Read", {"file_path": "x"})], usage={"input_tokens": 5}, stop_reason="max_tokens"
    )

    message = (await given(order, stream=False)).json

    assert [block["type"] for block in message["content"]] == ["thinking", "text", "tool_use"]
    assert (message["stop_reason"], message["usage"]["input_tokens"]) == ("max_tokens", 5)


async def test_equal_requests_get_equal_answers():
    async with Simulator() as sim, Simulator() as other:
        first, second = await ask(sim, body("[[script:tools]]")), await ask(other, body("[[script:tools]]"))

        assert first.body == second.body


# === before the first byte


@pytest.mark.parametrize(
    "code", [400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 424, 429, 500, 502, 503, 504, 520, 529]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_status_comes_in_the_envelope(code, stream):
    wire = await given(status(code, message="No."), stream=stream)

    assert (wire.status, wire.end) == (code, "length")
    assert wire.json["error"]["message"] == "No."
    assert wire.json["request_id"] == wire.header("request-id")


async def test_a_status_says_what_it_is_told():
    more = {"x-should-retry": "false", "request-id": "req_mine"}

    wire = await given(status(429, type="policy_blocked", retry_after=30, headers=more))

    assert wire.json["error"]["type"] == "policy_blocked"
    assert (wire.header("retry-after"), wire.header("x-should-retry")) == ("30", "false")
    assert [value for name, value in wire.headers if name == "request-id"] == ["req_mine"]


async def test_a_status_comes_as_a_page_or_empty_or_as_given():
    page = await given(status(502, "html"))
    assert (page.header("content-type"), page.body[:9]) == ("text/html; charset=utf-8", b"<!DOCTYPE")
    assert (await given(status(520, "empty"))).body == b""
    assert (await given(status(400, body=b'{"detail":"x"}'))).body == b'{"detail":"x"}'


async def test_the_error_types_are_the_vendors():
    kinds = {code: (await given(status(code))).json["error"]["type"] for code in (401, 429, 500, 529)}

    assert kinds == {401: "authentication_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}


async def test_a_prompt_is_too_long():
    assert (await given(too_long(11, 10))).json["error"]["message"] == "prompt is too long: 11 tokens > 10 maximum"


async def test_a_redirect_points_elsewhere():
    wire = await given(redirect(307, "/x"))

    assert (wire.status, wire.header("location")) == (307, "/x")


async def test_a_reset_comes_before_a_byte():
    assert (await given(reset())) == Wire(end="rst")


async def test_a_close_comes_before_a_byte():
    assert (await given(close())) == Wire(end="fin")


async def test_a_hang_gives_nothing(monkeypatch):
    monkeypatch.setattr("tests.simulator.wire.LONG_ENOUGH", 0.1)

    assert (await given(hang())) == Wire(end="silence")


async def test_headers_come_and_then_nothing():
    wire = await given(headers_then_hang())

    assert (wire.status, wire.body, wire.end) == (200, b"", "silence")


async def test_bytes_come_as_they_are():
    assert (await given(raw(b"SSH-2.0-x\r\n", "rst"))).raw == b"SSH-2.0-x\r\n"
    assert (await given(bad_http())).raw.startswith(b"220 ")
    assert (await given(bad_chunk())).raw.endswith(b"\r\n\r\nzz\r\nevent: ping\r\n")


# === 200 that is none


async def test_a_page_comes_with_200():
    wire = await given(html())

    assert (wire.status, wire.header("content-type")) == (200, "text/html; charset=utf-8")


async def test_nothing_comes_with_200():
    wire = await given(empty())

    assert (wire.status, wire.header("content-length"), wire.body) == (200, "0", b"")


async def test_an_error_comes_with_200():
    assert (await given(error_json("overloaded_error", "Later."))).json == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Later."},
    }


async def test_json_comes_for_a_stream():
    wire = await given(json_for_stream())

    assert wire.header("content-type") == "application/json"
    assert wire.json["content"] == [{"type": "text", "text": HELLO}]


async def test_an_error_event_comes_first():
    wire = await given(error_first("api_error", "Oh."))

    assert wire.events == [{"type": "error", "error": {"type": "api_error", "message": "Oh."}}]
    assert wire.end == "last chunk"


# === how a good answer comes


async def test_another_content_type():
    wire = await given(wrong_type())

    assert (wire.header("content-type"), said(wire)) == ("text/plain", HELLO)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_in_gzip(stream, whole):
    wire = await given(gzip(whole=whole), stream=stream)

    assert wire.header("content-encoding") == "gzip"
    assert HELLO[:5].encode() in gzip_.decompress(wire.body)


async def test_a_flushed_event_can_be_read_before_the_next():
    wire = await given(gzip())

    assert zlib.decompressobj(wbits=31).decompress(wire.chunks[0]).startswith(b"event: message_start\n")
    assert len(wire.chunks) > len((await given(answer())).frames)


@pytest.mark.parametrize(("raw_", "wbits"), [(True, -15), (False, 15)])
async def test_an_answer_in_deflate(raw_, wbits):
    wire = await given(deflate(raw=raw_))

    assert wire.header("content-encoding") == "deflate"
    assert b"message_stop" in zlib.decompress(wire.body, wbits)


async def test_an_encoding_that_is_a_lie():
    wire = await given(lying_encoding())

    assert (wire.header("content-encoding"), said(wire)) == ("gzip", HELLO)


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
async def test_other_line_ends(ending):
    wire = await given(crlf(ending))

    assert wire.body.count(ending.encode()) == (await given(answer())).body.count(b"\n")
    assert b"\n" not in wire.body.replace(b"\r\n", b"")


async def test_chunks_of_a_byte():
    wire = await given(bytewise())

    assert {len(chunk) for chunk in wire.chunks} == {1}
    assert said(wire) == HELLO


async def test_an_answer_that_ends_with_the_connection():
    wire = await given(unframed())

    assert (wire.header("transfer-encoding"), wire.header("content-length"), wire.end) == (None, None, "fin")
    assert said(wire) == HELLO


async def test_pings_come_first():
    wire = await given(pings(3, 0.0))

    assert wire.types[:4] == ["ping", "ping", "ping", "message_start"]
    assert said(wire) == HELLO


async def test_comments_come_first():
    wire = await given(comments(2, 0.0))

    assert wire.frames[:2] == [b": still here"] * 2
    assert wire.frames[2].startswith(b"event: message_start")


async def test_pings_are_only_for_streams():
    assert (await given(pings(3, 0.0), stream=False)).json["type"] == "message"


async def test_a_late_answer_is_a_good_one():
    assert said(await given(late(0.01, 0.01))) == HELLO


async def test_a_stream_comes_exactly_as_ordered():
    wire = await given(events([{"type": "ping"}, b"data: x\n\n"], end="fin"))

    assert (wire.body, wire.end) == (b'event: ping\ndata: {"type":"ping"}\n\ndata: x\n\n', "fin")


# === cuts

PLACES = {
    "before_start": ([], None),
    "before_content": (["message_start"], None),
    "in_thinking": (["message_start", "content_block_start"], "thinking"),
    "after_thinking": (["message_start", "content_block_start", "content_block_stop"], None),
    "in_text": (["message_start", *["content_block_start", "content_block_stop"], "content_block_start"], "text"),
    "after_text": (["message_start", *["content_block_start", "content_block_stop"] * 2], None),
    "in_tool": (
        ["message_start", *["content_block_start", "content_block_stop"] * 2, "content_block_start"],
        "tool_use",
    ),
    "after_tool": (["message_start", *["content_block_start", "content_block_stop"] * 3], None),
    "before_message_delta": (["message_start", *["content_block_start", "content_block_stop"] * 3], None),
    "before_message_stop": (
        ["message_start", *["content_block_start", "content_block_stop"] * 3, "message_delta"],
        None,
    ),
    "after_message_delta": (
        ["message_start", *["content_block_start", "content_block_stop"] * 3, "message_delta"],
        None,
    ),
}
ENDS = {"fin": "fin", "rst": "rst", "clean": "last chunk", "stall": "silence", "hang": "silence", "error": "last chunk"}


@pytest.mark.parametrize("where", PLACES)
async def test_a_cut_is_where_it_should_be(where):
    wire = await given(cut(where, "fin"), messages=[DO])

    kept, open_block = PLACES[where]
    assert [type for type in wire.types if type not in {"ping", "content_block_delta"}] == kept
    if open_block is not None:
        assert wire.types[-1] == "content_block_delta"
        start = next(event for event in reversed(wire.events) if event["type"] == "content_block_start")
        assert start["content_block"]["type"] == open_block


async def test_a_cut_in_a_tool_leaves_json_that_is_none():
    wire = await given(cut("in_tool", "fin"), messages=[DO])

    deltas = [event["delta"] for event in wire.events if event["type"] == "content_block_delta"]
    partial = "".join(delta.get("partial_json", "") for delta in deltas)
    assert partial.startswith("{")
    with pytest.raises(ValueError):
        json.loads(partial)


@pytest.mark.parametrize("how", ENDS)
async def test_a_cut_ends_as_it_should(how):
    wire = await given(cut("in_text", how))

    assert wire.end == ENDS[how]
    assert wire.types[-1] == ("error" if how == "error" else "content_block_delta")


@pytest.mark.parametrize(("how", "end"), [("fin", "fin"), ("rst", "rst"), ("clean", "last chunk")])
async def test_a_whole_answer_is_cut_in_the_middle(how, end):
    wire = await given(cut("in_text", how), stream=False)

    assert wire.end == end
    with pytest.raises(ValueError):
        json.loads(wire.body)


async def test_a_cut_finds_the_second_block_of_its_kind():
    two = Message((Text("a"), ToolUse("A", {}), ToolUse("B", {"x": 1})))

    wire = await given(cut("after_tool", "fin", nth=2, of=two))

    assert wire.events[-1] == {"type": "content_block_stop", "index": 2}


async def test_a_block_without_deltas_is_cut_after_its_start():
    wire = await given(cut("in_text", "fin", of=Message((Text(""),))))

    assert wire.types == ["message_start", "content_block_start"]


# === odd streams


ODD = [name for name in replies.__all__ if replies.__dict__[name].__module__.endswith(".odd")]
STREAMS_ONLY = {
    "unknown_event",
    "unknown_delta",
    "no_message_start",
    "duplicate_message_start",
    "no_block_start",
    "no_block_stop",
    "index_gap",
    "text_after_stop",
    "no_signature",
    "invalid_tool_json",
    "tool_input_in_start",
    "foreign_tool",
    "data_only",
    "truncated_json",
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_stream_differs_from_a_good_one(name):
    async with Simulator() as sim:
        good = await ask(sim, body(messages=[DO]))
        sim.queue(FAULTS[name]())
        odd = await ask(sim, body(messages=[DO]))

        assert odd.end == "last chunk"
        assert odd.body != good.body
        assert sim.ledger[-1].reply == name


@pytest.mark.parametrize("name", ODD)
async def test_an_oddity_waits_for_a_stream_unless_it_has_both_forms(name):
    async with Simulator() as sim:
        sim.queue(FAULTS[name]())
        wire = await ask(sim, body(stream=False))

        assert bool(sim.queued) == (name in STREAMS_ONLY)
        assert wire.json["type"] == "message"


async def odd(name: str) -> list[Event]:
    return (await given(FAULTS[name](), messages=[DO])).events


async def test_unknown_things_are_added():
    assert sum(event["type"] == "weather_report" for event in await odd("unknown_event")) == 2
    assert json.dumps(await odd("unknown_delta")).count("sparkle_delta") == 1
    assert [event["content_block"]["type"] for event in await odd("unknown_block") if "content_block" in event] == [
        "thinking",
        "text",
        "tool_use",
        "hologram",
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [("redacted_thinking", ["redacted_thinking"]), ("server_tool", ["server_tool_use", "web_search_tool_result"])],
)
async def test_blocks_of_the_upstream_come_first(name, first):
    stream = await odd(name)

    started = [event for event in stream if event["type"] == "content_block_start"]
    assert [event["content_block"]["type"] for event in started] == [*first, "thinking", "text", "tool_use"]
    assert [event["index"] for event in started] == list(range(len(started)))


async def test_what_is_missing_is_missing():
    assert "message_start" not in [event["type"] for event in await odd("no_message_start")]
    assert "content_block_start" not in [event["type"] for event in await odd("no_block_start")]
    assert "content_block_stop" not in [event["type"] for event in await odd("no_block_stop")]
    assert "signature_delta" not in [
        event["delta"].get("type") for event in await odd("no_signature") if "delta" in event
    ]
    assert "usage" not in json.dumps(await odd("no_usage"))


async def test_what_is_too_much_is_too_much():
    assert [event["type"] for event in await odd("duplicate_message_start")][:2] == ["message_start"] * 2
    assert [event["type"] for event in await odd("text_after_stop")][-4:][0] == "message_stop"
    assert [event["index"] for event in await odd("index_gap") if event["type"] == "content_block_start"] == [3, 4, 5]


@pytest.mark.parametrize(("name", "usage"), [("null_usage", None), ("zero_usage", 0)])
async def test_usage_says_nothing(name, usage):
    stream = await odd(name)

    told = [stream[0]["message"]["usage"], stream[-2]["usage"]]
    assert [each and each["output_tokens"] for each in told] == [usage, usage]


async def test_an_empty_message_ends_its_turn():
    stream = await odd("empty_content")

    assert [event["type"] for event in stream] == ["message_start", "message_delta", "message_stop"]
    assert stream[1]["delta"]["stop_reason"] == "end_turn"


@pytest.mark.parametrize("value", [None, "length", "refusal", "pause_turn"])
@pytest.mark.parametrize("stream", [True, False])
async def test_another_stop_reason(value, stream):
    wire = await given(stop_reason(value), stream=stream)

    told = wire.events[-2]["delta"] if stream else wire.json
    assert told["stop_reason"] == value


async def test_another_model():
    assert (await odd("other_model"))[0]["message"]["model"] == "gpt-x"


async def test_a_tools_input_is_broken():
    stream = await odd("invalid_tool_json")

    partial = "".join(
        event["delta"].get("partial_json", "") for event in stream if event["type"] == "content_block_delta"
    )
    with pytest.raises(ValueError):
        json.loads(partial)
    assert stream[-2]["delta"]["stop_reason"] == "tool_use"


async def test_a_tools_input_is_in_its_start():
    stream = await odd("tool_input_in_start")

    call = next(event["content_block"] for event in stream if event.get("content_block", {}).get("type") == "tool_use")
    assert call["input"] == {"command": "echo thought", "description": "Say thought"}
    assert "input_json_delta" not in json.dumps(stream)


async def test_a_tool_that_was_not_offered():
    assert "LaunchRocket" in json.dumps(await odd("foreign_tool"))


async def test_data_lines_stand_alone():
    wire = await given(data_only())

    assert {frame.partition(b":")[0] for frame in wire.frames} == {b"data"}


async def test_json_breaks_off_in_a_line_and_the_stream_goes_on():
    wire = await given(truncated_json())

    bad = [frame for frame in wire.frames if not frame.endswith(b"}")]
    assert len(bad) == 1
    assert bad[0].startswith(b"event: content_block_delta\ndata: {")
    assert wire.frames[-1].startswith(b"event: message_stop")


# === faults wait for an answer that has a place for them


async def test_a_fault_without_a_place_waits_in_a_scripted_conversation():
    async with Simulator() as sim:
        sim.queue(cut("in_tool", "fin"), status(529))
        whole = await ask(sim, body("[[script:hi]]"))

        assert said(whole) == HELLO
        assert sim.queued == ("cut:in_tool:fin", "status:529")


async def test_a_fault_without_a_place_makes_one_in_a_conversation_without_script():
    wire = await given(cut("after_tool", "fin"))

    assert [event["content_block"]["type"] for event in wire.events if "content_block" in event] == [
        "thinking",
        "text",
        "tool_use",
    ]


@pytest.mark.parametrize("name", ["no_signature", "invalid_tool_json", "tool_input_in_start", "foreign_tool"])
async def test_an_oddity_without_a_place_waits_too(name):
    async with Simulator() as sim:
        sim.queue(FAULTS[name]())
        assert said(await ask(sim, body("[[script:hi]]"))) == HELLO
        assert list(sim.queued) == [name]

        await ask(sim, body("[[script:thinking]]"))
        assert list(sim.queued) == []


@pytest.mark.parametrize("name", ["unknown_delta", "truncated_json"])
async def test_an_oddity_of_deltas_waits_for_one(name):
    async with Simulator() as sim:
        sim.queue(FAULTS[name]())
        await ask(sim, body("[[script:long deltas=0]]"))
        assert sim.queued == (name,)
