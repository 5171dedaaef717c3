"""How many connections, which one next, and nobody's slot is ever lost."""

import asyncio
import gc
import random
import weakref

import pytest

from companion.clock import Clock, FakeClock
from companion.config.models import Timeouts
from companion.errors import Kind, Party, Phase
from companion.net.dial import Origin, dial
from companion.upstream.connection import Connection
from companion.upstream.pool import Pool
from tests.upstream.wire import (
    CHUNKED,
    CLOCK,
    OK,
    Wire,
    after,
    asked,
    body_of,
    client,
    fault_of,
    limits,
    on,
    pool_of,
    say,
    send,
    until,
)

BEGUN = [asked, CHUNKED, say("1", "a", "")]


class Dialled:
    """A pool that dials this upstream; each dial waits for `gate`."""

    def __init__(self, up: Wire, size: int = 2, idle: float = 60.0, clock: Clock = CLOCK) -> None:
        self.up = up
        self.clock = clock
        self.dials = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.pool = Pool(pool_of(size, idle), self.dial, clock, "the upstream")

    async def dial(self, _timeouts: Timeouts) -> Connection:
        self.dials += 1
        await self.gate.wait()
        origin = Origin.of(self.up.url)
        name = str(origin)
        connection, _ = await dial(origin, lambda: Connection(self.pool, self.clock, name), connect=20, tls=20)
        return connection

    async def take(self, connect: float = 20.0, *, fresh: bool = False) -> Connection:
        return await self.pool.take(limits(connect=connect), fresh=fresh)


# === how many


async def test_no_more_connections_than_allowed_are_open_at_a_time():
    async with Wire([asked, after(0.01), OK] * 40) as up, client(up, pool_of(3)) as transport:

        async def whole() -> bytes:
            return await body_of(await send(transport))

        assert await asyncio.gather(*(whole() for _ in range(40))) == [b"ok"] * 40
        assert len(up.peers) == 3


async def test_whoever_waits_too_long_for_a_connection_is_told_that_we_are_busy():
    async with Wire(BEGUN) as up, client(up, pool_of(1)) as transport:
        response = await send(transport)
        fault = await fault_of(send(transport, limits=limits(connect=0.05)))
        assert (fault.party, fault.phase, fault.kind) == (Party.OURS, Phase.CONNECT, Kind.BUSY)
        assert fault.message == f"all 1 connections to 127.0.0.1:{up.port} are in use"
        assert not transport._pool._waiting
        response.close()


async def test_waiters_are_served_in_the_order_they_came():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        served: list[int] = []

        async def waiter(number: int) -> None:
            connection = await dialled.take()
            served.append(number)
            dialled.pool.freed(connection)

        waiting = [asyncio.create_task(waiter(number)) for number in range(5)]
        await asyncio.sleep(0)
        dialled.pool.freed(first)
        await asyncio.gather(*waiting)
        assert (served, dialled.dials) == ([0, 1, 2, 3, 4], 1)
        await dialled.pool.close()


async def test_a_connection_that_dies_gives_its_slot_to_the_next_in_line():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        waiting = asyncio.create_task(dialled.take())
        await asyncio.sleep(0)
        first.abort()
        second = await waiting
        assert second is not first
        assert (dialled.pool.slots, dialled.dials) == (1, 2)
        await dialled.pool.close()


async def test_a_dial_that_fails_gives_its_slot_to_the_next_in_line():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        dialled.gate.clear()
        first = asyncio.create_task(dialled.take())
        second = asyncio.create_task(dialled.take())
        await asyncio.sleep(0.01)
        assert dialled.dials == 1
        first.cancel()
        dialled.gate.set()
        await second
        assert (dialled.pool.slots, dialled.dials) == (1, 2)
        await dialled.pool.close()


async def test_a_connection_that_dies_on_its_way_to_a_waiter_is_replaced():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        waiting = asyncio.create_task(dialled.take())
        await asyncio.sleep(0)
        dialled.pool.freed(first)
        first.abort()
        assert (await waiting).closed is False
        assert dialled.pool.slots == 1
        await dialled.pool.close()


async def test_not_even_then_is_there_one_too_many():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        waiting = [asyncio.create_task(dialled.take()) for _ in range(2)]
        await asyncio.sleep(0)
        dialled.pool.freed(first)
        first.abort()
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert (len(done), dialled.pool.slots) == (1, 1)
        dialled.pool.freed(done.pop().result())
        await asyncio.gather(*waiting)
        await dialled.pool.close()


async def test_a_new_connection_makes_room_by_closing_the_oldest_idle_one():
    async with Wire([]) as up:
        dialled = Dialled(up, size=2)
        oldest, other = await dialled.take(), await dialled.take()
        dialled.pool.freed(oldest)
        dialled.pool.freed(other)
        fresh = await dialled.take(fresh=True)
        assert (oldest.closed, other.closed, fresh.used) == (True, False, False)
        assert (dialled.pool.slots, dialled.pool.idle) == (2, 1)
        await dialled.pool.close()


async def test_a_new_connection_is_new_even_if_a_used_one_is_handed_down():
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        waiting = asyncio.create_task(dialled.take(fresh=True))
        await asyncio.sleep(0)
        dialled.pool.freed(first)
        assert await waiting is not first
        assert (first.closed, dialled.pool.slots) == (True, 1)
        await dialled.pool.close()


# === nobody's slot is lost


