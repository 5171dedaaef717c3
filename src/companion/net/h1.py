"""HTTP/1.1 framing for both sides of the proxy: parsing by llhttp (httptools), and the limits that llhttp has not.

llhttp refuses what smuggling needs (two lengths, length and chunked, folded headers, bare line feeds). It has no idea
of size: a header that never ends is collected for ever. MessageReader therefore counts what it feeds: a head may take
`MAX_HEAD` bytes and `MAX_FIELDS` fields, and no more than `MAX_HEAD` bytes may pass inside a body without a byte of
body coming out (endless chunk extensions and trailers).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import httptools

MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 200
HIGH_WATER: Final = 64 * 1024

_LF: Final = ord("\n")
_CR: Final = ord("\r")
LAST_CHUNK: Final = b"0\r\n\r\n"

Headers = list[tuple[bytes, bytes]]

# RFC 9110 §7.6.1: these concern one connection only and are never passed on.
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"}
    | {b"trailer", b"transfer-encoding", b"upgrade"}
)


class FramingError(Exception):
    """The peer's bytes are not HTTP/1.1 as we speak it."""


class HeadTooLarge(FramingError):
    """The head has more bytes or fields than we read."""


def encode_head(first_line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head as it goes on the wire. Raises ValueError for a line break or NUL inside a field (header injection)."""
    lines = [first_line, *map(b": ".join, headers)]
    joined = b"".join(lines)
    # Looking for a byte by its number is much cheaper: `in` tries everything as a number first.
    if _LF in joined or _CR in joined or 0 in joined:
        raise ValueError("a header field must not hold a line break or NUL")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body. `data` must not be empty: that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of a header; `name` in lower case, as all names that MessageReader collects are."""
    for key, value in headers:
        if key == name:
            return value
    return None


def kept(rule: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """Whether a field of this name is kept, by a rule that is asked once for each name."""
    # The method of dict itself: for a subclass, Python looks for [] by name each time.
    return _Kept(rule).__getitem__


class _Kept(dict[bytes, bool]):
    """Remembers `LIMIT` names."""

    LIMIT: Final = 1024

    def __init__(self, rule: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, name: bytes) -> bool:
        if len(self) >= self.LIMIT:
            self.clear()
        kept = self[name] = self._rule(name)
        return kept


class MessageReader:
    """Feeds llhttp within bounds; a subclass says what happens with a head, a piece of body, and a message's end.

    Header names arrive in lower case in `headers`, values without blanks around them; trailers are counted and
    dropped. `feed` raises FramingError, after which the connection is unusable.
    """

    def __init__(self, parser: "type[httptools.HttpRequestParser | httptools.HttpResponseParser]") -> None:
        self.headers: Headers = []
        self.in_head = True
        self._fields: Headers = []
        self._quiet = 0
        self.on_header = _collector(self._fields)
        self.parser: Any = parser(self)

    def head_received(self) -> None:
        """`headers` is complete; what the first line says is in `parser`."""

    def body_received(self, data: bytes) -> None:
        """A piece of body, without its framing."""

    def message_received(self) -> None:
        """The message is over. (A body that ends with the connection has no such moment.)"""

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer and call back for what comes out of them."""
        start = 0
        while start < len(data):
            room = MAX_HEAD - self._quiet
            if room <= 0:
                if self.in_head:
                    raise HeadTooLarge(f"more than {MAX_HEAD} bytes of headers")
                raise FramingError(f"more than {MAX_HEAD} bytes of framing without content")
            piece = data if start == 0 and len(data) <= room else data[start : start + room]
            start += len(piece)
            self._quiet += len(piece)
            try:
                self.parser.feed_data(piece)
                if len(self._fields) > MAX_FIELDS:
                    raise HeadTooLarge(f"more than {MAX_FIELDS} header fields")
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, FramingError):
                    raise error.__context__ from None
                raise
            except httptools.HttpParserUpgrade:
                raise FramingError("upgrades are not spoken here") from None
            except httptools.HttpParserError as error:
                raise FramingError(str(error)) from None

    # === called by llhttp

    def on_message_begin(self) -> None:
        self.headers = []
        self.in_head = True
        self._fields.clear()

    def on_headers_complete(self) -> None:
        fields = self._fields
        if len(fields) > MAX_FIELDS:
            raise HeadTooLarge(f"more than {MAX_FIELDS} header fields")
        self.headers = fields.copy()
        self.in_head = False
        fields.clear()
        self._quiet = 0
        self.head_received()

    def on_body(self, data: bytes) -> None:
        self._quiet = 0
        self.body_received(data)

    def on_message_complete(self) -> None:
        self._quiet = 0
        self.in_head = True
        self.message_received()


def _collector(fields: Headers) -> Callable[[bytes, bytes], None]:
    """What llhttp calls for every field, forty times an exchange: a closure costs half of a method."""
    append = fields.append

    def on_header(name: bytes, value: bytes) -> None:
        append((name.lower(), value.rstrip()))

    return on_header
