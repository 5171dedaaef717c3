"""Trailers, on either side: read, bounded, dropped; never part of a body, of headers, or of the next message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from companion.proxy.port import Port, Request, respond
from companion.simulator import Simulator
from tests.proxy.client import HOST, serving
from tests.support.http import Connection, message
from tests.support.proxy import endpoint, running

# What would matter much if it were a header.
TELLING = (
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Host: evil.example",
    "Authorization: Bearer of-a-trailer",
    "Connection: close",
    "X-Checksum: 1",
)


@pytest.mark.parametrize("trailer", TELLING)
async def test_a_trailer_of_a_request_is_neither_header_nor_body(trailer):
    got: list[Request] = []

    async def keep(request: Request, port: Port) -> None:
        got.append(Request(request.method, request.target, request.headers, request.body, "", 0.0))
        respond(port, 200, [], b"")

    async with serving(keep) as at, at.client() as client:
        client.says("POST /a HTTP/1.1", HOST, "Transfer-Encoding: chunked", "Trailer: X", "", "3", "abc", "0", trailer)
        client.says("", "", "", "POST /b HTTP/1.1", HOST, "Content-Length: 2", "", "de")
        first = await client.hears()
        if first.status == 400:
            # Also right: what could be read in two ways is not read at all.
            assert await client.hears_the_end() == b""
            assert not got
            return
        assert (first.status, got[0].body) == (200, b"abc")
        assert got[0].headers == [(b"host", b"localhost"), (b"transfer-encoding", b"chunked"), (b"trailer", b"X")]
        if trailer != "Connection: close":
            assert (await client.hears()).status == 200
            assert got[1].body == b"de"
            assert got[1].headers == [(b"host", b"localhost"), (b"content-length", b"2")]


async def test_trailers_of_a_client_do_not_reach_the_upstream(tmp_path: Path):
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}'
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url)) as proxy,
        Connection(proxy.url) as raw,
    ):
        raw.writer.write(
            b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n"
            b"%x\r\n%b\r\n0\r\nX-Late: of-a-trailer\r\n\r\n" % (len(body), body)
        )
        answer = await raw.head()
        await raw.rest(answer)
        assert answer.status == 200
        seen = sim.ledger[0]
        assert seen.body == body
        assert "of-a-trailer" not in repr(seen.headers)
        assert seen.header("trailer") is None


@asynccontextmanager
async def upstream(*lines: bytes) -> AsyncIterator[str]:
    """Answers every request with these lines."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:"))
                await reader.readexactly(length)
                writer.write(b"\r\n".join(lines))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("trailer", [*TELLING, "event: error"])
async def test_trailers_of_an_answer_do_not_reach_the_client(tmp_path: Path, trailer: str):
    async with Simulator() as sim:
        body = (await message(sim.url)).body
    head = (b"HTTP/1.1 200 OK", b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked", b"Trailer: X", b"")
    lines = (*head, b"%x" % len(body), body, b"0", trailer.encode(), b"", b"")
    async with upstream(*lines) as url, running(tmp_path, endpoint("only", url)) as proxy:
        for _ in range(3):
            answer = await message(proxy.url)
            assert (answer.status, answer.body, answer.whole) == (200, body, True)
            assert answer.headers["x-companion-attempts"] == "1"
            assert not {"trailer", "x-checksum", "event"} & answer.headers.keys()
            assert "of-a-trailer" not in repr(answer)
