"""A client that leaves: the upstream hears of it within a second, nobody is blamed, and the slot is free."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest

from companion.events import AttemptEnded, CircuitChanged, ExchangeSettled
from companion.simulator import Received, Simulator, replies
from companion.simulator.exchange import Reply
from tests.clients.claude import NEWER, OLDER, Claude
from tests.support.http import CLAUDE_CODE, SESSION, Connection, message
from tests.support.proxy import Proxy, endpoint, running

# Longer than any noise of the machine; what is measured is asserted by itself.
PATIENCE: Final = 10
SLOWLY: Final = "do it [[script:long deltas=400 pace=20ms]]"


@asynccontextmanager
async def one_slot(folder: Path, **config: Any) -> AsyncIterator[tuple[Simulator, Proxy]]:
    """A proxy whose only endpoint takes one request at a time."""
    async with (
        Simulator() as sim,
        running(folder, endpoint("only", sim.url, limits={"concurrency": 1}), **config) as proxy,
    ):
        yield sim, proxy


async def until(true: Callable[[], Any]) -> None:
    for _ in range(PATIENCE * 200):
        if true():
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"still not so after {PATIENCE} s")


def body(text: str, *, stream: bool = True) -> bytes:
    flag = b"true" if stream else b"false"
    return b'{"model":"m","stream":%b,"messages":[{"role":"user","content":"%b"}]}' % (flag, text.encode())


@asynccontextmanager
async def asked(proxy: Proxy, target: str = "/v1/messages", text: str = "hi", **how: Any) -> AsyncIterator[Connection]:
    """A request under way; leaving the context is the client that leaves."""
    async with Connection(proxy.url) as connection:
        headers = {"User-Agent": CLAUDE_CODE, "X-Claude-Code-Session-Id": SESSION}
        await connection.send("POST", target, headers, body(text, **how))
        yield connection


async def left(sim: Simulator, proxy: Proxy, since: float) -> None:
    """The upstream has heard of it, the news tell it, no circuit moved, and the slot is there for the next one."""
    await until(lambda: sim.ledger[0].eof_at is not None)
    await until(lambda: proxy.told(ExchangeSettled))
    heard = sim.ledger[0].eof_at
    assert heard is not None
    assert heard - since < 1
    assert not sim.ledger[0].finished
    assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["cancelled by client"]
    assert [ended.fault.kind for ended in proxy.told(AttemptEnded)] == ["cancelled"]
    assert proxy.told(CircuitChanged) == []
    (view,) = proxy.app.endpoints.views()
    assert view.ready

    sim.always = None
    answer = await message(proxy.url)
    assert (answer.status, answer.text) == (200, "Hello from the simulator.")
    assert len(sim.ledger) == 2


async def test_a_client_that_leaves_in_mid_stream(tmp_path: Path):
    async with one_slot(tmp_path) as (sim, proxy):
        async with asked(proxy, text=SLOWLY) as connection:
            assert (await connection.head()).status == 200
            await connection.reader.readuntil(b"content_block_delta")
        await left(sim, proxy, time.monotonic())


BEFORE_CONTENT: Final[dict[str, Reply]] = {
    "before the head": replies.hang(),
    "after the head": replies.headers_then_hang(),
    "after message_start": replies.cut("before_content", "stall"),
    "while pings come": replies.pings(500, every=0.02),
    "while comments come": replies.comments(500, every=0.02),
}


@pytest.mark.parametrize("when", BEFORE_CONTENT)
async def test_a_client_that_leaves_before_there_is_content(tmp_path: Path, when: str):
    async with one_slot(tmp_path) as (sim, proxy):
        sim.always = BEFORE_CONTENT[when]
        async with asked(proxy):
            await until(lambda: sim.ledger)
        await left(sim, proxy, time.monotonic())


async def test_a_client_that_leaves_while_it_gets_our_pings(tmp_path: Path):
    async with one_slot(tmp_path, gate={"patience": "20ms", "ping": "20ms"}) as (sim, proxy):
        sim.always = replies.hang()
        async with asked(proxy) as connection:
            assert (await connection.head()).status == 200
            await connection.reader.readuntil(b"event: ping")
        await left(sim, proxy, time.monotonic())


async def test_a_client_that_leaves_before_a_whole_answer(tmp_path: Path):
    async with one_slot(tmp_path) as (sim, proxy):
        sim.always = replies.hang()
        async with asked(proxy, stream=False):
            await until(lambda: sim.ledger)
        await left(sim, proxy, time.monotonic())


async def test_a_client_that_resets_its_connection(tmp_path: Path):
    async with one_slot(tmp_path) as (sim, proxy):
        async with asked(proxy, text=SLOWLY) as connection:
            await connection.reader.readuntil(b"content_block_delta")
            connection.writer.transport.abort()
        await left(sim, proxy, time.monotonic())


async def test_a_client_that_does_not_read_and_leaves(tmp_path: Path):
    """The upstream was stopped by back-pressure, with more to say than all buffers on the way can hold."""
    start = {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 64_000}}
    async with one_slot(tmp_path) as (sim, proxy):
        sim.queue(replies.events([start, block, *[delta] * 500]))
        async with asked(proxy):
            await until(lambda: sim.ledger)
            await asyncio.sleep(0.2)
        await left(sim, proxy, time.monotonic())


async def test_a_client_that_leaves_is_not_tried_for_elsewhere(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.always = replies.hang()
        async with asked(proxy):
            await until(lambda: first.ledger)
        await until(lambda: first.ledger[0].eof_at is not None)
        await until(lambda: proxy.told(ExchangeSettled))

        assert second.ledger == []
        assert proxy.told(ExchangeSettled)[0].attempts == 1


async def test_a_client_that_leaves_between_two_tries_is_not_tried_for_again(tmp_path: Path):
    """A lone endpoint is asked again after half a second at the earliest; who has left by then needs no answer."""
    async with one_slot(tmp_path) as (sim, proxy):
        sim.queue(replies.status(529))
        async with asked(proxy):
            await until(lambda: proxy.told(AttemptEnded))
        await until(lambda: proxy.told(ExchangeSettled))

        assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["cancelled by client"]
        assert len(sim.ledger) == 1
        assert (await message(proxy.url)).status == 200
        assert len(sim.ledger) == 2


async def test_counting_tokens_can_be_left_too(tmp_path: Path):
    def counting(received: Received) -> bool:
        return received.path == "/v1/messages/count_tokens"

    async with one_slot(tmp_path) as (sim, proxy):
        sim.queue(replies.hang(), match=counting)
        async with asked(proxy, "/v1/messages/count_tokens"):
            await until(lambda: sim.ledger)
        await left(sim, proxy, time.monotonic())


async def test_the_sdk_that_closes_its_stream_has_left(tmp_path: Path):
    async with one_slot(tmp_path) as (sim, proxy):
        http = anthropic.DefaultAsyncHttpxClient(verify=False)
        async with anthropic.AsyncAnthropic(base_url=proxy.url, api_key="mine", http_client=http) as sdk:
            asked: Any = [{"role": "user", "content": SLOWLY}]
            async with sdk.messages.stream(model="m", max_tokens=100, messages=asked) as stream:
                async for _ in stream.text_stream:
                    break
        await left(sim, proxy, time.monotonic())


@pytest.mark.parametrize("version", [NEWER, OLDER])
async def test_the_cli_that_is_killed_has_left(tmp_path: Path, claude: Callable[..., Claude], version: str):
    async with (
        one_slot(tmp_path) as (sim, proxy),
        claude(version).started(proxy.url, "long deltas=2000 pace=20ms") as process,
    ):
        assert process.stdout is not None
        while b"w0003" not in (line := await process.stdout.readline()):
            assert line
        process.kill()
        since = time.monotonic()
        sim.ledger[:] = [received for received in sim.ledger if received.path == "/v1/messages"]
        await left(sim, proxy, since)
