"""What goes out, what comes in, and which connection is used again."""

import asyncio

import pytest

from companion.clock import SystemClock
from companion.errors import Kind, Party, Phase
from companion.upstream.connection import BURST, bursts
from companion.upstream.transport import Outgoing
from tests.upstream.wire import (
    CHUNKED,
    GET,
    OK,
    Wire,
    after,
    asked,
    body_of,
    client,
    deaf,
    fault_of,
    fin,
    head,
    hearing,
    more,
    on,
    post,
    raw,
    say,
    send,
    settled,
    until,
)

HEAD = Outgoing(b"HEAD", b"/", ())


# === going out


async def test_a_request_goes_out_as_its_splices():
    async with Wire([asked, OK]) as up, client(up) as transport:
        request = Outgoing(
            b"POST", b"/v1/messages?beta=true", ((b"host", b"api.example"), (b"x-a", b"1")), (b"ab", b"cd")
        )
        await body_of(await send(transport, request))
        assert up.requests == [
            b"POST /v1/messages?beta=true HTTP/1.1\r\nhost: api.example\r\nx-a: 1\r\ncontent-length: 4\r\n\r\nabcd"
        ]


async def test_host_and_length_are_told_where_the_caller_does_not():
    async with Wire([asked, OK, asked, OK]) as up, client(up) as transport:
        await body_of(await send(transport))
        await body_of(await send(transport, Outgoing(b"POST", b"/", ())))
        assert up.requests == [
            b"GET / HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % up.port,
            b"POST / HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-length: 0\r\n\r\n" % up.port,
        ]


async def test_framing_is_what_is_really_sent():
    async with Wire([asked, OK]) as up, client(up) as transport:
        lies = (
            (b"host", b"up"),
            (b"content-length", b"99"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"close"),
        )
        await body_of(await send(transport, Outgoing(b"POST", b"/", lies, (b"ab",))))
        assert up.requests == [b"POST / HTTP/1.1\r\nhost: up\r\ncontent-length: 2\r\n\r\nab"]


async def test_a_line_break_in_a_header_is_our_mistake_and_is_not_sent():
    async with Wire([asked, OK]) as up, client(up) as transport:
        fault = await fault_of(send(transport, Outgoing(b"GET", b"/", ((b"x", b"1\r\ny: 2"),))))
        assert (fault.party, fault.phase, fault.kind) == (Party.OURS, Phase.WRITE, Kind.INTERNAL)
        assert up.peers == []


@pytest.mark.parametrize("size", [1, 20_000, 150_000, 300_000, 5_000_000])
async def test_bodies_of_any_size_arrive_whole(size):
    body = bytes(range(256)) * (size // 256 + 1)
    async with Wire([asked, OK, asked, OK]) as up, client(up) as transport:
        for _ in range(2):
            await body_of(await send(transport, post(body[:100], body[100:size], b"", b"end")))
        expected = body[:100] + body[100:size] + b"end"
        assert [request.partition(b"\r\n\r\n")[2] == expected for request in up.requests] == [True, True]
        assert len(up.peers) == 1


async def test_ipv6_is_spoken():
    async with Wire([asked, OK], host="::1") as up, client(up) as transport:
        assert await body_of(await send(transport)) == b"ok"
        assert up.requests == [b"GET / HTTP/1.1\r\nhost: [::1]:%d\r\n\r\n" % up.port]


def test_bursts_copy_nothing_and_lose_nothing():
    buffers = [b"a" * 10, b"", b"b" * BURST, b"c" * (3 * BURST - 10), b"d"]
    out = list(bursts(buffers))
    assert [sum(map(len, burst)) for burst in out] == [BURST] * 4 + [1]
    assert b"".join(b"".join(burst) for burst in out) == b"".join(buffers)


# === coming in


async def test_a_body_with_a_length():
    async with (
        Wire(
            [asked, say("HTTP/1.1 201 Made", "X-One: 1", "Content-Length: 5", "", "hel"), after(0.01), raw(b"lo")]
        ) as up,
        client(up) as transport,
    ):
        response = await send(transport)
        assert (response.status, response.headers) == (201, [(b"x-one", b"1"), (b"content-length", b"5")])
        assert await body_of(response) == b"hello"


async def test_a_chunked_body_with_extensions_and_trailers():
    script = [asked, CHUNKED, say("2;x=y", "he", "3", "llo", "0", "x-trailer: 1", "", "")]
    async with Wire([*script, *script]) as up, client(up) as transport:
        for _ in range(2):
            response = await send(transport)
            assert await body_of(response) == b"hello"
            assert response.headers == [(b"transfer-encoding", b"chunked")]
        assert len(up.peers) == 1


async def test_a_body_that_ends_with_the_connection():
    async with (
        Wire([asked, say("HTTP/1.1 200 OK", "", "hel"), after(0.01), raw(b"lo"), fin]) as up,
        client(up) as transport,
    ):
        assert await body_of(await send(transport)) == b"hello"
        await send(transport)
        assert len(up.peers) == 2


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (HEAD, ("HTTP/1.1 200 OK", "", "")),
        (HEAD, ("HTTP/1.1 200 OK", "content-length: 100", "", "")),
        (HEAD, ("HTTP/1.1 200 OK", "transfer-encoding: chunked", "", "")),
        (GET, ("HTTP/1.1 204 No Content", "", "")),
        (GET, ("HTTP/1.1 204 No Content", "content-length: 100", "", "")),
        (GET, ("HTTP/1.1 304 Not Modified", "content-length: 100", "content-encoding: br", "", "")),
        (GET, ("HTTP/1.1 200 OK", "content-length: 0", "content-encoding: gzip", "", "")),
    ],
)
async def test_answers_without_a_body_are_over_with_their_head(request_, answer):
    async with Wire([asked, say(*answer), asked, OK], [asked, OK]) as up, client(up) as transport:
        assert await body_of(await send(transport, request_)) == b""
        assert await body_of(await send(transport)) == b"ok"


