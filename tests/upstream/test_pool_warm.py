"""Connections that are open before anybody asks: how many, for how long, and never in anybody's way."""

import asyncio
import socket
from contextlib import closing

import pytest
import trustme

from companion.clock import SystemClock
from companion.config.models import PoolSettings
from companion.errors import Kind
from companion.events import Timings
from companion.net.dial import Origin
from companion.upstream import warm
from companion.upstream.transport import Transport
from tests.upstream.wire import (
    CHUNKED,
    OK,
    Wire,
    asked,
    body_of,
    client,
    fault_of,
    fin,
    limits,
    on,
    rst,
    say,
    send,
    serving,
    settled,
    trusting,
    until,
)

SERVED = [asked, OK] * 10


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of milliseconds: what matters is their order."""
    monkeypatch.setattr(warm, "PAUSE", 0.005)


def kept(count: int = 1, size: int = 8, idle: float = 60.0) -> PoolSettings:
    return PoolSettings(max_connections=size, keep_warm=count, idle=idle)


def always() -> bool:
    return True


async def ready(transport: Transport, count: int = 1) -> None:
    await until(lambda: transport._pool.idle == count)


# === ready


@pytest.mark.parametrize("count", [1, 3])
async def test_so_many_are_open_before_anybody_asks(count):
    async with Wire(SERVED) as up, client(up, kept(count)) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport, count)
        assert await settled(lambda: len(up.peers)) == count
        assert up.requests == []


async def test_the_handshake_is_done_before_anybody_asks():
    authority = trustme.CA()
    up = Wire(SERVED, tls=serving(authority, "127.0.0.1"))
    async with up, client(up, kept(), lambda: trusting(authority)) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport)
        response = await send(transport)
        await body_of(response)
        assert response.timings == Timings(reused=True, write=response.write)


async def test_none_are_kept_where_none_are_wanted():
    async with Wire(SERVED) as up, client(up, kept(0)) as transport:
        transport.keep_warm(limits(), always)
        await body_of(await send(transport))
        assert await settled(lambda: len(up.peers)) == 1


async def test_one_in_use_is_followed_by_another_and_then_there_are_enough():
    go = asyncio.Event()
    held = [asked, CHUNKED, on(go), say("0", "", ""), *SERVED]
    async with Wire(held, SERVED) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport)
        response = await send(transport)
        await ready(transport)
        go.set()
        await body_of(response)
        for _ in range(5):
            await body_of(await send(transport))
        assert await settled(lambda: len(up.peers)) == 2
        assert transport._pool.slots == 2


async def test_what_requests_use_goes_first():
    async with Wire(SERVED) as up, client(up, kept(2)) as transport:
        await body_of(await send(transport))
        transport.keep_warm(limits(), always)
        await ready(transport, 2)
        await body_of(await send(transport))
        assert [connection.used for connection in transport._pool._idle] == [False, True]


# === renewed


@pytest.mark.parametrize("end", [fin, rst])
async def test_one_that_the_server_closes_is_renewed(end):
    async with Wire([on(gone := asyncio.Event()), end], SERVED) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport)
        gone.set()
        await until(lambda: len(up.peers) == 2)
        await ready(transport)
        assert await settled(lambda: transport._pool.slots) == 1


async def test_one_that_has_been_idle_long_enough_is_renewed():
    async with Wire(SERVED) as up, client(up, kept(idle=0.1)) as transport:
        transport.keep_warm(limits(), always)
        await until(lambda: len(up.peers) == 3)
        await up.left(0)
        await up.left(1)
        assert transport._pool.slots <= 2


async def test_one_that_died_unnoticed_is_replaced_within_the_request():
    async with Wire([asked, fin], SERVED) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport)
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.requests) == 2


# === pauses


def test_the_pause_doubles_with_each_miss_up_to_a_minute(monkeypatch):
    monkeypatch.setattr(warm, "PAUSE", 0.25)
    assert [warm.pause(misses, 0.5) for misses in range(4)] == [0.25, 0.5, 1.0, 2.0]
    assert warm.pause(8, 0.5) == 60
    assert [warm.pause(8, dice) for dice in (0.0, 1.0)] == [45, 75]


async def test_an_upstream_that_refuses_is_left_alone_longer_and_longer():
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{unheard.getsockname()[1]}", kept()) as transport:
            transport.keep_warm(limits(), always)
            await until(lambda: transport._pool._warm._misses == 4)
            assert (transport._pool.slots, transport._pool.idle) == (0, 0)


async def test_a_server_that_closes_at_once_is_left_alone_longer_and_longer():
    async with Wire([fin]) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), always)
        await until(lambda: transport._pool._warm._misses == 4)
        assert len(up.peers) == 4


async def test_a_request_ends_the_long_pauses():
    async with Wire([fin], [fin], [fin], SERVED) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), always)
        await until(lambda: len(up.peers) == 4)
        await ready(transport)
        assert transport._pool._warm._misses == 3
        await body_of(await send(transport))
        assert transport._pool._warm._misses == 0


async def test_while_they_are_unwanted_there_are_none():
    well = False
    async with Wire(SERVED) as up, client(up, kept()) as transport:
        transport.keep_warm(limits(), lambda: well)
        assert await settled(lambda: len(up.peers)) == 0
        well = True
        transport.keep_warm(limits(), lambda: well)
        await ready(transport)


# === in nobody's way


async def test_a_request_takes_the_place_of_a_dial_that_is_under_way():
    authority = trustme.CA()
    async with Wire([], SERVED) as up:
        secured = Origin("https", "127.0.0.1", up.port)
        transport = Transport(secured, kept(size=1), lambda: trusting(authority), SystemClock())
        transport.keep_warm(limits(), always)
        await until(lambda: bool(up.peers) and bool(up.peers[0].seen))
        asking = asyncio.create_task(fault_of(send(transport, limits=limits(tls=0.2))))
        await up.left(0)
        assert (await asking).kind is Kind.TLS_TIMEOUT
        await transport.aclose()


async def test_no_more_are_open_than_allowed():
    go = asyncio.Event()
    held = [asked, CHUNKED, on(go), say("0", "", "")]
    async with Wire(held) as up, client(up, kept(3, size=2)) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport, 2)
        responses = [await send(transport) for _ in range(2)]
        assert await settled(lambda: len(up.peers)) == 2
        go.set()
        for response in responses:
            await body_of(response)


# === the end


async def test_they_end_with_the_pool():
    async with Wire(SERVED) as up, client(up, kept(2)) as transport:
        transport.keep_warm(limits(), always)
        await ready(transport, 2)
        transport.retire()
        await up.left(0)
        await up.left(1)
        transport.keep_warm(limits(), always)
        assert await settled(lambda: len(up.peers)) == 2


async def test_a_dial_under_way_ends_with_the_pool():
    authority = trustme.CA()
    async with Wire([]) as up:
        secured = Origin("https", "127.0.0.1", up.port)
        transport = Transport(secured, kept(), lambda: trusting(authority), SystemClock())
        transport.keep_warm(limits(), always)
        await until(lambda: bool(up.peers))
        await transport.aclose()
        await up.left()
        assert transport._pool.slots == 0


async def test_tasks_stay_few():
    before = len(asyncio.all_tasks())
    async with Wire(SERVED) as up, client(up, kept(2, idle=0.02)) as transport:
        transport.keep_warm(limits(), always)
        await until(lambda: len(up.peers) > 12)
        alive = sum(not peer.task.done() for peer in up.peers)
        assert len(asyncio.all_tasks()) - alive <= before + 1
