"""A server with small limits, and a client that says exactly what a test wrote down, byte for byte.

async with serving(tell) as at, at.client() as client:
    client.says("GET /one HTTP/1.1", "Host: localhost", "", "")
    assert await client.hears() == (200, b"GET /one 0")
"""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from companion.clock import SystemClock
from companion.config.models import ServerSettings
from companion.proxy.port import Handler, Port, Request, respond
from companion.proxy.server import Server

PATIENCE = 10.0
HOST = "Host: localhost"


@dataclass
class Answer:
    """What came back. `whole` is False where the connection ended before the framing said so."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = True

    @property
    def error(self) -> tuple[str, str]:
        """Type and message of the envelope; checks that it is one."""
        told = json.loads(self.body)
        assert set(told) == {"type", "error", "request_id"}
        assert told["type"] == "error"
        assert set(told["error"]) == {"type", "message"}
        assert self.headers["content-type"] == "application/json"
        assert told["request_id"] == self.headers["x-request-id"]
        return told["error"]["type"], told["error"]["message"]

    def __eq__(self, other: object) -> bool:
        return (self.status, self.body) == other if isinstance(other, tuple) else self is other

    __hash__ = None  # type: ignore[assignment]  # compared with (status, body), so it has no place in a set


class Client:
    """One connection, seen from the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def says(self, *lines: str | bytes) -> None:
        """Send lines with CRLF between them; `""` twice at the end makes a head without a body."""
        self.writer.write(b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))

    def stops_reading(self) -> None:
        """Take nothing more from the network."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def reads_on(self) -> None:
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    async def hears(self, method: str = "GET") -> Answer:
        """The next answer."""
        async with asyncio.timeout(PATIENCE):
            answer = await self.hears_head()
            try:
                await self._body(answer, method)
            except asyncio.IncompleteReadError as error:
                answer.body += error.partial
                answer.whole = False
        return answer

    async def hears_head(self) -> Answer:
        """Status and headers of the next answer; its body is still to come."""
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        return Answer(int(status), {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)})

    async def hears_the_end(self) -> bytes:
        """Whatever comes until the other side shuts its direction. A reset raises ConnectionResetError."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def _body(self, answer: Answer, method: str) -> None:
        if method == "HEAD" or answer.status in {100, 204, 304}:
            return
        if "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
        elif "transfer-encoding" in answer.headers:
            await self._chunks(answer)
        else:
            answer.body = await self.reader.read()

    async def _chunks(self, answer: Answer) -> None:
        pieces: list[bytes] = []
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                pieces.append(await self.reader.readexactly(size))
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        finally:
            answer.body = b"".join(pieces)


class Serving:
    """A running server. `settings` may be replaced while it runs; `requests` are those that the handler got."""

    def __init__(self, handler: Handler, settings: ServerSettings) -> None:
        self.settings = settings
        self.requests: list[Request] = []
        self._handler = handler
        self.server = Server(lambda: self.settings, self._handle, SystemClock())

    @property
    def shared(self) -> Any:
        """The sums over all connections."""
        return self.server._shared

    @property
    def port(self) -> int:
        return urlsplit(self.server.addresses[0]).port or 0

    def change(self, **limits: Any) -> None:
        """Live reload."""
        self.settings = self.settings.model_copy(update=limits)

    @asynccontextmanager
    async def client(self, host: str = "127.0.0.1") -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection(host, self.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def asks(self, *lines: str | bytes) -> Answer:
        """One request on a connection of its own."""
        async with self.client() as client:
            client.says(*lines)
            return await client.hears()

    async def _handle(self, request: Request, port: Port) -> None:
        self.requests.append(request)
        await self._handler(request, port)


async def tell(request: Request, port: Port) -> None:
    """A handler that says what it got."""
    respond(
        port, 200, [(b"content-type", b"text/plain")], f"{request.method} {request.path} {len(request.body)}".encode()
    )


@asynccontextmanager
async def serving(handler: Handler = tell, **limits: Any) -> AsyncIterator[Serving]:
    """A server on a free port; the keyword arguments are keys of `server:`."""
    at = Serving(handler, ServerSettings(port=0, **limits))
    await at.server.start()
    try:
        yield at
    finally:
        await at.server.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 the sums of the server have no event
            await asyncio.sleep(0.005)


@contextmanager
def memory(limit: int) -> Iterator[None]:
    """What runs inside may hold at most `limit` bytes more than before, at any moment."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit
