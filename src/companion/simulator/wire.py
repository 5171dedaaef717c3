"""One answer on its way out: framing, back-pressure, and every way in which an upstream leaves."""

import asyncio
import http.client
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Literal

from companion.net.h1 import LAST_CHUNK, chunk, encode_head

Pairs = Iterable[tuple[str, str]]

End = Literal["clean", "fin", "rst", "stall", "hang"]
"""clean: with the last chunk. fin: closed without it. rst: reset. stall, hang: silence until the client leaves."""

# A reset discards what the other side has not read yet, and some clients drop what they read together with a close.
_TIME_TO_READ = 0.05

# l_onoff and l_linger: two ints, but two shorts on Windows.
_NO_LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Wire:
    """Writes one HTTP/1.1 answer. `keep` says whether the connection may serve another request afterwards."""

    def __init__(self, transport: asyncio.Transport, writable: asyncio.Event, *, keep: bool, bodyless: bool) -> None:
        self.keep = keep
        self._transport = transport
        self._writable = writable
        self._bodyless = bodyless
        self._chunked = False

    def head(self, status: int, headers: Pairs, *, length: int | None = None, until_close: bool = False) -> None:
        """Send the head. Without a length the body is chunked, or lasts `until_close`."""
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if length is not None:
            fields.append((b"content-length", b"%d" % length))
        elif until_close:
            fields.append((b"connection", b"close"))
            self.keep = False
        else:
            fields.append((b"transfer-encoding", b"chunked"))
            self._chunked = True
        reason = http.client.responses.get(status, "Unassigned")
        self._transport.write(encode_head(f"HTTP/1.1 {status} {reason}".encode(), fields))

    async def write(self, *pieces: bytes) -> None:
        """Send pieces of body, each in a chunk of its own where the body is chunked."""
        if not self._bodyless:
            await self.raw(b"".join(chunk(piece) if self._chunked else piece for piece in pieces if piece))

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._transport.write(data)
        await self._writable.wait()

    async def end(self, how: End = "clean") -> None:
        """Leave. Stalling lasts until the client is gone, when the task that answers is cancelled."""
        if how == "clean" and self._chunked and not self._bodyless:
            self._transport.write(LAST_CHUNK)
        elif how == "fin":
            await asyncio.sleep(_TIME_TO_READ)
            self.keep = False
        elif how == "rst":
            await asyncio.sleep(_TIME_TO_READ)
            self.reset()
        elif how in {"stall", "hang"}:
            await asyncio.Event().wait()

    def reset(self) -> None:
        """Reset the connection; nothing that was written and not read is sure to arrive."""
        self.keep = False
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
