"""Bounds that are no fault of anybody: slots of an endpoint, repeated tries, and clocks that an upstream sets by a 429.

None of them waits. A slot is there or not, a repetition is allowed or not, a clock runs or not: whoever is refused goes
elsewhere.
"""

from collections import deque
from math import inf
from typing import Final

from companion.clock import Clock

JITTER: Final = 0.2
LONGEST_WAIT: Final = 8 * 86_400.0  # some accounts have weekly limits; a day more is for clocks that differ

UNKNOWN_WAIT: Final = 2.0
UNKNOWN_WAIT_MAX: Final = 60.0

BUDGET_WINDOW: Final = 10
BUDGET_FLOOR: Final = 3
BUDGET_PER_DEPOSITS: Final = 5  # one repetition for five requests: 20 %


def jittered(seconds: float, clock: Clock) -> float:
    """`seconds`, give or take JITTER of it, so that those who failed together do not come back together."""
    return seconds * (1 - JITTER + 2 * JITTER * clock.random())


def bounded(retry_after: float | None) -> float:
    """An upstream's wish in seconds, made sane: nothing, less than nothing and NaN are 0, for ever is LONGEST_WAIT."""
    return 0.0 if retry_after is None else min(max(0.0, retry_after), LONGEST_WAIT)


class Slots:
    """How many tries an endpoint has at once. `limit` may change at any time; None is no limit."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.used = 0

    def take(self) -> bool:
        """Take one if there is one."""
        if self.limit is not None and self.used >= self.limit:
            return False
        self.used += 1
        return True

    def free(self) -> None:
        """Give one back that was taken."""
        self.used -= 1


class RetryBudget:
    """Repeated tries on the same endpoint: 20 % of the requests of the last 10 s, and 3 more.

    It keeps a failing upstream from being hit by a multiple of its load. Moving on to another endpoint is free.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds: deque[list[int]] = deque()  # [second, deposits, withdrawals]

    def deposit(self) -> None:
        """A request came in."""
        self._current()[1] += 1

    def withdraw(self) -> bool:
        """Whether one more repetition is allowed; if so, it is counted."""
        current = self._current()
        deposits = sum(second[1] for second in self._seconds)
        spent = sum(second[2] for second in self._seconds)
        if spent >= BUDGET_FLOOR + deposits // BUDGET_PER_DEPOSITS:
            return False
        current[2] += 1
        return True

    def _current(self) -> list[int]:
        now = int(self._clock.monotonic())
        while self._seconds and self._seconds[0][0] < now - BUDGET_WINDOW:
            self._seconds.popleft()
        if not self._seconds or self._seconds[-1][0] != now:
            self._seconds.append([now, 0, 0])
        return self._seconds[-1]


class RateClock:
    """Until when a 429 asks to be left alone. The later deadline wins.

    It runs on both clocks and ends with the first: monotonic time stands still while a laptop sleeps, an account's
    limit does not. A 429 that names no time is waited out for a short while that grows until something succeeds.
    """

    __slots__ = ("_clock", "_since", "_unknown", "_until", "_until_wall")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = -inf
        self._until = -inf
        self._until_wall = -inf
        self._unknown = 0

    @property
    def until(self) -> float | None:
        """The monotonic second at which it ends; None when it does not run."""
        now = self._clock.monotonic()
        if now >= self._until:
            return None
        left = self._until_wall - self._clock.wall()
        return min(self._until, now + left) if left > 0 else None

    def hit(self, began: float, retry_after: float | None) -> None:
        """A try that began at `began` was answered with a 429."""
        now = self._clock.monotonic()
        if retry_after is not None:
            wait = bounded(retry_after)
        elif began < self._since:
            return  # of the same burst as one that has set the clock
        else:
            wait = jittered(min(UNKNOWN_WAIT * 2.0**self._unknown, UNKNOWN_WAIT_MAX), self._clock)
            self._unknown = min(self._unknown + 1, 16)
        self._since = now
        if now + wait > (self.until or -inf):
            self._until, self._until_wall = now + wait, self._clock.wall() + wait

    def succeeded(self, began: float) -> None:
        """A try that began at `began` was answered."""
        if began >= self._since:
            self._unknown = 0

    def reset(self) -> None:
        """It does not run any more, and no 429 is remembered."""
        self._since, self._until, self._until_wall = self._clock.monotonic(), -inf, -inf
        self._unknown = 0
