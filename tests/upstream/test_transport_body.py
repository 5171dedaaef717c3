"""How a body is taken: read, read whole, or piped; paused and resumed; and what its encoding hides."""

import asyncio
import gzip
import zlib
from functools import partial

import brotli
import pytest
import zstandard

from companion.clock import FakeClock
from companion.errors import Kind, Party, Phase
from companion.net.h1 import HIGH_WATER
from tests.upstream.wire import (
    CHUNKED,
    OK,
    Peer,
    Step,
    Wire,
    after,
    asked,
    body_of,
    client,
    fault_of,
    fin,
    on,
    pool_of,
    raw,
    rst,
    say,
    send,
    settled,
    until,
)

END = raw(b"0\r\n\r\n")
# More than the kernel's buffers hold on the way.
MUCH = 40_000_000


def chunk(data: bytes) -> Step:
    return raw(b"%x\r\n%b\r\n" % (len(data), data))


def encoded(encoding: str, body: bytes) -> Step:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return raw(head.encode() + body)


def raw_deflate(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-15)
    return deflating.compress(data) + deflating.flush()


def holds(pieces: list[bytes], count: int) -> bool:
    return len(pieces) == count


# === whole


async def test_an_answer_longer_than_the_limit_is_refused():
    async with Wire([asked, CHUNKED, chunk(b"a" * 5), chunk(b"b" * 6)]) as up, client(up) as transport:
        response = await send(transport)
        fault = await fault_of(response.read_all(10, idle=20))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.BODY, Kind.BAD_HTTP)
        await up.left()


# === piped


