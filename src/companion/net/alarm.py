"""A timer for a deadline that moves all the time.

Moving the deadline away costs nothing: when the timer rings, it asks when the deadline is by now, and sleeps on if that
is still to come. So a stream of a thousand pieces re-arms its idle limit once or twice, not a thousand times.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from companion.clock import Clock

# uvloop counts in whole milliseconds: a timer may ring that much too early.
TICK: Final = 0.001


class Alarm:
    """Calls `fire` once the clock has reached `due()` (monotonic seconds, infinity for never)."""

    __slots__ = ("_at", "_clock", "_due", "_fire", "_timer")

    def __init__(self, clock: Clock, due: Callable[[], float], fire: Callable[[], None]) -> None:
        self._clock = clock
        self._due = due
        self._fire = fire
        self._timer: asyncio.TimerHandle | None = None
        self._at = float("inf")

    def arm(self, at: float) -> None:
        """Ask `due` again no later than `at`. Free when the alarm rings before that anyhow."""
        if at < self._at:
            self.cancel()
            self._at = at
            delay = max(0.0, at - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def cancel(self) -> None:
        """Forget the timer; it can be armed again."""
        self._at = float("inf")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._at = float("inf")
        due = self._due()
        if due > self._clock.monotonic() + TICK:
            self.arm(due)
        else:
            self._fire()
