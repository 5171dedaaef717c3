"""ULIDs: ids that sort by the time they were made, also within one millisecond (https://github.com/ulid/spec)."""

from typing import Final

from companion.clock import Clock

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
# Of 80 bits the highest starts as 0, so that counting up within a millisecond never overflows. A float gives 53.
_HIGH: Final = 2**53
_LOW: Final = 2**26
# The bits at the end that change from id to id; the text of those before them is kept.
_QUICK: Final = 20


class _Maker:
    """Counts on from the last id, also into the next millisecond: that makes ids unique, and is cheaper than dice.

    The dice are rolled anew with the time's last pair of letters, about once a second.
    """

    def __init__(self) -> None:
        self._second = -1
        self._time = ""
        self._high = -1
        self._middle = ""
        self._tail = 0

    def new(self, clock: Clock) -> str:
        millisecond = int(clock.wall() * 1000)
        if millisecond >> 10 != self._second:
            self._second = millisecond >> 10
            self._time = _encode(self._second, 4)
            self._tail = int(clock.random() * _HIGH) * _LOW + int(clock.random() * _LOW)
        else:
            self._tail += 1
        tail = self._tail
        if tail >> _QUICK != self._high:
            self._high = tail >> _QUICK
            self._middle = _encode(self._high, 6)
        return self._time + _PAIRS[millisecond & 1023] + self._middle + _PAIRS[tail >> 10 & 1023] + _PAIRS[tail & 1023]


def _encode(number: int, pairs: int) -> str:
    """Crockford's base 32, two letters at a time."""
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(10 * (pairs - 1), -1, -10)])


_maker: Final = _Maker()


def new(clock: Clock) -> str:
    """The next id, 26 characters. Later ids sort behind earlier ones, as long as the wall clock is not set back."""
    return _maker.new(clock)
