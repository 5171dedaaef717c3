"""The connections to one origin: how many at most, which one next, and how long an idle one may stay.

The one that was used last is used next, so that the others grow old and go. Whoever finds all in use waits in line, no
longer than the `connect` limit. A slot is a connection or a dial under way; a slot that is granted is counted before
its waiter wakes up, so that nobody else can take it, and given back if the waiter has gone. Where it is asked for, some
idle connections are always there; dialling those never takes a slot from a request.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from companion.clock import Clock
from companion.config.models import PoolSettings, Timeouts
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import Timings
from companion.net.alarm import Alarm
from companion.upstream.connection import REUSED, Connection
from companion.upstream.warm import Warm

Dial = Callable[[Timeouts], Awaitable[Connection]]

# What a waiter is woken with: a connection, or a slot to dial in.
_Turn = asyncio.Future[Connection | None]


class Pool:
    """Keeps connections that `dial` makes. `peer` is the origin's name in messages."""

    def __init__(self, settings: PoolSettings, dial: Dial, clock: Clock, peer: str) -> None:
        self._settings: Final = settings
        self._may_idle: Final = settings.idle
        self._dial = dial
        self._clock = clock
        self._peer = peer
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._dialing = 0
        self._waiting: deque[_Turn] = deque()
        self._alarm = Alarm(clock, self._expiry, self._expire)
        self._warm = Warm(self._wants_one, self._dial_one, clock)
        self._keep = 0
        self._warm_limits = Timeouts()
        self._retired = False
        self._closed = False

    @property
    def slots(self) -> int:
        """Connections, busy or idle, and dials under way."""
        return len(self._open) + self._dialing

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    async def take(self, timeouts: Timeouts, *, fresh: bool = False) -> Connection:
        """A connection for one request, new if `fresh`. Raises UpstreamError: what dialling raises, and BUSY."""
        began: float | None = None
        while True:
            if self._closed:
                raise self._closing()
            if fresh:
                self._make_room()
            elif self._idle:
                connection = self._idle.pop()
                connection.timings = REUSED
                if len(self._idle) < self._keep:
                    self._warm.taken()
                return connection
            if self.slots < self._settings.max_connections:
                self._dialing += 1
                break
            self._warm.give_way()
            began = self._clock.monotonic() if began is None else began
            turn = await self._turn(timeouts.connect)
            if turn is None:
                break
            if not turn.closed:
                if not fresh:
                    turn.timings = Timings(reused=True, waited=self._clock.monotonic() - began)
                    return turn
                self._dialing += 1
                turn.abort()
                break
        self._look()
        waited = None if began is None else self._clock.monotonic() - began
        connection = await self._connect(timeouts)
        if waited is not None:
            connection.timings = msgspec.structs.replace(connection.timings, waited=waited)
        return connection

    def freed(self, connection: Connection) -> None:
        """A connection's request is done and it can take another."""
        if self._retired:
            connection.abort()
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        connection.freed_at = self._clock.monotonic()
        self._idle.append(connection)
        self._alarm.arm(connection.freed_at + self._may_idle)

    def lost(self, connection: Connection) -> None:
        """A connection is closed: its slot goes to whoever waits."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
            if not connection.used:
                self._warm.closed()
        self._grant()
        self._look()

    def keep_warm(self, limits: Timeouts, wanted: Callable[[], bool]) -> None:
        """Have `pool.keep_warm` idle connections ready from now on, while they are `wanted`."""
        if self._settings.keep_warm and not self._retired:
            self._keep, self._warm_limits = self._settings.keep_warm, limits
            self._warm.start(wanted)

    def retire(self) -> None:
        """Idle connections close now, busy ones when they are done."""
        self._retired = True
        self._keep = 0
        self._warm.stop()
        self._alarm.cancel()
        for connection in tuple(self._idle):
            connection.abort()

    async def close(self) -> None:
        """Close everything; requests under way fail with CANCELLED."""
        self._closed = True
        self.retire()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(self._closing())
        for connection in tuple(self._open):
            connection.fail(Kind.CANCELLED, f"the connection to {self._peer} was closed by us", Party.OURS)
        # The event loop closes sockets in its next round.
        await asyncio.sleep(0)

    # === slots

    def _make_room(self) -> None:
        if self._idle and self.slots >= self._settings.max_connections:
            self._idle.pop(0).abort()

    async def _turn(self, limit: float) -> Connection | None:
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(limit):
                return await turn
        except TimeoutError:
            self._pass_on(turn)
            count = self._settings.max_connections
            raise self._fault(Kind.BUSY, f"all {count} connections to {self._peer} are in use") from None
        except BaseException:
            self._pass_on(turn)
            raise

    def _pass_on(self, turn: _Turn) -> None:
        """Its waiter has gone; what it was given in the meantime is somebody else's."""
        if turn in self._waiting:
            self._waiting.remove(turn)
        elif not turn.cancelled() and turn.exception() is None:
            connection = turn.result()
            if connection is None:
                self._dialing -= 1
                self._grant()
            elif not connection.closed:
                self.freed(connection)

    def _grant(self) -> None:
        while self._waiting and self.slots < self._settings.max_connections:
            turn = self._waiting.popleft()
            if not turn.done():
                self._dialing += 1
                turn.set_result(None)

    async def _connect(self, timeouts: Timeouts) -> Connection:
        """Dial in a slot that is counted already."""
        try:
            connection = await self._dial(timeouts)
        except BaseException:
            self._dialing -= 1
            self._grant()
            raise
        self._dialing -= 1
        self._open.add(connection)
        if self._closed:
            connection.abort()
            raise self._closing()
        return connection

    def _fault(self, kind: Kind, message: str) -> UpstreamError:
        return UpstreamError(Fault(Party.OURS, Phase.CONNECT, kind, message))

    def _closing(self) -> UpstreamError:
        return self._fault(Kind.CANCELLED, f"the connections to {self._peer} are closed")

    # === age

    def _expiry(self) -> float:
        return self._oldest().freed_at + self._may_idle if self._idle else math.inf

    def _expire(self) -> None:
        oldest = self._oldest()
        self._idle.remove(oldest)
        oldest.abort()
        self._alarm.arm(self._expiry())

    def _oldest(self) -> Connection:
        return min(self._idle, key=lambda connection: connection.freed_at)

    # === ready before anybody asks

    def _look(self) -> None:
        if len(self._idle) < self._keep:
            self._warm.look()

    def _wants_one(self) -> bool:
        return len(self._idle) < self._keep and self.slots < self._settings.max_connections

    async def _dial_one(self) -> None:
        self._dialing += 1
        connection = await self._connect(self._warm_limits)
        self.freed(connection)
        if connection in self._idle:
            # What requests have used goes first; and pools that began together do not renew together.
            self._idle.remove(connection)
            self._idle.insert(0, connection)
            connection.freed_at -= self._may_idle * 0.2 * self._clock.random()
            self._alarm.arm(self._expiry())
