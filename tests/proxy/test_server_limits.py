"""Time and sums: slow clients, clients that do not read, too many of them."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from functools import partial

import pytest

from companion.proxy.port import Port, Request, respond
from tests.proxy.client import HOST, PATIENCE, Serving, memory, serving, tell, until

POST = "POST /v1/messages HTTP/1.1"


# === slow requests


@pytest.mark.parametrize(
    "lines",
    [("G",), ("GET / HTTP/1.1", HOST, ""), ("GET / HTTP/1.1", HOST, "X-Half: wa")],
    ids=["line", "fields", "field"],
)
async def test_a_head_must_come_within_header_timeout(lines):
    async with serving(header_timeout=0.1) as at, at.client() as client:
        began = time.monotonic()
        client.says(*lines)
        answer = await client.hears()
        assert time.monotonic() - began >= 0.09
        type, message = answer.error
        assert (answer.status, type) == (408, "timeout_error")
        assert "server.header_timeout" in message
        assert await client.hears_the_end() == b""


async def test_a_head_that_drips_has_no_more_time_than_one_that_stops():
    async with serving(header_timeout=0.2) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "X-Slow: ")
        hears = asyncio.create_task(client.hears())
        while not hears.done():
            client.says("y")
            await asyncio.sleep(0.02)
        assert (await hears).status == 408


async def test_header_timeout_starts_with_a_requests_first_byte_also_on_a_kept_connection():
    async with serving(header_timeout=0.1) as at, at.client() as client:
        for _ in range(2):
            await asyncio.sleep(0.15)
            client.says("GET / HTTP/1.1", HOST, "", "")
            assert (await client.hears()).status == 200
        client.says("GET / HTTP/1.1")
        assert (await client.hears()).status == 408


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
async def test_a_body_must_come_at_min_body_rate(framing):
    async with serving(header_timeout=0.1, min_body_rate=10_000) as at, at.client() as client:
        client.says(POST, HOST, framing, "", "5", "hello")
        answer = await client.hears()
        type, message = answer.error
        assert (answer.status, type) == (408, "timeout_error")
        assert "server.min_body_rate" in message
        assert at.shared.held == 0


async def test_a_body_that_comes_fast_enough_may_take_long():
    async with serving(header_timeout=0.4, min_body_rate=100) as at, at.client() as client:
        client.says(POST, HOST, "Content-Length: 6000", "", "")
        for _ in range(60):
            client.says("x" * 100)
            await asyncio.sleep(0.01)
        assert await client.hears() == (200, b"POST /v1/messages 6000")


async def test_chunk_framing_is_no_progress():
    async with serving(header_timeout=0.1, min_body_rate=1000) as at, at.client() as client:
        client.says(POST, HOST, "Transfer-Encoding: chunked", "", "1;")
        hears = asyncio.create_task(client.hears())
        while not hears.done():
            client.says("x" * 100)
            await asyncio.sleep(0.01)
        assert (await hears).status == 408


async def test_an_idle_connection_is_closed_after_keep_alive():
    async with serving(keep_alive=0.1) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        assert (await client.hears()).status == 200
        assert await client.hears_the_end() == b""


async def test_a_connection_that_never_asks_is_closed_after_keep_alive():
    async with serving(keep_alive=0.1) as at, at.client() as client:
        assert await client.hears_the_end() == b""


async def test_a_handler_may_take_longer_than_every_limit_on_requests():
    async def slow(request: Request, port: Port) -> None:
        await asyncio.sleep(0.4)
        respond(port, 200, [], b"at last")

    async with serving(slow, keep_alive=0.3, header_timeout=0.05, client_write_timeout=0.05) as at:
        assert await at.asks("GET / HTTP/1.1", HOST, "", "") == (200, b"at last")


# === clients that do not read


async def _endless(request: Request, port: Port) -> None:
    port.start(200, [])
    while True:
        if not port.write(b"x" * 65536):
            await port.drain()
        await asyncio.sleep(0)


async def _fifty_megabytes(request: Request, port: Port) -> None:
    port.start(200, [])
    for _ in range(800):
        if not port.write(b"x" * 65536):
            await port.drain()
    port.finish()


async def test_a_client_that_does_not_read_stops_the_handler_and_holds_no_memory():
    async with serving(_fifty_megabytes) as at, at.client() as client:
        client.stops_reading()
        with memory(1_000_000):
            client.says("GET / HTTP/1.1", HOST, "", "")
            await until(lambda: at.requests)
            (connection,) = at.shared.connections
            await until(lambda: connection._out.behind)
            sent = connection._out.sent
            await asyncio.sleep(0.1)
            assert connection._out.sent == sent
            assert sent < 50_000_000
            assert connection._out.pending < 300_000
        client.reads_on()
        answer = await client.hears()
        assert (len(answer.body), answer.whole) == (800 * 65536, True)


@pytest.mark.parametrize("handler", [_endless, _fifty_megabytes], ids=["while it is written", "after a while"])
async def test_a_client_that_takes_nothing_for_client_write_timeout_is_cut(handler):
    async with serving(handler, client_write_timeout=0.2) as at, at.client() as client:
        client.stops_reading()
        client.says("GET / HTTP/1.1", HOST, "", "")
        await until(lambda: at.requests)
        await until(lambda: not at.shared.connections)


@pytest.mark.parametrize("last", ["", "Connection: close"], ids=["kept", "closing"])
async def test_a_finished_answer_that_nobody_reads_is_cut_too(last):
    async def whole(request: Request, port: Port) -> None:
        respond(port, 200, [], b"x" * 8_000_000)

    async with serving(whole, client_write_timeout=0.2) as at, at.client() as client:
        client.stops_reading()
        client.says("GET / HTTP/1.1", HOST, *filter(None, [last]), "", "")
        await until(lambda: at.requests)
        await until(lambda: not at.shared.connections)


async def test_a_client_that_reads_slowly_but_reads_is_not_cut(monkeypatch):
    monkeypatch.setattr("companion.proxy.connection.LINGER", 0.05)

    async def whole(request: Request, port: Port) -> None:
        respond(port, 200, [], b"x" * 16_000_000)

    async with serving(whole, client_write_timeout=0.5) as at:
        with socket.create_connection(("127.0.0.1", at.port)) as raw:
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            count, began = 0, time.monotonic()
            while data := await asyncio.wait_for(loop.sock_recv(raw, 400_000), PATIENCE):
                count += len(data)
                await asyncio.sleep(0.02)
            assert count > 16_000_000
            assert time.monotonic() - began > 0.5


# === sums over all connections


def _all(at: Serving, number: int) -> bool:
    return len(at.requests) == number


def _receiving(at: Serving, number: int) -> bool:
    return len([each for each in at.shared.connections if each.receiving]) == number


async def _hold(request: Request, port: Port) -> None:
    await asyncio.Event().wait()


async def test_bodies_in_memory_are_limited_together():
    async with serving(_hold, max_inflight_bytes=1000) as at, at.client() as first, at.client() as second:
        first.says(POST, HOST, "Content-Length: 600", "", "x" * 600)
        await until(lambda: at.requests)
        second.says(POST, HOST, "Content-Length: 401", "", "")
        answer = await second.hears()
        type, message = answer.error
        assert (answer.status, type) == (529, "overloaded_error")
        assert answer.headers["retry-after"] == "1"
        assert "x-should-retry" not in answer.headers
        assert "server.max_inflight_bytes" in message


async def test_a_body_counts_while_it_comes_in():
    async with serving(max_inflight_bytes=1000) as at, at.client() as first, at.client() as second:
        first.says(POST, HOST, "Content-Length: 1000", "", "x" * 999)
        await until(lambda: at.shared.held == 999)
        second.says(POST, HOST, "Transfer-Encoding: chunked", "", "2", "yy", "")
        assert (await second.hears()).status == 529
        first.says("x")
        assert (await first.hears()).status == 200
        assert at.shared.held == 0


async def test_a_released_body_makes_room_before_its_exchange_is_over():
    go = asyncio.Event()

    async def release(request: Request, port: Port) -> None:
        request.release()
        request.release()
        await go.wait()
        respond(port, 200, [], b"")

    async with serving(release, max_inflight_bytes=1000) as at, at.client() as first, at.client() as second:
        for number, client in enumerate((first, second), 1):
            client.says(POST, HOST, "Content-Length: 600", "", "x" * 600)
            await until(partial(_all, at, number))
        assert at.shared.held == 0
        assert at.requests[0].body == b""
        go.set()
        for client in (first, second):
            assert (await client.hears()).status == 200


async def test_whatever_way_a_request_ends_its_bytes_are_given_back():
    async with serving(_hold, max_inflight_bytes=10_000) as at:
        async with at.client() as half, at.client() as whole, at.client() as waiting:
            half.says(POST, HOST, "Content-Length: 1000", "", "x" * 500)
            whole.says(POST, HOST, "Content-Length: 1000", "", "x" * 1000)
            for _ in range(3):
                waiting.says(POST, HOST, "Content-Length: 1000", "", "x" * 1000)
            await until(lambda: at.shared.held == 4500)
        await until(lambda: at.shared.held == 0)


async def test_too_many_connections_are_told_so():
    async with serving(_hold, max_connections=2) as at, at.client() as one, at.client() as two:
        for client in (one, two):
            client.says("GET / HTTP/1.1", HOST, "", "")
        await until(lambda: len(at.requests) == 2)
        async with at.client() as three:
            three.says("GET / HTTP/1.1", HOST, "", "")
            answer = await three.hears()
            assert (answer.status, answer.error[0]) == (529, "overloaded_error")
            assert "server.max_connections" in answer.error[1]
            assert await three.hears_the_end() == b""


async def test_the_connection_that_idles_longest_makes_room():
    async with serving(max_connections=2) as at, at.client() as oldest, at.client() as newer:
        for client in (newer, oldest, newer):
            client.says("GET / HTTP/1.1", HOST, "", "")
            assert (await client.hears()).status == 200
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 200
        assert await oldest.hears_the_end() == b""
        newer.says("GET / HTTP/1.1", HOST, "", "")
        assert (await newer.hears()).status == 200


async def test_half_open_connections_lock_nobody_out():
    async with serving(tell, max_connections=20) as at:
        half_open = [socket.create_connection(("127.0.0.1", at.port)) for _ in range(300)]
        try:
            assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 200
            assert len(at.shared.connections) <= 20
        finally:
            for each in half_open:
                each.close()


async def test_beyond_those_who_are_told_connections_are_just_closed():
    async with serving(_hold, max_connections=1) as at, at.client() as first:
        first.says("GET / HTTP/1.1", HOST, "", "")
        await until(lambda: at.requests)
        async with AsyncExitStack() as stack:
            for number in range(1, 65):
                other = await stack.enter_async_context(at.client())
                other.says("G")
                await until(partial(_receiving, at, number))
            async with at.client() as one_more:
                assert await one_more.hears_the_end() == b""
            assert len(at.shared.connections) == 65
