"""The after-gate table, row by row: an answer breaks after the client has got some of it.

The first endpoint cuts; what the client's connection looks like afterwards is the claim. tests/test_tables.py takes
each row of AFTER_GATE out and checks that its test notices.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from companion.errors import Kind
from companion.events import AttemptEnded, ExchangeSettled
from companion.proxy.aftergate import AFTER_GATE, Broken
from companion.routing.facts import Client
from companion.simulator import Simulator, replies
from companion.simulator.exchange import Reply
from companion.simulator.replies.streams import message as said
from tests.proxy.test_faults import until
from tests.support.http import CLAUDE_CODE, OLDER_CLAUDE_CODE, Answer, Connection, message
from tests.support.proxy import endpoint, running

TEXT = said("A text of some length that comes in pieces.")
THINKING = said("And a text.", "Thinking first, in several pieces.")
TOOL = said("Let me see.", None, [("Read", {"file_path": "/home/dev/project/a.txt"})])
TWO_TOOLS = said(None, None, [("Read", {"file_path": "/a"}), ("Read", {"file_path": "/b"})])
SDK = "Anthropic/Python 2.12.0"


async def broken(folder: Path, reply: Reply, agent: str | None, *, gate: Any = None, **fields: Any) -> Answer:
    config = {"gate": gate} if gate else {}
    async with Simulator() as sim, running(folder, endpoint("only", sim.url), **config) as proxy:
        sim.queue(reply)
        answer = await message(proxy.url, agent=agent, **fields)

        assert len(sim.ledger) == 1
        assert answer.status == 200
        assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["truncated"]
        return answer


def cut_off(answer: Answer) -> None:
    """FIN without the final chunk: all that was sent has arrived, nothing says that it is over."""
    assert not answer.whole
    assert "x-test-reset" not in answer.headers
    assert "message_stop" not in answer.types
    assert "error" not in answer.types


def closed(answer: Answer, stop_reason: str) -> None:
    assert answer.whole
    assert answer.types[-2:] == ["message_delta", "message_stop"]
    assert answer.events[-2]["delta"]["stop_reason"] == stop_reason
    assert answer.types.count("content_block_start") == answer.types.count("content_block_stop")


def told(answer: Answer) -> None:
    assert answer.whole
    assert answer.types[-1] == "error"
    assert "only" in answer.events[-1]["error"]["message"]
    assert "message_stop" not in answer.types


HOWS = pytest.mark.parametrize("how", ["fin", "rst", "clean", "error"])
UNDECIDED = replies.events(
    [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        },
        *[{"type": "some_later_event", "number": number} for number in range(70)],
    ],
    end="fin",
)


async def test_nothing_yet_is_cut_for_claude_code(tmp_path: Path):
    cut_off(await broken(tmp_path, UNDECIDED, CLAUDE_CODE))


async def test_nothing_yet_is_cut_for_an_older_claude_code(tmp_path: Path):
    cut_off(await broken(tmp_path, UNDECIDED, OLDER_CLAUDE_CODE))


async def test_nothing_yet_is_an_error_event_for_others(tmp_path: Path):
    told(await broken(tmp_path, UNDECIDED, SDK))


@HOWS
async def test_an_open_block_is_cut_for_claude_code(tmp_path: Path, how: Any):
    for whole, where in ((TEXT, "in_text"), (THINKING, "in_thinking"), (TOOL, "in_tool")):
        cut_off(await broken(tmp_path, replies.cut(where, how, of=whole), CLAUDE_CODE))  # type: ignore[arg-type]  # a place


@HOWS
async def test_an_open_block_is_cut_for_an_older_claude_code(tmp_path: Path, how: Any):
    cut_off(await broken(tmp_path, replies.cut("in_text", how, of=TEXT), OLDER_CLAUDE_CODE))
    cut_off(await broken(tmp_path, replies.cut("in_tool", how, of=TOOL), OLDER_CLAUDE_CODE))


@HOWS
async def test_an_open_block_is_an_error_event_for_others(tmp_path: Path, how: Any):
    told(await broken(tmp_path, replies.cut("in_text", how, of=TEXT), SDK))
    told(await broken(tmp_path, replies.cut("in_tool", how, of=TOOL), None))


@HOWS
async def test_finished_thinking_is_cut_for_claude_code(tmp_path: Path, how: Any):
    cut_off(await broken(tmp_path, replies.cut("after_thinking", how, of=THINKING), CLAUDE_CODE))


async def test_finished_thinking_is_cut_for_an_older_claude_code(tmp_path: Path):
    cut_off(await broken(tmp_path, replies.cut("after_thinking", of=THINKING), OLDER_CLAUDE_CODE))


async def test_finished_thinking_is_an_error_event_for_others(tmp_path: Path):
    told(await broken(tmp_path, replies.cut("after_thinking", of=THINKING), SDK))


@HOWS
async def test_a_finished_tool_use_is_closed_for_claude_code(tmp_path: Path, how: Any):
    closed(await broken(tmp_path, replies.cut("after_tool", how, of=TOOL), CLAUDE_CODE), "tool_use")
    closed(await broken(tmp_path, replies.cut("after_tool", how, of=TWO_TOOLS), CLAUDE_CODE), "tool_use")


async def test_a_finished_tool_use_is_closed_for_an_older_claude_code(tmp_path: Path):
    closed(await broken(tmp_path, replies.cut("after_tool", of=TOOL), OLDER_CLAUDE_CODE), "tool_use")


async def test_a_finished_tool_use_is_an_error_event_for_others(tmp_path: Path):
    told(await broken(tmp_path, replies.cut("after_tool", of=TOOL), SDK))


@HOWS
async def test_finished_text_is_cut_for_claude_code(tmp_path: Path, how: Any):
    cut_off(await broken(tmp_path, replies.cut("after_text", how, of=TEXT), CLAUDE_CODE))
    closed(
        await broken(tmp_path, replies.cut("after_text", how, of=TEXT), CLAUDE_CODE, gate={"after_text": "resume"}),
        "max_tokens",
    )


@HOWS
async def test_finished_text_is_closed_for_an_older_claude_code(tmp_path: Path, how: Any):
    cut = replies.cut("after_text", how, of=TEXT)
    closed(await broken(tmp_path, cut, OLDER_CLAUDE_CODE), "max_tokens")
    cut_off(await broken(tmp_path, cut, OLDER_CLAUDE_CODE, gate={"after_text": "cut"}))


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
        {"text": "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools. Create a detailed summary."},
    ],
    ids=["no tools", "structured output", "compaction"],
)
@pytest.mark.parametrize("after_text", ["auto", "resume"])
async def test_what_is_of_use_only_as_a_whole_is_never_closed_half(tmp_path: Path, fields: Any, after_text: str):
    cut = replies.cut("after_text", of=TEXT)
    cut_off(await broken(tmp_path, cut, OLDER_CLAUDE_CODE, gate={"after_text": after_text}, **fields))


async def test_finished_text_is_an_error_event_for_others(tmp_path: Path):
    for after_text in ("auto", "resume", "cut"):
        told(await broken(tmp_path, replies.cut("after_text", of=TEXT), SDK, gate={"after_text": after_text}))


def other_block() -> Reply:
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    stream: list[Any] = [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": result},
        {"type": "content_block_stop", "index": 0},
    ]
    return replies.events(stream, end="fin")


async def test_another_finished_block_is_cut_for_claude_code(tmp_path: Path):
    cut_off(await broken(tmp_path, other_block(), CLAUDE_CODE))


async def test_another_finished_block_is_cut_for_an_older_claude_code(tmp_path: Path):
    cut_off(await broken(tmp_path, other_block(), OLDER_CLAUDE_CODE))


async def test_another_finished_block_is_an_error_event_for_others(tmp_path: Path):
    told(await broken(tmp_path, other_block(), SDK))


async def test_silence_after_the_gate_ends_by_the_same_table(tmp_path: Path):
    timeouts = {"idle": "300ms"}
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url), defaults={"timeouts": timeouts}) as proxy,
    ):
        sim.queue(replies.cut("in_text", "stall", of=TEXT), replies.cut("in_text", "stall", of=TEXT))
        cut_off(await message(proxy.url))
        told(await message(proxy.url, agent=SDK))


async def test_only_the_end_missing_is_no_cut_at_all(tmp_path: Path):
    """message_delta with a stop reason has come: the answer is whole, whoever asks."""
    for agent in (CLAUDE_CODE, OLDER_CLAUDE_CODE, SDK):
        for how in ("fin", "rst", "clean"):
            async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
                sim.queue(replies.cut("before_message_stop", how, of=TEXT))
                answer = await message(proxy.url, agent=agent)

                closed(answer, "end_turn")
                assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["repaired"]


async def test_a_cut_moves_the_endpoint_behind_all_others_for_that_session(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.queue(replies.cut("in_text", of=TEXT))
        cut_off(await message(proxy.url))

        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "second"
        assert (await message(proxy.url, session="another")).headers["x-companion-endpoint"] == "first"
        second.queue(replies.status(500))
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "first"


def test_the_table_is_whole():
    assert set(AFTER_GATE) == {(state, client) for state in Broken for client in Client}


async def test_leaving_right_behind_a_cut_does_not_clear_the_upstream(tmp_path: Path):
    """The client may be gone before we have ended its answer; who broke it off stays the same."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        half = (await message(sim.url)).body.partition(b"event: content_block_stop")[0]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n%b\r\n" % (len(half), half))
        writer.close()

    async with Simulator() as sim, await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with running(tmp_path, endpoint("only", address)) as proxy:
            body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
            async with Connection(proxy.url) as connection:
                await connection.send("POST", "/v1/messages", {"User-Agent": CLAUDE_CODE}, body)
                await connection.reader.readuntil(b"content_block_delta")
            await until(lambda: bool(proxy.told(ExchangeSettled)))

            assert proxy.told(ExchangeSettled)[0].outcome == "truncated"
            assert proxy.told(AttemptEnded)[0].fault.kind is Kind.CUT
