"""Our HTTP/1.1 client: one origin, one pool, one way to fail.

`send` takes a connection, writes the request's own bytes, and gives back a Response once its head is here. Every
failure is an UpstreamError whose Fault says in which phase it happened. A connection that was open already may have
died without our knowing: if it dies before a byte of the answer, the request goes out once more, on a fresh one.
"""

import asyncio
import math
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec

from companion.clock import Clock
from companion.config.models import PoolSettings, Timeouts
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import Timings
from companion.net.dial import Origin, Route, dial
from companion.net.h1 import encode_head, header
from companion.net.proxies import Proxy
from companion.upstream.connection import Connection
from companion.upstream.pool import Pool
from companion.upstream.response import Response

__all__ = ["Origin", "Outgoing", "Response", "Transport"]

# How a message is framed is decided here, by what is really sent.
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_STALE: Final = frozenset({Kind.RESET, Kind.CLOSED})


class Outgoing(msgspec.Struct, frozen=True):
    """A request as it goes out. Header names are in lower case; a missing `host` is added. `body` is splices."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: tuple[bytes, ...] = ()


class Reached(msgspec.Struct, frozen=True):
    """What a connection told before anything was asked: its TLS version and certificate (as `ssl` decodes it)."""

    timings: Timings
    peer: str
    tls: str | None
    certificate: dict[str, Any]


class Transport:
    """Sends requests to one origin, by the proxy of `route` if there is one.

    `tls` gives the context for https, at the origin or at the proxy; it is called in a thread, when first needed.
    """

    def __init__(
        self,
        origin: Origin,
        pool: PoolSettings,
        tls: Callable[[], ssl.SSLContext],
        clock: Clock,
        route: Route = None,
    ) -> None:
        self.origin: Final = origin
        self._route = route
        self._secure = origin.secure or (isinstance(route, Proxy) and route.secure)
        self._peer = str(origin) if route is None else f"{origin} through the proxy {route}"
        self._tls = tls
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._host = (b"host", origin.authority.encode())
        self._pool = Pool(pool, self._dial, clock, self._peer)

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        *,
        headers: float | None,
        until: float = math.inf,
        fresh: bool = False,
    ) -> Response:
        """Send a request and wait for the head of its answer, `headers` seconds from when it was written (None: ever).

        With `fresh` it goes over a new connection. Raises UpstreamError, and TimeoutError when at `until` (monotonic
        seconds) this, or the answer's body later, is not over. Cancelling closes the connection at once.
        """
        wire = (self._head(request), *request.body)
        bodyless = request.method == b"HEAD"
        if fresh or not self._pool.idle:
            connection = await self._connection(timeouts, until, fresh=fresh)
        else:
            connection = await self._pool.take(timeouts)
        write = timeouts.write
        try:
            return await connection.ask(wire, bodyless=bodyless, write=write, headers=headers, until=until)
        except UpstreamError as error:
            if not connection.timings.reused or connection.heard or error.fault.kind not in _STALE:
                raise
        connection = await self._connection(timeouts, until, fresh=True)
        return await connection.ask(wire, bodyless=bodyless, write=write, headers=headers, until=until)

    async def reach(self, timeouts: Timeouts) -> Reached:
        """Connect (and shake hands), then close: whether there is anybody. Outside the pool. Raises UpstreamError."""
        connection = await self._dial(timeouts)
        session = connection.secured
        found = Reached(
            connection.timings,
            self._peer,
            None if session is None else session.version(),
            {} if session is None else session.getpeercert() or {},
        )
        connection.abort()
        return found

    def keep_warm(self, timeouts: Timeouts, wanted: Callable[[], bool]) -> None:
        """Have connections ready from now on (pool.keep_warm), while they are `wanted`."""
        self._pool.keep_warm(timeouts, wanted)

    def retire(self) -> None:
        """Idle connections close now, busy ones when they are done; new sends still work, once each."""
        self._pool.retire()

    async def aclose(self) -> None:
        """Close all connections; what is under way fails with CANCELLED, and so does what is sent later."""
        await self._pool.close()

    async def _connection(self, timeouts: Timeouts, until: float, *, fresh: bool) -> Connection:
        """One that may have to be waited for."""
        async with asyncio.timeout(None if until == math.inf else until - self._clock.monotonic()):
            return await self._pool.take(timeouts, fresh=fresh)

    def _head(self, request: Outgoing) -> bytes:
        fields = [field for field in request.headers if field[0] not in _FRAMING]
        if header(fields, b"host") is None:
            fields.insert(0, self._host)
        if request.body or request.method not in {b"GET", b"HEAD"}:
            fields.append((b"content-length", b"%d" % sum(map(len, request.body))))
        try:
            return encode_head(b"%b %b HTTP/1.1" % (request.method, request.target), fields)
        except ValueError as error:
            raise UpstreamError(Fault(Party.OURS, Phase.WRITE, Kind.INTERNAL, str(error))) from None

    async def _dial(self, timeouts: Timeouts) -> Connection:
        connection, steps = await dial(
            self.origin,
            lambda: Connection(self._pool, self._clock, self._peer),
            connect=timeouts.connect,
            tls=timeouts.tls,
            context=await self._trust() if self._secure else None,
            route=self._route,
        )
        connection.timings = Timings(dns=steps.dns, connect=steps.connect, tls=steps.tls)
        return connection

    async def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            try:
                self._context = await asyncio.get_running_loop().run_in_executor(None, self._tls)
            except OSError as error:
                message = f"the trusted certificates cannot be read: {error.strerror or error}"
                raise UpstreamError(Fault(Party.OURS, Phase.TLS, Kind.TLS, message)) from None
        return self._context
