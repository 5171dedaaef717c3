"""gzip and deflate, undone piece by piece, and never more at a time than can be held.

An inflater is pushed what arrived and pulled until nothing comes any more. One pull gives at most MAX_PIECE bytes, so a
bomb expands only as fast as its reader reads; and a body that expands more than MAX_RATIO times (after a first
MAX_PIECE) is refused as one.
"""

import zlib
from typing import Final

MAX_PIECE: Final = 1024 * 1024
MAX_RATIO: Final = 200

_PLAIN: Final = frozenset({b"", b"identity", b"none"})
_GZIP: Final = frozenset({b"gzip", b"x-gzip"})


class InflateError(Exception):
    """The body is not what its content encoding says, or the encoding is not spoken here."""


def inflater(encoding: bytes) -> "Inflater | None":
    """What undoes a Content-Encoding header's value; None where there is nothing to undo. Raises InflateError."""
    codings = [coding for part in encoding.lower().split(b",") if (coding := part.strip()) not in _PLAIN]
    if not codings:
        return None
    if len(codings) > 1 or (codings[0] not in _GZIP and codings[0] != b"deflate"):
        raise InflateError(f"the content encoding {encoding.decode('latin-1')!r} is not understood here")
    return Inflater(gzip=codings[0] in _GZIP)


class Inflater:
    """One body's decompression. Whatever the sender flushed comes out at once."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._stream: zlib._Decompress | None = None
        self._input = b""
        self._more = False
        self._taken = 0
        self._given = 0

    @property
    def pending(self) -> bool:
        """Whether `pull` may give something without another `push`."""
        return bool(self._input) or self._more

    @property
    def complete(self) -> bool:
        """Whether what was pushed so far is a whole body (nothing at all counts as one)."""
        return not self._input and (self._stream is None or self._stream.eof)

    def push(self, data: bytes) -> None:
        """Take bytes as they came; pull afterwards until nothing comes."""
        self._input = self._input + data if self._input else data
        self._taken += len(data)

    def pull(self) -> bytes:
        """The next piece, at most MAX_PIECE bytes; b"" when more has to be pushed first. Raises InflateError."""
        while self.pending:
            piece = self._step()
            if piece:
                self._given += len(piece)
                if self._given > MAX_PIECE + MAX_RATIO * self._taken:
                    raise InflateError(f"the body expands more than {MAX_RATIO} times")
                return piece
        return b""

    def _step(self) -> bytes:
        stream = self._stream
        if stream is None or (stream.eof and self._gzip):
            stream = self._stream = zlib.decompressobj(self._window())
        elif stream.eof:
            raise InflateError("bytes after the end of the deflated body")
        try:
            piece = stream.decompress(self._input, MAX_PIECE)
        except zlib.error as error:
            raise InflateError(f"the body does not decompress: {error}") from None
        self._input = stream.unused_data if stream.eof else stream.unconsumed_tail
        # zlib may hold back what did not fit although it has swallowed all input.
        self._more = len(piece) == MAX_PIECE and not stream.eof
        return piece

    def _window(self) -> int:
        if self._gzip:
            return 16 + zlib.MAX_WBITS
        # `deflate` is zlib by the book and raw by custom; no deflater starts a raw stream with zlib's method nibble.
        return zlib.MAX_WBITS if self._input[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
