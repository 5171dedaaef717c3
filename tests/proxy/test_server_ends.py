"""How things end: clients that leave, answers that break off, and a server that stops."""

import asyncio
import socket
import struct

import pytest

from companion.proxy.port import Port, Request, respond
from tests.proxy.client import HOST, serving, until

GET = ("GET / HTTP/1.1", HOST, "", "")


class Patient:
    """A handler that answers when it is told to; `cancelled` says that it was stopped instead."""

    def __init__(self, *, begin: bool = False) -> None:
        self.begin = begin
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.port: Port

    async def __call__(self, request: Request, port: Port) -> None:
        self.port = port
        if self.begin:
            port.start(200, [])
            port.write(b"begun")
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.begin:
            port.write(b"done")
            port.finish()
        else:
            respond(port, 200, [], b"done")


# === the client leaves


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("begin", [False, True], ids=["before the answer", "in mid-answer"])
async def test_a_client_that_leaves_cancels_its_handler_within_a_second(how, begin):
    patient = Patient(begin=begin)
    async with serving(patient) as at, at.client() as client:
        client.says(*GET)
        await asyncio.wait_for(patient.began.wait(), 5)
        if how == "half-close":
            client.writer.write_eof()
        elif how == "reset":
            client.writer.transport.abort()
        else:
            client.writer.close()
        await asyncio.wait_for(patient.cancelled.wait(), 1)
        await until(lambda: not at.shared.connections)


async def test_writing_after_the_client_left_is_harmless():
    wrote: list[bool] = []

    async def stubborn(request: Request, port: Port) -> None:
        port.start(200, [])
        try:
            await asyncio.Event().wait()
        finally:
            await port.drain()
            wrote.extend(port.write(b"x" * 100_000) for _ in range(20))
            port.finish()
            port.abort()

    async with serving(stubborn) as at:
        async with at.client() as client:
            client.says(*GET)
            await until(lambda: at.requests)
        await until(lambda: wrote)
        assert wrote == [True] * 20
        await until(lambda: not at.shared.connections)


async def test_a_handler_that_fails_because_the_client_left_hurts_nobody():
    failed = asyncio.Event()

    async def fails(request: Request, port: Port) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            failed.set()
            raise KeyError

    async with serving(fails) as at:
        async with at.client() as client:
            client.says(*GET)
            await until(lambda: at.requests)
        await asyncio.wait_for(failed.wait(), 1)
        await until(lambda: not at.shared.tasks)


async def test_a_client_that_leaves_while_the_handler_drains_sets_it_free():
    freed = asyncio.Event()

    async def flood(request: Request, port: Port) -> None:
        port.start(200, [])
        try:
            while True:
                if not port.write(b"x" * 65536):
                    await port.drain()
        finally:
            freed.set()

    async with serving(flood) as at:
        async with at.client() as client:
            client.stops_reading()
            client.says(*GET)
            await until(lambda: at.shared.connections and next(iter(at.shared.connections))._out.behind)
            client.writer.transport.abort()
        await asyncio.wait_for(freed.wait(), 1)


async def test_a_client_that_leaves_after_the_end_of_its_answer_cancels_nothing():
    settled = asyncio.Event()
    go = asyncio.Event()

    async def settles_later(request: Request, port: Port) -> None:
        respond(port, 200, [], b"done")
        await go.wait()
        settled.set()

    async with serving(settles_later) as at:
        assert await at.asks(*GET) == (200, b"done")
        await until(lambda: not at.shared.connections)
        go.set()
        await asyncio.wait_for(settled.wait(), 1)


async def test_the_next_request_waits_until_the_handler_before_it_has_settled():
    order: list[str] = []

    async def settles(request: Request, port: Port) -> None:
        order.append(f"begins {request.path}")
        respond(port, 200, [], b"")
        await asyncio.sleep(0.02)
        order.append(f"settles {request.path}")

    async with serving(settles) as at, at.client() as client:
        for path in ("/1", "/2"):
            client.says(f"GET {path} HTTP/1.1", HOST, "", "")
            assert (await client.hears()).status == 200
        await until(lambda: len(order) == 4)
        assert order == ["begins /1", "settles /1", "begins /2", "settles /2"]


# === abort


