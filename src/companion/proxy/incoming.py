"""Requests on their way in: bytes of one connection become whole requests, or the reason why not.

Every bound is kept while the bytes come, not afterwards: the head is judged before the body is read, and a body that
grows too large is refused with the byte that is too many.
"""

import io
from typing import Final

import httptools

from companion.config.models import ServerSettings
from companion.net.h1 import MessageReader
from companion.proxy.admission import Admitted, admit, too_large
from companion.proxy.port import Request
from companion.proxy.refused import malformed
from companion.proxy.shared import Shared

# So many pieces of a body are joined at its end; more of them are copied together as they come, whatever their size.
FEW: Final = 16


class RequestReader(MessageReader):
    """Reads the requests of one connection. A subclass takes them by `request_received`.

    `receiving` is True from a request's first byte to its last; `size` counts the bytes of body so far, and `head` is
    what was admitted, once it was.
    """

    def __init__(self, shared: Shared) -> None:
        super().__init__(httptools.HttpRequestParser)
        self.shared = shared
        self.peer = ""
        self.local = ""
        self.receiving = False
        self.head: Admitted | None = None
        self.size = 0
        self._url = b""
        # The settings at the last head, and the two of them that are asked for again and again.
        self._settings: ServerSettings | None = None
        self._max_body = 0
        self._max_held = 0
        self._pieces: list[bytes] = []
        self._more: io.BytesIO | None = None

    @property
    def missing(self) -> int:
        """How many bytes of body are known to be still to come."""
        return (self.head.length or 0) - self.size if self.head is not None else 0

    def head_admitted(self, head: Admitted) -> None:
        """The head may pass; its body comes next. May raise Refused."""

    def request_received(self, request: Request, head: Admitted) -> None:
        """A request is whole."""

    def give_up(self) -> None:
        """The request that is coming in will not be read to its end: its bytes are out of memory."""
        self.shared.give_back(self.size)
        self._forget()

    # === called by MessageReader

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.receiving = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def head_received(self) -> None:
        parser = self.parser
        method: str = parser.get_method().decode()
        settings = self._current()
        head = admit(method, self._url, parser.get_http_version(), self.headers, settings, self.local)
        if parser.should_upgrade():
            raise malformed("an upgrade of the protocol is not offered")
        if self.shared.check is not None:
            self.shared.check(head.target, self.headers, self.peer)
        self.shared.check_room(head.length or 0, self._max_held)
        self.head = head
        self.head_admitted(head)

    def body_received(self, data: bytes) -> None:
        if self.size + len(data) > self._max_body:
            raise too_large(self._max_body)
        self.shared.take(len(data), self._max_held)
        if self._more is not None:
            self._more.write(data)
        elif len(self._pieces) < FEW:
            self._pieces.append(data)
        else:
            self._more = io.BytesIO()
            self._more.writelines((*self._pieces, data))
            self._pieces.clear()
        self.size += len(data)

    def message_received(self) -> None:
        head = self.head
        assert head is not None, "llhttp ends no message without a head"
        body = b"".join(self._pieces) if self._more is None else self._more.getvalue()
        now = self.shared.clock.monotonic()
        request = Request(head.method, head.target, self.headers, body, self.peer, now, self.shared.give_back)
        self._forget()
        self.request_received(request, head)

    def _current(self) -> ServerSettings:
        settings = self.shared.settings()
        if settings is not self._settings:
            self._settings = settings
            self._max_body, self._max_held = settings.max_body, settings.max_inflight_bytes
        return settings

    def _forget(self) -> None:
        self.receiving = False
        self.head = None
        self.size = 0
        self._url = b""
        self._pieces = []
        self._more = None