async def test_waiters_that_leave_take_no_slot_with_them():
    async with Wire([]) as up:
        dialled = Dialled(up, size=2)
        held = [await dialled.take(), await dialled.take()]
        waiting = [asyncio.create_task(dialled.take()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        for connection in held:
            dialled.pool.freed(connection)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (dialled.pool.slots, dialled.pool.idle) == (2, 2)
        await dialled.pool.close()


@pytest.mark.parametrize("dead", [False, True])
async def test_a_waiter_that_leaves_as_it_is_served_passes_it_on(dead):
    async with Wire([]) as up:
        dialled = Dialled(up, size=1)
        first = await dialled.take()
        leaving, staying = (asyncio.create_task(dialled.take()) for _ in range(2))
        await asyncio.sleep(0)
        if dead:
            first.abort()
        else:
            dialled.pool.freed(first)
        leaving.cancel()
        connection = await staying
        assert (connection is first, dialled.pool.slots) == (not dead, 1)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await dialled.pool.close()


async def test_after_many_cancels_all_slots_are_there():
    dice = random.Random(3)
    script = [asked, after(0.002), OK] * 500
    async with Wire(script) as up, client(up, pool_of(4)) as transport:

        async def one() -> None:
            response = await send(transport)
            await response.read_all(10, idle=20)

        tasks: list[asyncio.Task[None]] = []
        for _ in range(400):
            tasks.append(asyncio.create_task(one()))
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.002)
            if dice.random() < 0.5:
                dice.choice(tasks[-20:]).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = sum(task.cancelled() for task in tasks)
        assert 50 < cancelled < 350
        assert transport._pool.slots <= 4
        assert transport._pool.slots == transport._pool.idle
        assert not transport._pool._waiting
        await asyncio.gather(*(one() for _ in range(8)))


# === which one, and how long


async def test_the_connection_used_last_is_used_next():
    async with Wire([]) as up:
        dialled = Dialled(up, size=3)
        connections = [await dialled.take() for _ in range(3)]
        for connection in connections:
            dialled.pool.freed(connection)
        assert await dialled.take() is connections[2]
        assert await dialled.take() is connections[1]
        dialled.pool.freed(connections[2])
        assert await dialled.take() is connections[2]
        await dialled.pool.close()


async def test_an_idle_connection_is_closed_when_its_time_is_over():
    async with Wire([asked, OK], [asked, OK]) as up, client(up, pool_of(idle=0.1)) as transport:
        await body_of(await send(transport))
        await up.left()
        assert transport._pool.slots == 0
        await body_of(await send(transport))
        assert len(up.peers) == 2


async def test_idle_connections_are_closed_one_after_the_other():
    async with Wire([]) as up:
        dialled = Dialled(up, size=3, idle=0.05)
        connections = [await dialled.take() for _ in range(3)]
        for connection in connections:
            dialled.pool.freed(connection)
            await asyncio.sleep(0.01)
        await until(lambda: dialled.pool.slots == 0)


async def test_the_older_ones_go_first_and_use_makes_young():
    clock = FakeClock()
    async with Wire([asked, OK] * 3) as up:
        dialled = Dialled(up, size=3, idle=0.05, clock=clock)
        old, young = await dialled.take(), await dialled.take()
        for connection in (old, young):
            clock.advance(0.03)
            dialled.pool.freed(connection)
        clock.advance(0.03)
        await until(lambda: old.closed)
        assert not young.closed
        again = await dialled.take()
        assert again is young
        clock.advance(1)
        dialled.pool.freed(again)
        await asyncio.sleep(0.15)
        assert not young.closed
        clock.advance(0.06)
        await until(lambda: young.closed)
        assert dialled.pool.slots == 0


# === the end


async def test_a_retired_pool_closes_idle_connections_now_and_busy_ones_when_done():
    go = asyncio.Event()
    idle, busy = [asked, OK], [*BEGUN, on(go), say("1", "b", "0", "", "")]
    async with Wire(busy, idle, idle) as up, client(up) as transport:
        response = await send(transport)
        await body_of(await send(transport))
        transport.retire()
        await up.left(1)
        go.set()
        assert await body_of(response) == b"ab"
        await up.left(0)
        assert await body_of(await send(transport)) == b"ok"
        await up.left(2)
        assert transport._pool.slots == 0


async def test_close_ends_everything_and_says_that_it_was_us():
    async with Wire(BEGUN, [asked], [asked]) as up, client(up, pool_of(2)) as transport:
        response = await send(transport)
        headless, waiting = (asyncio.create_task(fault_of(send(transport))) for _ in range(2))
        await until(lambda: len(up.requests) == 2)
        reading = asyncio.create_task(fault_of(body_of(response)))
        await asyncio.sleep(0)
        await transport.aclose()
        faults = [await headless, await waiting, await reading, await fault_of(send(transport))]
        assert {(fault.party, fault.kind) for fault in faults} == {(Party.OURS, Kind.CANCELLED)}
        assert [fault.phase for fault in faults] == [Phase.HEADERS, Phase.CONNECT, Phase.BODY, Phase.CONNECT]
        await up.left(0)
        await up.left(1)


async def test_a_dial_that_ends_after_close_is_closed():
    async with Wire([]) as up:
        dialled = Dialled(up)
        dialled.gate.clear()
        late = asyncio.create_task(fault_of(dialled.take()))
        await asyncio.sleep(0)
        await dialled.pool.close()
        dialled.gate.set()
        assert (await late).kind is Kind.CANCELLED
        await until(lambda: bool(up.peers))
        await up.left()
        assert dialled.pool.slots == 0


async def test_nothing_holds_on_to_a_connection_that_is_gone():
    async with Wire([asked, OK, asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        await body_of(response)
        gone = weakref.ref(transport._pool._idle[0])
        transport.retire()
        del response
        await up.left()
        await asyncio.sleep(0.01)
        gc.collect()
        assert gone() is None
