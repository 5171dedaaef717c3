"""An upstream that says exactly what a test wrote down, byte for byte, over a real socket.

    async with Wire([asked, say("HTTP/1.1 200 OK", "content-length: 2", "", "ok"), fin]) as up:

Each list is the script of one connection, in the order in which connections come; the last one serves all further ones.
A connection whose script has ended stays open until the client, or the test, leaves.
"""

import asyncio
import datetime as dt
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Self, cast

import trustme

from companion.clock import Clock, SystemClock
from companion.config.models import PoolSettings, Timeouts
from companion.errors import Fault, UpstreamError
from companion.net.tls import TlsContext
from companion.upstream.transport import Origin, Outgoing, Response, Transport

Step = Callable[["Peer"], Awaitable[None]]


class Peer(asyncio.Protocol):
    """The upstream's end of one connection. `gone` is set when the client has closed (or reset) it."""

    def __init__(self, wire: "Wire") -> None:
        self.wire = wire
        self.seen = bytearray()
        self.gone = asyncio.Event()
        self._more = asyncio.Event()
        self.transport: asyncio.Transport
        self.task: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        script = self.wire.scripts[min(len(self.wire.peers), len(self.wire.scripts) - 1)]
        self.wire.peers.append(self)
        self.task = asyncio.get_running_loop().create_task(self._play(script))

    def data_received(self, data: bytes) -> None:
        self.seen += data
        self._more.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._more.set()

    async def take(self, until: Callable[[bytearray], int | None]) -> bytes:
        """Wait until `until` finds the length of what it looks for at the beginning of what was seen."""
        while (end := until(self.seen)) is None:
            if self.gone.is_set():
                raise ConnectionError("the client has gone")
            self._more.clear()
            await self._more.wait()
        taken = bytes(self.seen[:end])
        del self.seen[:end]
        return taken

    async def _play(self, script: Sequence[Step]) -> None:
        try:
            for step in script:
                await step(self)
        except ConnectionError:
            return


class Wire:
    """The upstream. `requests` are the bytes of all requests, `peers` the connections in the order they came.

    A `narrow` one has a receive buffer of a few kilobytes only.
    """

    def __init__(
        self,
        *scripts: Sequence[Step],
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        narrow: bool = False,
    ) -> None:
        self.scripts = scripts
        self.tls = tls
        self.host = host
        self.narrow = narrow
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        if self.narrow:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((self.host, 0))
        self.port = listener.getsockname()[1]
        self._server = await loop.create_server(lambda: Peer(self), sock=listener, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.task.cancel()
            peer.transport.abort()
        await asyncio.gather(*(peer.task for peer in self.peers), return_exceptions=True)
        await asyncio.gather(*(peer.gone.wait() for peer in self.peers))
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def left(self, peer: int = 0) -> None:
        """The client has closed this connection; fails unless that is so within a second."""
        async with asyncio.timeout(1):
            await self.peers[peer].gone.wait()


# === what an upstream does


async def asked(peer: Peer) -> None:
    """A whole request comes: its head and as many bytes as its content-length says."""
    peer.wire.requests.append(await peer.take(_request))


def _request(seen: bytearray) -> int | None:
    head, end, _ = seen.partition(b"\r\n\r\n")
    if not end:
        return None
    length = len(head) + 4
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length += int(line.split(b":")[1])
    return length if len(seen) >= length else None


async def head(peer: Peer) -> None:
    """The head of a request comes; the body is left where it is."""
    peer.wire.requests.append(await peer.take(lambda seen: seen.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in seen else None))


def more(size: int) -> Step:
    """So many bytes come."""

    async def step(peer: Peer) -> None:
        await peer.take(lambda seen: size if len(seen) >= size else None)

    return step


def say(*lines: str) -> Step:
    """These lines, CRLF between them."""
    return raw("\r\n".join(lines).encode())


def raw(data: bytes) -> Step:
    """These bytes."""

    async def step(peer: Peer) -> None:
        peer.transport.write(data)

    return step


async def fin(peer: Peer) -> None:
    """A clean end of the connection."""
    peer.transport.close()


async def rst(peer: Peer) -> None:
    """A reset: what was sent before may be lost with it."""
    sock = peer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.transport.abort()


async def deaf(peer: Peer) -> None:
    """It stops reading."""
    peer.transport.pause_reading()


async def hearing(peer: Peer) -> None:
    """It reads again."""
    peer.transport.resume_reading()


def after(seconds: float) -> Step:
    """A silence."""

    async def step(_peer: Peer) -> None:
        await asyncio.sleep(seconds)

    return step


def on(event: asyncio.Event) -> Step:
    """It waits for the test."""

    async def step(_peer: Peer) -> None:
        await event.wait()

    return step


OK = say("HTTP/1.1 200 OK", "content-length: 2", "", "ok")
CHUNKED = say("HTTP/1.1 200 OK", "transfer-encoding: chunked", "", "")

# === what the proxy does

GET = Outgoing(b"GET", b"/", ())
CLOCK = SystemClock()


def post(*body: bytes) -> Outgoing:
    return Outgoing(b"POST", b"/v1/messages", ((b"host", b"up"),), body)


def limits(**seconds: float) -> Timeouts:
    """Timeouts that never matter, but for those named."""
    return Timeouts(**({"connect": 20.0, "tls": 20.0, "write": 20.0} | seconds))


NO_LIMITS = limits()


def pool_of(max_connections: int = 8, idle: float = 60.0) -> PoolSettings:
    return PoolSettings(max_connections=max_connections, idle=idle)


@asynccontextmanager
async def client(
    up: Wire | str,
    pool: PoolSettings | None = None,
    tls: Callable[[], ssl.SSLContext] | None = None,
    clock: Clock = CLOCK,
) -> AsyncIterator[Transport]:
    url = up if isinstance(up, str) else up.url
    transport = Transport(Origin.of(url), pool or pool_of(), tls or TlsContext(), clock)
    try:
        yield transport
    finally:
        await transport.aclose()


async def send(
    transport: Transport, request: Outgoing = GET, limits: Timeouts = NO_LIMITS, *, headers: float | None = 20.0
) -> Response:
    return await transport.send(request, limits, headers=headers)


async def body_of(response: Response, *, idle: float | None = 20.0) -> bytes:
    return await response.read_all(64 * 1024 * 1024, idle=idle)


async def settled(measure: Callable[[], int]) -> int:
    """What this comes to once it no longer changes."""
    value = measure()
    while True:
        await asyncio.sleep(0.1)
        if measure() == value:
            return value
        value = measure()


def serving(authority: trustme.CA, name: str, since: dt.datetime | None = None, days: int = 1) -> ssl.SSLContext:
    """An upstream's TLS context with a certificate for this name, good for so many days."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    since = since or dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    authority.issue_cert(name, not_before=since, not_after=since + dt.timedelta(days)).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's TLS context."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def fault_of(doing: Awaitable[object]) -> Fault:
    """The fault that this ends with."""
    try:
        await doing
    except UpstreamError as error:
        return error.fault
    raise AssertionError("it did not fail")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come to be so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- what is waited for sets no event
            await asyncio.sleep(0.002)


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that the network rooms run under."""
    both: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        both["uvloop"] = uvloop.new_event_loop
    return both
