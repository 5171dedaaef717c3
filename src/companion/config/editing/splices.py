"""Changes of a text: from which to which character stands what instead. They may lie within each other's blocks."""

from bisect import insort
from typing import NamedTuple


class Splice(NamedTuple):
    """Put `text` in place of [start, stop)."""

    start: int
    stop: int
    number: int
    text: str


class Splices:
    """Changes, in the order of the text; those at one place in the order in which they came."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._splices: list[Splice] = []

    def __bool__(self) -> bool:
        return bool(self._splices)

    def add(self, start: int, stop: int, text: str) -> None:
        """One more change, which overlaps none before it."""
        insort(self._splices, Splice(start, stop, len(self._splices), text))

    def piece(self, start: int, stop: int) -> str:
        """A part of the text with the changes that lie within it, for which it answers from now on.

        What is put in just where it starts belongs to the end of what comes before.
        """
        within = [
            each for each in self._splices if start <= each.start and each.stop <= stop and each.stop > (start or -1)
        ]
        self._splices = [each for each in self._splices if each not in within]
        parts = []
        for each in within:
            parts += [self._text[start : each.start], each.text]
            start = each.stop
        return "".join([*parts, self._text[start:stop]])

    def applied(self) -> str:
        """The whole text with all changes."""
        return self.piece(0, len(self._text))
