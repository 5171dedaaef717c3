"""Connections that are open before anybody asks: one pool's, dialled in the background, one after the other.

Nothing here is a request or a fault. A dial that fails, and a server that closes what has only just been opened, are
answered by longer pauses, until a request uses one of the connections or one has stayed open for a while.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from companion.clock import Clock
from companion.errors import UpstreamError

PAUSE: Final = 0.25
LONGEST: Final = 60.0
# What stays open so long is of use, even if it was closed unused in the end.
USEFUL: Final = 10.0
_DOUBLINGS: Final = 8


class Warm:
    """Calls `dial` when one is `missing`, not at once and not while it is unwanted."""

    def __init__(self, missing: Callable[[], bool], dial: Callable[[], Awaitable[None]], clock: Clock) -> None:
        self._missing = missing
        self._dial = dial
        self._clock = clock
        self._wanted: Callable[[], bool] = lambda: False
        self._misses = 0
        self._dialled = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None

    def start(self, wanted: Callable[[], bool]) -> None:
        """From now on, while it is `wanted`."""
        self._wanted = wanted
        self.look()

    def stop(self) -> None:
        """No more."""
        self._wanted = lambda: False
        if self._timer is not None:
            self._timer.cancel()
        self.give_way()

    def look(self) -> None:
        """One may be missing. Cheap: a look is taken soon, once for all who say so until then."""
        if self._timer is None and self._dialling is None:
            delay = pause(self._misses, self._clock.random())
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def taken(self) -> None:
        """A request uses one of them."""
        self._misses = 0
        self.look()

    def closed(self) -> None:
        """A server has closed one that nobody had used."""
        early = self._clock.monotonic() - self._dialled < USEFUL
        self._misses = min(self._misses + 1, _DOUBLINGS) if early else 0

    def give_way(self) -> None:
        """A request needs the place of a dial that is under way."""
        if self._dialling is not None:
            self._dialling.cancel()

    def _look(self) -> None:
        self._timer = None
        if self._missing() and self._wanted():
            self._dialling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        try:
            await self._dial()
            self._dialled = self._clock.monotonic()
        except UpstreamError:
            self._misses = min(self._misses + 1, _DOUBLINGS)
        finally:
            self._dialling = None
        self.look()


def pause(misses: int, dice: float) -> float:
    """Seconds to wait after so many misses in a row, a quarter more or less; `dice` is from [0, 1)."""
    return min(LONGEST, PAUSE * 2.0**misses) * (0.75 + dice / 2)
