"""gzip, deflate, br and zstd, undone piece by piece, and never more at a time than can be held.

An inflater is pushed what arrived and pulled until nothing comes any more. One pull gives at most MAX_PIECE bytes, so a
bomb expands only as fast as its reader reads; and a body that expands more than MAX_RATIO times (after a first
MAX_PIECE) is refused as one. What undoes br and zstd is imported when the first such body comes.
"""

import zlib
from collections.abc import Callable
from typing import Final, Protocol

MAX_PIECE: Final = 1024 * 1024
MAX_RATIO: Final = 200

# RFC 9659: what a sender may expect a zstd decoder of HTTP to hold.
_MAX_WINDOW: Final = 8 * 1024 * 1024
# zstd gives everything at once, and four bytes of it may be 128 KiB: so it is fed little at a time.
_ZSTD_STEP: Final = 512
_PLAIN: Final = frozenset({b"", b"identity", b"none"})


class InflateError(Exception):
    """The body is not what its content encoding says, or the encoding is not spoken here."""


class _Codec(Protocol):
    """One member of a body. After a step `rest` is what of its input was not taken yet."""

    rest: bytes

    @property
    def ended(self) -> bool:
        """Whether the member is whole."""

    @property
    def more(self) -> bool:
        """Whether there is more to come without further data."""

    def step(self, data: bytes) -> bytes:
        """What comes out of some of `data`, within bounds. Raises InflateError."""


def inflater(encoding: bytes) -> "Inflater | None":
    """What undoes a Content-Encoding header's value; None where there is nothing to undo. Raises InflateError."""
    codings = [coding for part in encoding.lower().split(b",") if (coding := part.strip()) not in _PLAIN]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in _CODECS:
        raise InflateError(f"the content encoding {encoding.decode('latin-1')!r} is not understood here")
    return Inflater(*_CODECS[codings[0]])


class Inflater:
    """One body's decompression. Whatever the sender flushed comes out at once.

    `members`: one may follow another within the body.
    """

    def __init__(self, codec: Callable[[bytes], _Codec], members: bool) -> None:
        self._begin = codec
        self._members = members
        self._codec: _Codec | None = None
        self._input = b""
        self._output = b""
        self._taken = 0
        self._given = 0

    @property
    def pending(self) -> bool:
        """Whether `pull` may give something without another `push`."""
        return bool(self._input or self._output) or (self._codec is not None and self._codec.more)

    @property
    def complete(self) -> bool:
        """Whether what was pushed so far is a whole body (nothing at all counts as one)."""
        return not self._input and (self._codec is None or self._codec.ended)

    def push(self, data: bytes) -> None:
        """Take bytes as they came; pull afterwards until nothing comes."""
        self._input = self._input + data if self._input else data
        self._taken += len(data)

    def pull(self) -> bytes:
        """The next piece, at most MAX_PIECE bytes; b"" when more has to be pushed first. Raises InflateError."""
        while self.pending:
            if not self._output:
                self._output = self._step()
                self._given += len(self._output)
                if self._given > MAX_PIECE + MAX_RATIO * self._taken:
                    raise InflateError(f"the body expands more than {MAX_RATIO} times")
            if self._output:
                piece, self._output = self._output[:MAX_PIECE], self._output[MAX_PIECE:]
                return piece
        return b""

    def _step(self) -> bytes:
        codec = self._codec
        if codec is None or (codec.ended and self._members):
            codec = self._codec = self._begin(self._input)
        elif codec.ended:
            raise InflateError("bytes after the end of the compressed body")
        piece = codec.step(self._input)
        self._input = codec.rest
        return piece


class _Zlib:
    def __init__(self, window: int) -> None:
        self.rest = b""
        self.more = False
        self._stream = zlib.decompressobj(window)

    @classmethod
    def gzip(cls, _: bytes) -> "_Zlib":
        return cls(16 + zlib.MAX_WBITS)

    @classmethod
    def deflate(cls, data: bytes) -> "_Zlib":
        """It is zlib by the book and raw by custom; no deflater starts a raw stream with zlib's method nibble."""
        return cls(zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    def step(self, data: bytes) -> bytes:
        try:
            piece = self._stream.decompress(data, MAX_PIECE)
        except zlib.error as error:
            raise _broken(error) from None
        self.rest = self._stream.unused_data if self.ended else self._stream.unconsumed_tail
        # zlib may hold back what did not fit although it has swallowed all input.
        self.more = len(piece) == MAX_PIECE and not self.ended
        return piece


class _Brotli:
    def __init__(self, _: bytes) -> None:
        import brotli  # noqa: PLC0415 - when the first such body comes

        self.rest = b""
        self.more = False
        self._stream = brotli.Decompressor()
        self._error: type[Exception] = brotli.error

    @property
    def ended(self) -> bool:
        return bool(self._stream.is_finished())

    def step(self, data: bytes) -> bytes:
        data, self.rest = (b"", data) if self.more else (data, b"")
        try:
            piece = bytes(self._stream.process(data, output_buffer_limit=MAX_PIECE))
        except self._error as error:
            raise _broken(error) from None
        # It, too, may hold back what did not fit although it has swallowed all input.
        self.more = not self.ended and (len(piece) >= MAX_PIECE or not self._stream.can_accept_more_data())
        return piece


class _Zstd:
    def __init__(self, _: bytes) -> None:
        import zstandard  # noqa: PLC0415 - when the first such body comes

        self.rest = b""
        self.ended = False
        self._stream = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        self._error: type[Exception] = zstandard.ZstdError
        self._left = memoryview(b"")

    @property
    def more(self) -> bool:
        return len(self._left) > 0

    def step(self, data: bytes) -> bytes:
        """Takes all of `data` and works on it bit by bit, so that it is not copied as often."""
        left = memoryview(bytes(self._left) + data if self._left else data)
        step, self._left, self.rest = left[:_ZSTD_STEP], left[_ZSTD_STEP:], b""
        try:
            piece = self._stream.decompress(step)
        except self._error as error:
            raise _broken(error) from None
        if self._stream.eof:
            self.ended = True
            self.rest, self._left = self._stream.unused_data + bytes(self._left), memoryview(b"")
        return piece


def _broken(error: Exception) -> InflateError:
    return InflateError(f"the body does not decompress: {error}")


_CODECS: Final[dict[bytes, tuple[Callable[[bytes], _Codec], bool]]] = {
    b"gzip": (_Zlib.gzip, True),
    b"x-gzip": (_Zlib.gzip, True),
    b"deflate": (_Zlib.deflate, False),
    b"br": (_Brotli, False),
    b"zstd": (_Zstd, True),
}