async def test_pipe_gives_each_piece_when_it_comes_and_ends_with_the_body():
    go = [asyncio.Event() for _ in range(3)]
    script = [asked, CHUNKED, chunk(b"a"), on(go[0]), chunk(b"b"), on(go[1]), chunk(b"c"), on(go[2]), END]
    async with Wire([*script, asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        piping = asyncio.create_task(response.pipe(pieces.append, idle=20))
        for count, event in enumerate(go, 1):
            await until(partial(holds, pieces, count))
            assert not piping.done()
            event.set()
        await piping
        assert pieces == [b"a", b"b", b"c"]
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 1


async def test_pipe_begins_with_what_was_not_read():
    go = asyncio.Event()
    async with (
        Wire([asked, CHUNKED, chunk(b"a"), chunk(b"b"), on(go), chunk(b"c"), END]) as up,
        client(up) as transport,
    ):
        response = await send(transport)
        assert await response.read(idle=20) == b"a"
        pieces: list[bytes] = []
        piping = asyncio.create_task(response.pipe(pieces.append, idle=20))
        await until(lambda: pieces == [b"b"])
        go.set()
        await piping
        assert pieces == [b"b", b"c"]


async def test_pipe_of_a_body_that_is_over_returns_at_once():
    async with Wire([asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        await response.pipe(pieces.append, idle=20)
        await response.pipe(pieces.append, idle=20)
        assert pieces == [b"ok"]


@pytest.mark.parametrize("end", [fin, rst])
async def test_pipe_raises_what_read_would(end):
    go = asyncio.Event()
    async with Wire([asked, CHUNKED, chunk(b"a"), on(go), end]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        piping = asyncio.create_task(fault_of(response.pipe(pieces.append, idle=20)))
        await until(lambda: pieces == [b"a"])
        go.set()
        assert (await piping).kind is Kind.CUT


@pytest.mark.parametrize("late", [True, False])
async def test_what_receive_raises_comes_out_of_pipe_and_ends_the_connection(late):
    class RefusedError(Exception):
        pass

    def receive(piece):
        seen.append(piece)
        if piece == b"b":
            raise RefusedError

    seen: list[bytes] = []
    pause = after(0.05 if late else 0)
    script = [asked, CHUNKED, pause, chunk(b"a"), pause, raw(b"1\r\nb\r\n1\r\nc\r\n")]
    async with Wire(script) as up, client(up, pool_of(1)) as transport:
        response = await send(transport)
        if not late:
            await until(lambda: bool(response._pieces))
        with pytest.raises(RefusedError):
            await response.pipe(receive, idle=20)
        assert seen == [b"a", b"b"]
        await up.left()


async def test_receive_may_close():
    async with Wire([asked, CHUNKED, raw(b"1\r\na\r\n1\r\nb\r\n")]) as up, client(up) as transport:
        response = await send(transport)
        seen: list[bytes] = []

        def receive(piece):
            seen.append(piece)
            response.close()

        assert (await fault_of(response.pipe(receive, idle=20))).kind is Kind.CANCELLED
        assert seen == [b"a"]
        await up.left()


@pytest.mark.parametrize("way", ["direct", "from what was not read", "paused"])
async def test_a_detached_answer_frees_its_connection_when_it_ends(way):
    def receive(piece):
        pieces.append(piece)
        if way == "paused":
            response.pause()
        response.detach(20)

    go = asyncio.Event()
    early = after(0.05 if way == "direct" else 0)
    script = [asked, CHUNKED, early, raw(b"1\r\na\r\n1\r\nb\r\n"), on(go), chunk(b"c"), END]
    async with Wire([*script, asked, OK]) as up, client(up, pool_of(1)) as transport:
        response = await send(transport)
        if way != "direct":
            await until(lambda: bool(response._pieces))
        pieces: list[bytes] = []
        await response.pipe(receive, idle=20)
        assert pieces == [b"a"]
        go.set()
        assert await body_of(await send(transport)) == b"ok"
        assert (pieces, len(up.peers)) == ([b"a"], 1)


async def test_a_detached_answer_that_does_not_end_is_given_up():
    async with Wire([asked, CHUNKED, chunk(b"a")], [asked, OK]) as up, client(up, pool_of(1)) as transport:
        response = await send(transport)
        await response.pipe(lambda _: response.detach(0.1), idle=None)
        assert await body_of(await send(transport)) == b"ok"
        await up.left()


async def test_detaching_what_is_over_changes_nothing():
    async with Wire([asked, OK] * 2) as up, client(up) as transport:
        response = await send(transport)
        response.detach(0)
        assert await body_of(response) == b"ok"
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 1


# === pressure


async def test_a_paused_answer_stops_the_upstream():
    body = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MUCH + b"x" * MUCH)
    async with Wire([asked, body]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[int] = []

        def receive(piece):
            pieces.append(len(piece))
            if len(pieces) == 1:
                response.pause()

        piping = asyncio.create_task(response.pipe(receive, idle=20))
        await until(lambda: bool(pieces))
        assert await settled(up.peers[0].transport.get_write_buffer_size) > 0
        assert len(pieces) == 1
        response.resume()
        await piping
        assert sum(pieces) == MUCH


async def test_an_answer_that_nobody_reads_stops_the_upstream():
    def held() -> int:
        return sum(map(len, response._pieces))

    body = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % MUCH + b"x" * MUCH)
    async with Wire([asked, body]) as up, client(up) as transport:
        response = await send(transport)
        await until(lambda: held() > HIGH_WATER)
        assert await settled(up.peers[0].transport.get_write_buffer_size) > 0
        assert held() < HIGH_WATER + 512 * 1024
        assert len(await body_of(response)) == MUCH
        assert held() == 0


async def test_a_pause_is_no_silence():
    async with Wire([asked, CHUNKED, chunk(b"a"), after(0.05), chunk(b"b")]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        piping = asyncio.create_task(fault_of(response.pipe(pieces.append, idle=0.1)))
        response.pause()
        await asyncio.sleep(0.3)
        assert not piping.done()
        response.resume()
        response.resume()
        assert (await piping).kind is Kind.IDLE_TIMEOUT
        assert pieces == [b"a", b"b"]


async def test_after_a_pause_the_idle_limit_begins_anew():
    clock = FakeClock()
    async with Wire([asked, CHUNKED, chunk(b"a")]) as up, client(up, clock=clock) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        piping = asyncio.create_task(fault_of(response.pipe(pieces.append, idle=0.05)))
        await until(lambda: pieces == [b"a"])
        response.pause()
        clock.advance(60)
        response.resume()
        clock.advance(0.04)
        await asyncio.sleep(0.1)
        assert not piping.done()
        clock.advance(0.01)
        assert (await piping).kind is Kind.IDLE_TIMEOUT


async def test_an_end_that_comes_in_a_pause_is_told_after_it():
    async with (
        Wire([asked, say("HTTP/1.1 200 OK", "content-length: 2", "", "a"), after(0.05), raw(b"b"), asked, OK]) as up,
        client(up) as transport,
    ):
        response = await send(transport)
        pieces: list[bytes] = []

        def receive(piece):
            pieces.append(piece)
            response.pause()

        piping = asyncio.create_task(response.pipe(receive, idle=20))
        await until(lambda: bool(pieces))
        response.resume()
        await until(lambda: len(pieces) == 2)
        await piping
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 1


async def test_a_connection_that_was_paused_reads_again_for_the_next_answer():
    together = raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    async with Wire([asked, together, asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        response.pause()
        assert await body_of(await send(transport)) == b"ok"
        pieces: list[bytes] = []
        piping = asyncio.create_task(response.pipe(pieces.append, idle=20))
        await asyncio.sleep(0.01)
        assert (pieces, piping.done()) == ([], False)
        response.resume()
        await piping
        assert (pieces, len(up.peers)) == ([b"a", b"b"], 1)


# === encoded

TEXT = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT[:100]) + zstandard.compress(TEXT[100:])),
        ("identity", TEXT),
        ("none", TEXT),
        ("identity, gzip", gzip.compress(TEXT)),
    ],
)
@pytest.mark.parametrize("way", ["read", "pipe"])
async def test_an_encoded_body_comes_out_plain(encoding, body, way):
    async with Wire([asked, encoded(encoding, body), asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        if way == "read":
            pieces.append(await body_of(response))
        else:
            await response.pipe(pieces.append, idle=20)
        assert b"".join(pieces) == TEXT
        assert (b"content-encoding", encoding.encode()) in response.headers
        assert await body_of(await send(transport)) == b"ok"


@pytest.mark.parametrize("way", ["read", "pipe"])
async def test_what_was_flushed_comes_out_at_once(way):
    async def event(peer: Peer) -> None:
        data = deflating.compress(b"event: ping\n\n") + deflating.flush(zlib.Z_SYNC_FLUSH)
        peer.transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    deflating = zlib.compressobj(wbits=31)
    go = asyncio.Event()
    head = say("HTTP/1.1 200 OK", "content-encoding: gzip", "transfer-encoding: chunked", "", "")
    async with Wire([asked, head, event, on(go), event]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        if way == "pipe":
            piping = asyncio.create_task(response.pipe(pieces.append, idle=20))
        for count in (1, 2):
            if way == "pipe":
                await until(partial(holds, pieces, count))
            else:
                pieces.append(await response.read(idle=20))
            go.set()
        assert pieces == [b"event: ping\n\n"] * 2
        response.close()
        if way == "pipe":
            assert (await fault_of(piping)).kind is Kind.CANCELLED


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("compress", b"x", "'compress' is not understood"),
        ("br", b"this is plain", "does not decompress"),
        ("br", brotli.compress(TEXT)[:-1], "ends too early"),
        ("br", brotli.compress(b"\0" * 30_000_000), "expands more than"),
        ("zstd", b"this is plain", "does not decompress"),
        ("zstd", zstandard.compress(TEXT)[:-4], "ends too early"),
        ("zstd", zstandard.compress(b"\0" * 30_000_000), "expands more than"),
        ("gzip, gzip", b"x", "'gzip, gzip' is not understood"),
        ("gzip", b"this is plain", "does not decompress"),
        ("gzip", gzip.compress(TEXT)[:-4], "ends too early"),
        ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8, "does not decompress"),
        ("deflate", zlib.compress(TEXT) + b"more", "after the end"),
        ("gzip", gzip.compress(b"\0" * 30_000_000), "expands more than"),
    ],
)
@pytest.mark.parametrize("way", ["read", "pipe"])
async def test_a_body_that_is_not_what_its_encoding_says(encoding, body, words, way):
    async with Wire([asked, encoded(encoding, body)]) as up, client(up) as transport:
        response = await send(transport)
        assert response.status == 200
        fault = await fault_of(body_of(response) if way == "read" else response.pipe(lambda _: None, idle=20))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.BODY, Kind.BAD_ENCODING)
        assert words in fault.message


async def test_a_cut_in_an_encoded_body_is_a_cut():
    body = gzip.compress(TEXT)
    head = say("HTTP/1.1 200 OK", "content-encoding: gzip", f"content-length: {len(body)}", "", "")
    async with Wire([asked, head, raw(body[:-3]), fin]) as up, client(up) as transport:
        response = await send(transport)
        assert (await fault_of(body_of(response))).kind is Kind.CUT


async def test_a_bomb_expands_only_as_fast_as_it_is_read():
    plain = (bytes(range(256)) * 64 + b"\0" * 50_000) * 300
    body = gzip.compress(plain)
    async with Wire([asked, encoded("gzip", body)]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[int] = []

        def receive(piece):
            pieces.append(len(piece))
            response.pause()

        piping = asyncio.create_task(response.pipe(receive, idle=20))
        while not piping.done():
            count = len(pieces)
            await asyncio.sleep(0.005)
            assert len(pieces) <= count + 1
            response.resume()
        await piping
        assert sum(pieces) == len(plain)
        assert max(pieces) <= 1024 * 1024
