"""What of a content was there in the one before it, and where the rest is best cut into pieces.

Turns of a conversation repeat all that was said. A content that looks like its predecessor from the front and from
the back is recognised by comparing bytes; only what is between is cut, hashed and compressed. Cuts are made where a
message, a block of content, a part of the system prompt or a tool begins: `{"role":` cannot stand inside a JSON
string, whose quotes are escaped, so no parser is needed, and any bytes can be cut. What stands between two pieces, a
cache_control that moves on with every turn among it, belongs to neither.
"""

import re
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

SMALL: Final = 64
"""Pieces up to this many bytes stand in the recipe itself."""

_SHORT: Final = 1024
_CLOSERS: Final = b" \t\r\n,]}"
_LONGEST_CLOSING: Final = 32
_BEGIN: Final = re.compile(rb'\{\s*"(?:role|type|tool_use_id|name)"\s*:')
_MEMBER: Final = re.compile(rb'"(?:system|tools|messages)"\s*:\s*\[')
_MARKER: Final = re.compile(rb'"cache_control"\s*:\s*\{[^{}]*\}')
_VOLATILE: Final = re.compile(rb"(?m)^(?:content-length|date|request-id|x-request-id|cf-ray|traceparent|age): .*\n")

Ref = int | bytes
"""A piece in a recipe: the id of a shared one, or its bytes where they are few."""


class Piece(NamedTuple):
    """Bytes of a content, and how its recipe names them; None: nobody has stored them yet."""

    data: bytes
    ref: Ref | None = None


def cut_json(data: bytes) -> list[Piece]:
    """The pieces of a request body, or of a part of one."""
    return list(_between(data, list(_json_seams(data))))


def cut_headers(data: bytes) -> list[Piece]:
    """The pieces of headers, one a line: those that differ each time are apart."""
    return list(_between(data, [line.span() for line in _VOLATILE.finditer(data)]))


def _between(data: bytes, seams: list[tuple[int, int]]) -> Iterator[Piece]:
    """A seam that has bytes is a piece of its own. What is short is joined with its neighbours, one time in four not.

    That depends on nothing but the bytes around the seam, so that wherever cutting begins it finds the same pieces.
    """
    last = before = 0
    for number, (start, end) in enumerate(seams):
        following = seams[number + 1][0] if number + 1 < len(seams) else len(data)
        long = start - before >= _SHORT or following - end >= _SHORT
        if long or not crc32(data[before:start]) & 3:
            if start > last:
                yield Piece(data[last:start])
            if end > start:
                yield Piece(data[start:end])
            last = end
        before = end
    if last < len(data):
        yield Piece(data[last:])


def _json_seams(data: bytes) -> Iterator[tuple[int, int]]:
    begins = [_seam(data, found.start()) for each in (_BEGIN, _MEMBER) for found in each.finditer(data)]
    markers = [_marker(data, *found.span()) for found in _MARKER.finditer(data)]
    end_of_last = 0
    for start, end in sorted(begins + markers):
        # The object of a marker begins like a block, and a marker's closing brackets like those of the next block.
        if start >= end_of_last:
            yield start, end
            end_of_last = end


def _seam(data: bytes, start: int) -> tuple[int, int]:
    """From the closing brackets before an object to its beginning."""
    before = data[max(0, start - _LONGEST_CLOSING) : start]
    kept = len(before.rstrip(_CLOSERS))
    return start - len(before) + kept, start


def _marker(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A marker with the comma before it and the brackets behind it."""
    while start > 0 and data[start - 1 : start] in b", \t\r\n":
        start -= 1
    behind = data[end : end + _LONGEST_CLOSING]
    return start, end + len(behind) - len(behind.lstrip(_CLOSERS))


class Known(NamedTuple):
    """A content as it was stored: its size, its pieces, the shared ones among them, and its recipe."""

    size: int = 0
    pieces: Sequence[Piece] = ()
    shared: Sequence[int] = ()
    recipe: bytes = b""


class Memory:
    """The latest content under each key: at most `keys` of them, `limit` bytes in all."""

    def __init__(self, limit: int = 8 * 1024 * 1024, keys: int = 128) -> None:
        self._limit = limit
        self._keys = keys
        self._size = 0
        self._latest: OrderedDict[Hashable, Known] = OrderedDict()

    def known(self, key: Hashable) -> Known:
        """What was kept under this key, or nothing."""
        return self._latest.get(key, _NOTHING)

    def keep(self, key: Hashable, content: Known) -> None:
        """All its pieces have a ref by now."""
        self._forget(key)
        if content.size > self._limit:
            return
        self._latest[key] = content
        self._size += content.size
        while self._size > self._limit or len(self._latest) > self._keys:
            self._forget(next(iter(self._latest)))

    def clear(self) -> None:
        """Refs may lead nowhere from now on."""
        self._latest.clear()
        self._size = 0

    def _forget(self, key: Hashable) -> None:
        self._size -= self._latest.pop(key, _NOTHING).size


_NOTHING: Final = Known()


def front_and_back(data: bytes, known: Sequence[Piece]) -> tuple[int, int, int, int]:
    """How many of the known pieces `data` begins with and ends with, and from where to where the rest of it is."""
    start, front = 0, 0
    for piece, _ in known:
        if not data.startswith(piece, start):
            break
        start += len(piece)
        front += 1
    end, back = len(data), 0
    for piece, _ in reversed(known[front:]) if start < end else ():
        if end - len(piece) < start or not data.endswith(piece, start, end):
            break
        end -= len(piece)
        back += 1
    return front, back, start, end
