"""A client's connection: requests come out of llhttp, and are answered one after the other."""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final, Protocol, cast

import httptools

from companion.clock import Clock
from companion.net.h1 import FramingError, MessageReader
from companion.simulator.received import Received
from companion.simulator.wire import Wire

MAX_BODY: Final = 64 * 1024 * 1024
MAX_PIPELINED: Final = 16


class Home(Protocol):
    """What a connection needs from the simulator."""

    clock: Clock
    deaf: bool

    def number(self) -> int:
        """The next number of the ledger."""

    def opened(self, connection: "Connection") -> None: ...

    def closed(self, connection: "Connection") -> None: ...

    def failed(self, error: Exception) -> None:
        """A reply broke by itself, which is never meant."""

    def serve(self, received: Received, wire: Wire) -> Awaitable[None]:
        """Answer one request."""


class Connection(MessageReader, asyncio.Protocol):
    """Reads on while it answers, so that a client that leaves is seen at once: then the reply is cancelled."""

    def __init__(self, home: Home, number: int) -> None:
        super().__init__(httptools.HttpRequestParser)
        self._home = home
        self._number = number
        self._target = b""
        self._body: list[bytes] = []
        self._size = 0
        self._pending: deque[tuple[Received, bool]] = deque()
        self._current: Received | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    @property
    def busy(self) -> bool:
        return self._current is not None

    # === called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._home.opened(self)
        if self._home.deaf:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        try:
            self.feed(data)
        except FramingError:
            self.transport.close()

    def eof_received(self) -> None:
        self._client_left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_left()
        self._home.closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # === called by llhttp

    def on_url(self, url: bytes) -> None:
        self._target += url

    def body_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BODY:
            raise FramingError(f"a body of more than {MAX_BODY} bytes")
        self._body.append(data)

    def message_received(self) -> None:
        if len(self._pending) >= MAX_PIPELINED:
            raise FramingError(f"more than {MAX_PIPELINED} requests at once")
        received = Received(
            number=self._home.number(),
            connection=self._number,
            at=self._home.clock.monotonic(),
            method=self.parser.get_method().decode(),
            target=self._target.decode("latin-1"),
            headers=self.headers,
            body=b"".join(self._body),
        )
        self._target, self._body, self._size = b"", [], 0
        self._pending.append((received, self.parser.should_keep_alive()))
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._answer())

    # === answering

    async def _answer(self) -> None:
        try:
            while self._pending:
                self._current, keep = self._pending.popleft()
                wire = Wire(self.transport, self._writable, keep=keep, bodyless=self._current.method == "HEAD")
                await self._home.serve(self._current, wire)
                self._current.finished = True
                self._current = None
                if not wire.keep:
                    self.transport.close()
                    return
        except Exception as error:
            self._home.failed(error)
            self.transport.abort()
        finally:
            self.task = None

    def _client_left(self) -> None:
        self._pending.clear()
        if self._current is not None and self._current.eof_at is None:
            self._current.eof_at = self._home.clock.monotonic()
        if self.task is not None:
            self.task.cancel()
