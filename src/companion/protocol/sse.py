"""Server-Sent Events, cut into frames without losing a byte.

A frame is everything up to and including a blank line; joining the `raw` of all frames and the `rest` gives the input
back, however it was split. What clients and servers really send is one `event:` line, one `data:` line and line feeds
only: that has a fast path. Anything else the standard allows (CR, CRLF, comments, several data lines, a byte order
mark) is parsed line by line.
"""

import re
from typing import Final

import msgspec

from companion.protocol.violations import Violated, Violation

LIMIT: Final = 16 * 1024 * 1024
BOM: Final = b"\xef\xbb\xbf"

# A CR at the end of the input may be half of a CRLF: only after CR CR is the frame known to be over.
_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n)(?:\r\n|\n|\r(?=[^\n]))|\r\r")
_CR: Final = 13
_plain: Final = re.compile(rb"event: (.*)\ndata: (.*)\n\n").match  # only where there is no CR
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(Violated):
    """A frame that does not end within the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(Violation.TOO_LARGE, f"an event of more than {limit} bytes")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame: the name of its event, its data lines joined by line feeds, and exactly the bytes that it was.

    `event` is None without an `event:` line. A frame of comments or of a blank line has no event and no data.
    """

    event: bytes | None
    data: bytes
    raw: bytes


class Decoder:
    """Cuts a stream of bytes into frames. `limit` is the largest frame in bytes; feed raises FrameTooLarge above it."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._searched = 0
        self._carriage_returns = False

    @property
    def rest(self) -> bytes:
        """What has come since the last complete frame."""
        return bytes(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete."""
        if _CR in data:
            self._carriage_returns = True
        if self._held:
            self._held += data
            if not self._ends():
                self._hold()
                return []
            data = bytes(self._held)
            self._held.clear()
        return self._cut_any(data, 0, []) if self._carriage_returns else self._cut_plain(data)

    def _ends(self) -> bool:
        """Whether a blank line is in what is held. A frame in small pieces is searched and copied only once."""
        if self._carriage_returns:
            return _BLANK_LINE.search(self._held, self._searched) is not None
        return self._held.find(b"\n\n", self._searched) >= 0

    def _hold(self, rest: bytes = b"") -> None:
        self._held += rest
        self._measure(len(self._held))
        self._searched = max(0, len(self._held) - 3)

    def _measure(self, size: int) -> None:
        if size > self._limit:
            raise FrameTooLarge(self._limit)

    def _cut_plain(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        start, size = 0, len(data)
        while start < size:
            found = _plain(data, start)
            if found is None:
                return self._cut_any(data, start, frames)
            event, body = found.groups()
            end = found.end()
            if end - start > self._limit:
                self._measure(end - start)
            frames.append(Frame(event or None, body, data[start:end]))
            start = end
        return frames

    def _cut_any(self, data: bytes, start: int, frames: list[Frame]) -> list[Frame]:
        while found := _BLANK_LINE.search(data, start):
            self._measure(found.end() - start)
            frames.append(parse(data[start : found.end()]))
            start = found.end()
        if start < len(data):
            self._hold(data[start:])
        return frames


def parse(raw: bytes) -> Frame:
    """One complete frame, read line by line as the standard says. An empty event name is the same as none."""
    event = None
    data: list[bytes] = []
    for line in _LINE_END.split(raw.removeprefix(BOM)):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            event = value.removeprefix(b" ") or None
    return Frame(event, b"\n".join(data), raw)


def encode(event: str, data: bytes) -> bytes:
    """A frame with its `event:` line; line feeds in `data` become further data lines."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data.replace(b"\n", b"\ndata: "))


PING: Final = encode("ping", b'{"type": "ping"}')