async def test_informational_answers_are_skipped():
    early = say("HTTP/1.1 100 Continue", "", "HTTP/1.1 103 Early Hints", "link: </x>", "", "")
    async with Wire([asked, early, after(0.01), early, OK]) as up, client(up) as transport:
        response = await send(transport)
        assert (response.status, response.headers, await body_of(response)) == (200, [(b"content-length", b"2")], b"ok")


async def test_times_are_told_by_the_clock():
    clock = SystemClock()
    hints = say("HTTP/1.1 103 Early Hints", "", "")
    script = [
        asked,
        hints,
        after(0.03),
        raw(b"HTTP/1.1 200 OK\r\n"),
        after(0.03),
        say("transfer-encoding: chunked", "", ""),
    ]
    async with Wire([*script, after(0.03), raw(b"1;comment"), after(10)]) as up, client(up, clock=clock) as transport:
        sent = clock.monotonic()
        response = await send(transport)
        assert sent + 0.02 < response.first_byte < response.last_byte - 0.02
        headed = response.last_byte
        await until(lambda: response.last_byte > headed + 0.02)
        response.close()


# === which connection


async def test_a_kept_connection_is_used_again():
    async with Wire([asked, OK] * 3) as up, client(up) as transport:
        for _ in range(3):
            assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 1


async def test_a_connection_is_free_once_the_answer_is_whole_although_nobody_has_read_it():
    async with Wire([asked, OK] * 2) as up, client(up) as transport:
        first = await send(transport)
        second = await send(transport)
        assert (await body_of(second), await body_of(first), len(up.peers)) == (b"ok", b"ok", 1)


@pytest.mark.parametrize(
    "answer",
    [
        ("HTTP/1.1 200 OK", "connection: close", "content-length: 2", "", "ok"),
        ("HTTP/1.0 200 OK", "content-length: 2", "", "ok"),
        ("HTTP/1.1 200 OK", "content-length: 2", "", "ok and more"),
        ("HTTP/1.1 200 OK", "content-length: 2", "", "okHTTP/1.1 200 OK", "content-length: 4", "", "evil"),
    ],
)
async def test_a_connection_that_may_not_be_kept_is_closed(answer):
    async with Wire([asked, say(*answer), asked, OK], [asked, OK]) as up, client(up) as transport:
        assert await body_of(await send(transport)) == b"ok"
        await up.left()
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 2


@pytest.mark.parametrize("unasked", [fin, raw(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"), raw(b"x")])
async def test_what_comes_while_idle_ends_the_connection(unasked):
    async with Wire([asked, OK, after(0.01), unasked], [asked, OK]) as up, client(up) as transport:
        await body_of(await send(transport))
        await up.left()
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 2


async def test_an_error_that_comes_early_stops_the_upload():
    refusal = say("HTTP/1.1 413 Too Large", "content-length: 3", "", "bi")
    begun, over = asyncio.Event(), asyncio.Event()
    script = [head, deaf, refusal, on(begun), hearing, on(over), raw(b"g")]
    async with Wire(script, [asked, OK]) as up, client(up) as transport:
        response = await send(transport, post(b"x" * 50_000_000))
        assert response.status == 413
        begun.set()
        assert 0 < await settled(lambda: len(up.peers[0].seen)) < 50_000_000
        over.set()
        assert await body_of(response) == b"big"
        await up.left()
        assert await body_of(await send(transport)) == b"ok"


async def test_a_success_that_comes_early_does_not_stop_the_upload():
    size = 20_000_000
    go = asyncio.Event()
    early = [head, deaf, CHUNKED, say("1", "a", ""), on(go), hearing, more(size), say("1", "b", "0", "", "")]
    async with Wire([*early, asked, OK]) as up, client(up) as transport:
        response = await send(transport, post(b"x" * size))
        assert await response.read(idle=20) == b"a"
        go.set()
        assert await body_of(response) == b"b"
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 1


async def test_an_answer_that_is_over_before_the_upload_ends_the_connection():
    async with Wire([head, deaf, OK], [asked, OK]) as up, client(up) as transport:
        assert await body_of(await send(transport, post(b"x" * 20_000_000))) == b"ok"
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 2
