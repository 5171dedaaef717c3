"""One answer on its way out: the Port of HTTP/1.1.

The head is held back until there is something to send with it, so that a short answer is one system call.
"""

import http
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from companion.net.h1 import LAST_CHUNK, Headers, chunk, encode_head

# Bodies from this size on are not copied into one buffer with their framing.
_LARGE: Final = 32 * 1024
_NO_BODY: Final = frozenset({204, 304})
_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in http.HTTPStatus} | {
    529: b"HTTP/1.1 529 Overloaded"
}


class Line(Protocol):
    """What an answer asks of the connection that it goes out on."""

    def last(self) -> bool:
        """Whether the connection closes after this answer."""

    def date(self) -> bytes:
        """Now, for the date header."""

    def send(self, *buffers: bytes) -> bool:
        """Send; False when the client is behind."""

    async def flushed(self) -> None:
        """Wait until the client is not behind any more, or gone."""

    def answered(self, *, keep: bool) -> None:
        """The answer has ended; without `keep` so does the connection."""


class HttpPort:
    """The Port for one request. `bodyless`: its answers have no body (HEAD); `old`: it came by HTTP/1.0."""

    __slots__ = (
        "_bodyless",
        "_chunked",
        "_head",
        "_keep",
        "_left",
        "_line",
        "_old",
        "fields",
        "finished",
        "started",
        "tap",
    )

    def __init__(self, line: Line, *, bodyless: bool, old: bool) -> None:
        self.started = False
        self.finished = False
        self.fields: Headers = []
        self.tap: Callable[[bytes], None] | None = None
        self._line = line
        self._bodyless = bodyless
        self._old = old
        self._keep = False
        self._chunked = False
        self._left: int | None = None
        self._head = b""

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self.started:
            raise RuntimeError("this answer has been started already")
        self.fields = fields = [*headers, (b"date", self._line.date())]
        self._keep = not (self._old or self._line.last())
        self._frame(status, fields)
        if not self._keep:
            fields.append((b"connection", b"close"))
        self._head = encode_head(_LINES.get(status) or b"HTTP/1.1 %d Unassigned" % status, fields)
        self.started = True

    def write(self, data: bytes) -> bool:
        if self.finished or self._bodyless or not data:
            return True
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RuntimeError("more body than the content-length of this answer says")
        if self.tap is not None:
            self.tap(data)
        head, self._head = self._head, b""
        if len(data) < _LARGE:
            return self._line.send(head + (chunk(data) if self._chunked else data))
        if self._chunked:
            return self._line.send(b"%b%x\r\n" % (head, len(data)), data, b"\r\n")
        return self._line.send(head, data) if head else self._line.send(data)

    async def drain(self) -> None:
        await self._line.flushed()

    def finish(self) -> None:
        if not self.started:
            raise RuntimeError("this answer was never started")
        if self._left and not self._bodyless:
            self.abort()
        elif not self.finished:
            self._end(LAST_CHUNK if self._chunked else b"", keep=self._keep)

    def abort(self) -> None:
        if not self.finished:
            self._end(b"", keep=False)

    def _frame(self, status: int, fields: Headers) -> None:
        """Decide how the body is delimited."""
        if status in _NO_BODY:
            self._bodyless = True
            fields[:] = [field for field in fields if field[0] != b"content-length"]
            return
        self._left = None
        for name, value in fields:
            if name == b"content-length":
                self._left = int(value)
        self._chunked = self._left is None and not self._bodyless and not self._old
        if self._chunked:
            fields.append((b"transfer-encoding", b"chunked"))

    def _end(self, rest: bytes, *, keep: bool) -> None:
        self.finished = True
        head, self._head = self._head, b""
        if head or rest:
            self._line.send(head + rest)
        self._line.answered(keep=keep)
