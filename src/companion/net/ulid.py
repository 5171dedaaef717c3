"""ULIDs: ids that sort by the time they were made, also within one millisecond (https://github.com/ulid/spec)."""

from typing import Final

from companion.clock import Clock

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
# Of 80 bits the highest starts as 0, so that counting up within a millisecond never overflows. A float gives 53.
_HIGH: Final = 2**53
_LOW: Final = 2**26
# The bits at the end that change from id to id within a millisecond; the text of the rest is kept.
_QUICK: Final = 20


class _Maker:
    """Remembers the last id, because the next one of the same millisecond is that plus one."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._prefix = ""
        self._high = -1
        self._tail = 0

    def new(self, clock: Clock) -> str:
        millisecond = int(clock.wall() * 1000)
        if millisecond == self._millisecond:
            self._tail += 1
        else:
            self._millisecond = millisecond
            self._tail = int(clock.random() * _HIGH) * _LOW + int(clock.random() * _LOW)
            self._high = -1
        high = self._tail >> _QUICK
        if high != self._high:
            self._high = high
            self._prefix = _encode(millisecond, 5) + _encode(high, 6)
        return self._prefix + _PAIRS[self._tail >> 10 & 1023] + _PAIRS[self._tail & 1023]


def _encode(number: int, pairs: int) -> str:
    """Crockford's base 32, two letters at a time."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(10 * (pairs - 1), -1, -10)])


_maker: Final = _Maker()


def new(clock: Clock) -> str:
    """The next id, 26 characters. Later ids sort behind earlier ones, as long as the wall clock is not set back."""
    return _maker.new(clock)