async def test_an_aborted_answer_arrives_as_far_as_it_was_written_and_ends_without_the_last_chunk():
    async def cut(request: Request, port: Port) -> None:
        port.start(200, [])
        port.write(b"x" * 3_000_000)
        port.write(b"the end of it")
        port.abort()
        port.write(b"never")
        port.finish()

    async with serving(cut) as at, at.client() as client:
        # Unread bytes in the server's receive buffer would turn its close into a reset.
        client.says(
            "GET / HTTP/1.1",
            HOST,
            "",
            "GET /never HTTP/1.1",
            HOST,
            "",
            "POST / HTTP/1.1",
            HOST,
            "Content-Length: 9",
            "",
            "x",
        )
        await client.hears_head()
        await asyncio.sleep(0.05)
        client.says("more of it, after the answer was cut")
        size = b"%x" % 3_000_000
        assert await client.hears_the_end() == size + b"\r\n" + b"x" * 3_000_000 + b"\r\nd\r\nthe end of it\r\n"
        assert len(at.requests) == 1


async def test_an_abort_before_anything_was_written_sends_the_head_alone():
    async def cut(request: Request, port: Port) -> None:
        port.start(200, [(b"content-length", b"5")])
        port.abort()

    async with serving(cut) as at, at.client() as client:
        client.says(*GET)
        answer = await client.hears()
        assert (answer.status, answer.body, answer.whole) == (200, b"", False)


async def test_an_abort_before_the_start_just_closes():
    async def cut(request: Request, port: Port) -> None:
        port.abort()

    async with serving(cut) as at, at.client() as client:
        client.says(*GET)
        assert await client.hears_the_end() == b""


async def test_a_reset_in_the_moment_of_an_abort_leaves_nothing_behind():
    patient = Patient(begin=True)
    async with serving(patient) as at:
        with socket.create_connection(("127.0.0.1", at.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.wait_for(patient.began.wait(), 5)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        patient.port.abort()
        await until(lambda: not at.shared.connections)
        patient.go.set()
        await until(lambda: not at.shared.tasks)


# === draining and closing


async def test_drain_accepts_nobody_and_closes_what_idles():
    async with serving() as at, at.client() as client:
        client.says(*GET)
        assert (await client.hears()).status == 200
        port = at.port
        await at.server.drain(5)
        assert await client.hears_the_end() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize("begin", [False, True], ids=["before its answer", "in mid-answer"])
async def test_drain_lets_a_running_answer_end_and_then_closes_its_connection(begin):
    patient = Patient(begin=begin)
    async with serving(patient) as at, at.client() as client:
        client.says(*GET)
        await asyncio.wait_for(patient.began.wait(), 5)
        drained = asyncio.create_task(at.server.drain(10))
        await asyncio.sleep(0.02)
        assert not drained.done()
        patient.go.set()
        answer = await client.hears()
        assert answer == (200, b"begundone" if begin else b"done")
        assert answer.headers.get("connection") == (None if begin else "close")
        assert await client.hears_the_end() == b""
        client.writer.close()
        await asyncio.wait_for(drained, 5)


async def test_drain_cancels_what_has_not_ended_in_time_and_says_so():
    patient = Patient()
    async with serving(patient) as at, at.client() as client:
        client.says(*GET)
        await asyncio.wait_for(patient.began.wait(), 5)
        drained = asyncio.create_task(at.server.drain(0.05))
        answer = await client.hears()
        assert (answer.status, answer.error[0]) == (529, "overloaded_error")
        assert "shutting down" in answer.error[1]
        client.writer.close()
        await asyncio.wait_for(drained, 5)
        assert patient.cancelled.is_set()


async def test_drain_cuts_a_stream_that_has_not_ended_in_time():
    patient = Patient(begin=True)
    async with serving(patient) as at, at.client() as client:
        client.says(*GET)
        await asyncio.wait_for(patient.began.wait(), 5)
        drained = asyncio.create_task(at.server.drain(0.05))
        answer = await client.hears()
        assert (answer.body, answer.whole) == (b"begun", False)
        client.writer.close()
        await asyncio.wait_for(drained, 5)


async def test_close_ends_everything_at_once():
    patient = Patient()
    async with serving(patient) as at, at.client() as client, at.client() as idle:
        client.says(*GET)
        await asyncio.wait_for(patient.began.wait(), 5)
        await at.server.close()
        assert patient.cancelled.is_set()
        assert await idle.hears_the_end() == b""
        assert await client.hears_the_end() == b""
        assert not at.shared.connections
