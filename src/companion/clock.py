"""Time and chance, passed in everywhere so that a test can hold both in its hand."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the program asks what time it is and rolls its dice."""

    def monotonic(self) -> float:
        """Seconds that never go back; the zero is arbitrary."""

    def wall(self) -> float:
        """Seconds since the Unix epoch."""

    def random(self) -> float:
        """A number in [0, 1)."""


class SystemClock:
    """The real thing. Its methods are the library's own functions: the request path calls them often."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    random = staticmethod(random.random)


class FakeClock:
    """A clock that stands still until it is told to go on; `dice` are the random numbers it will give."""

    def __init__(self, now: float = 1_000.0, dice: float = 0.5) -> None:
        self.now = now
        self.dice = dice

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now

    def random(self) -> float:
        return self.dice

    def advance(self, seconds: float) -> None:
        self.now += seconds
