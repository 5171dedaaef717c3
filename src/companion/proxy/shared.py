"""What all connections of one server have in common: settings, handler, clock, and the sums that are limited."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Final, Protocol

from companion.clock import Clock
from companion.config.models import ServerSettings
from companion.net.h1 import Headers
from companion.proxy.port import Handler, Port, Request
from companion.proxy.refused import Refused, overloaded

# So many connections over the limit may stay to be told so; the next one is closed without a word.
_TOLD: Final = 64


class Member(Protocol):
    """A connection, as the server and the others see it."""

    @property
    def idle_since(self) -> float | None:
        """Since when (monotonic seconds) it waits for a request's first byte; None while it does not."""

    def close_idle(self) -> None:
        """Close; nothing is under way."""

    def abort(self) -> None:
        """Close at once, whatever is under way."""


Check = Callable[[bytes, Headers, str], None]
"""Target, headers and peer of a request whose body is still to come. Raises Refused."""


class Shared:
    """Made by the server, one for all its connections. `held` counts the bytes of request bodies in memory."""

    def __init__(
        self, settings: Callable[[], ServerSettings], handler: Handler, clock: Clock, check: Check | None = None
    ) -> None:
        self.settings = settings
        self.check = check
        self.clock = clock
        self._handler = handler
        self.draining = False
        self.held = 0
        self.connections: set[Member] = set()
        # The event loop holds tasks weakly, and a task may outlive its connection.
        self.tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._second = 0
        self._date = b""
        self._empty: asyncio.Event | None = None

    @property
    def crowded(self) -> bool:
        """Whether a new connection cannot even be told that there are too many."""
        return self.draining or len(self.connections) >= self.settings().max_connections + _TOLD

    def join(self, connection: Member) -> Refused | None:
        """Count a new connection. When there are too many, the one that idles longest makes room.

        If none does, the new one stays just to hear so: what is returned is the answer to its first request.
        """
        limit = self.settings().max_connections
        while len(self.connections) >= limit and self._close_an_idle_one():
            pass
        fits = len(self.connections) < limit
        self.connections.add(connection)
        return None if fits else overloaded(f"There are {limit} connections already (server.max_connections).")

    def leave(self, connection: Member) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        self._look_around()

    def begin(self, request: Request, port: Port) -> asyncio.Task[None]:
        """Call the handler."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        task = self._loop.create_task(self._handler(request, port))
        self.tasks.add(task)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        """Forget a handler that has ended."""
        self.tasks.discard(task)
        if self._empty is not None:
            self._look_around()

    def cancel_all(self) -> None:
        """Stop every handler; clients that are still there are told, as far as that is possible."""
        for task in self.tasks:
            task.cancel()

    async def emptied(self, seconds: float) -> bool:
        """Wait until no connection and no handler is left, for at most so long; returns whether that is so."""
        self._empty = asyncio.Event()
        self._look_around()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def check_room(self, size: int, limit: int) -> None:
        """Refuse a body of `size` bytes that is to come if not all would fit into `limit` bytes. Raises Refused."""
        if self.held + size > limit:
            raise overloaded("Too many request bodies are in memory at once (server.max_inflight_bytes).")

    def take(self, size: int, limit: int) -> None:
        """Count bytes that have come. Raises Refused instead when they are too many."""
        held = self.held + size
        if held > limit:
            self.check_room(size, limit)
        self.held = held

    def give_back(self, size: int) -> None:
        """These bytes are out of memory."""
        self.held -= size

    def date(self) -> bytes:
        """Now, for the date header; made once a second."""
        second = int(self.clock.wall())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def _look_around(self) -> None:
        if self._empty is not None and not self.connections and not self.tasks:
            self._empty.set()

    def _close_an_idle_one(self) -> bool:
        since = {member: at for member in self.connections if (at := member.idle_since) is not None}
        if not since:
            return False
        longest = min(since, key=since.__getitem__)
        longest.close_idle()
        self.connections.discard(longest)
        return True
