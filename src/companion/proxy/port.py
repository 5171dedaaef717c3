"""The door between HTTP and the data plane: what a handler gets, and the only way in which it answers.

A handler never sees a socket, and the server never sees a message. `start` fixes status and headers, `write` sends
body, then exactly one of `finish` (the answer is whole) and `abort` (it is not, and the client must notice) ends it.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from companion.net.h1 import Headers


class Request:
    """One request, read whole and within all limits.

    `target` is in origin form; `path` is what stands before its first `?`, not percent-decoded, `query` what stands
    behind it. Header names are in lower case. `received` is `Clock.monotonic()` when its last byte had come.
    """

    __slots__ = ("_give_back", "body", "headers", "method", "path", "peer", "query", "received", "target")

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        body: bytes,
        peer: str,
        received: float,
        give_back: Callable[[int], None] | None = None,
    ) -> None:
        path, _, query = target.partition(b"?")
        self.method = method
        self.target = target
        self.path = path.decode("latin-1")
        self.query = query
        self.headers = headers
        self.body = body
        self.peer = peer
        self.received = received
        self._give_back = give_back

    def release(self) -> None:
        """The body is not needed any more: drop it and give its bytes back to `max_inflight_bytes`. Idempotent."""
        if self._give_back is not None:
            self._give_back(len(self.body))
            self._give_back = None
        self.body = b""


class Port(Protocol):
    """Where one answer goes. Once the client has left, every call is harmless and does nothing.

    `tap` sees every piece of body that is written.
    """

    tap: Callable[[bytes], None] | None

    @property
    def fields(self) -> Headers:
        """The headers of the answer, as far as they are fixed."""

    @property
    def started(self) -> bool:
        """Whether status and headers are fixed."""

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Fix status and headers; they leave together with the first `write`, or with the end.

        A content-length among them frames the body, else it is chunked. Framing, `connection` and `date` are the
        server's to add. Raises ValueError for a header that cannot be sent, RuntimeError on a second start.
        """

    def write(self, data: bytes) -> bool:
        """Send a piece of body. False says that the client is behind: `drain` before writing much more."""

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written, or has left."""

    def finish(self) -> None:
        """The answer is whole."""

    def abort(self) -> None:
        """The answer ends here and is not whole.

        What was written arrives, then the connection ends without the final chunk. Never a reset.
        """


Handler = Callable[[Request, Port], Coroutine[Any, Any, None]]
"""One task per request. The client's leaving cancels it, unless the answer is finished."""


def respond(port: Port, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole answer with its length."""
    port.start(status, [*headers, (b"content-length", b"%d" % len(body))])
    port.write(body)
    port.finish()
