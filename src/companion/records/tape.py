"""What an answer was, piece by piece: taped on the event loop, put together again in the thread.

A tape gives away what it has as soon as that is 16 KiB. Parts are stored in just that size, so that what an upstream
sent and what the client got from it are the same parts, and are stored once.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from companion.records.contents import Times
from companion.records.mask import Mask

PART: Final = 16 * 1024


class TapePart(msgspec.Struct, frozen=True, gc=False):
    """Pieces of the answer of one try, or (attempt 0) of what the client got, and when each came."""

    exchange: str
    attempt: int
    pieces: tuple[bytes, ...]
    times: tuple[float, ...]
    size: int
    end: bool = False


class Tape:
    """Takes what passes by. For the event loop: `add` appends to a list, and one in a hundred gives that away."""

    __slots__ = ("_attempt", "_clock", "_exchange", "_give", "_pieces", "_size", "_times")

    def __init__(
        self, exchange: str, attempt: int, give: Callable[[TapePart], None], clock: Callable[[], float]
    ) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._give = give
        self._clock = clock
        self._pieces: list[bytes] = []
        self._times: list[float] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """The next piece, as it is on the wire."""
        self._pieces.append(piece)
        self._times.append(self._clock())
        self._size += len(piece)
        if self._size >= PART:
            self._spill(end=False)

    def end(self) -> None:
        """Nothing comes any more, for whatever reason."""
        self._spill(end=True)

    def _spill(self, *, end: bool) -> None:
        part = TapePart(self._exchange, self._attempt, tuple(self._pieces), tuple(self._times), self._size, end)
        self._pieces.clear()
        self._times.clear()
        self._size = 0
        self._give(part)


Taping = Callable[[str, int | None], Tape | None]
"""Gives what takes the answer of one try of an exchange or, with None, what its client gets; None: nothing is kept."""


class Stream:
    """The thread's side of a tape: masked parts of equal size, though a secret may lie across their borders."""

    def __init__(self) -> None:
        self.size = 0
        self.parts = 0
        self._held = b""
        self._times: list[tuple[int, float]] = []
        self.save()

    def save(self) -> None:
        """Remember how far it is: what follows may not be stored."""
        self._saved = (self.size, self.parts, self._held, list(self._times))

    def restore(self) -> None:
        """What was fed since the last `save` was not."""
        self.size, self.parts, self._held, times = self._saved
        self._times = list(times)

    def feed(self, part: TapePart, started: float, mask: Mask) -> Iterator[tuple[int, bytes, Times]]:
        """Number, bytes and times of each part that is complete now."""
        self.size += part.size
        self._times += [(len(piece), at - started) for piece, at in zip(part.pieces, part.times, strict=True)]
        held = mask.bytes(b"".join([self._held, *part.pieces]))
        while len(held) >= PART + mask.overlap:
            yield self._cut(held[:PART])
            held = held[PART:]
        while part.end and held:
            yield self._cut(held[:PART])
            held = held[PART:]
        self._held = held

    def skip(self, size: int) -> tuple[int, int]:
        """The next `size` bytes were lost, and with them what is held. Returns number and size of the missing part."""
        missing = size + len(self._held)
        self.size += size
        self.parts += 1
        self._held = b""
        self._times.clear()
        return self.parts - 1, missing

    def _cut(self, data: bytes) -> tuple[int, bytes, Times]:
        """The times that belong to these bytes; a piece across the border is in both parts."""
        missing, times = len(data), []
        while missing > 0:
            length, at = self._times[0]
            if length <= missing:
                del self._times[0]
            else:
                self._times[0] = (length - missing, at)
            times.append((min(length, missing), at))
            missing -= length
        self.parts += 1
        return self.parts - 1, data, times
