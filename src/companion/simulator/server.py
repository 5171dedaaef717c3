"""The simulator: listens on 127.0.0.1, keeps the ledger, and decides which reply a request gets."""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from companion.clock import Clock, SystemClock
from companion.simulator import conversation, hygiene, routes
from companion.simulator.connection import Connection
from companion.simulator.exchange import Exchange, Reply
from companion.simulator.messages import Message, Refusal, Stamp, Text
from companion.simulator.received import Received
from companion.simulator.replies import answer
from companion.simulator.wire import Wire

HOST: Final = "127.0.0.1"
MESSAGES: Final = "/v1/messages"

Match = Callable[[Received], bool]


def for_messages(received: Received) -> bool:
    """The match that replies have by default: `POST /v1/messages`, and not its count_tokens."""
    return received.method == "POST" and received.path == MESSAGES


@dataclass(slots=True)
class _Queued:
    reply: Reply
    match: Match
    left: int | None


class Simulator:
    """A scripted upstream. Use it as an async context manager, or `start` and `stop` it.

    A message request gets the first queued reply that matches it, else `always`, else what its conversation's script
    says; a reply that does not fit the scripted answer (a cut in a tool where there is none) waits for one that it
    fits. `script` is the marker of conversations without one. `pace` is in seconds an event. With `hygiene`, answers
    carry the headers that a proxy must not pass on. The ledger holds the last `keep` requests. While `deaf` is set,
    new connections are accepted and never read. An error in a reply or a match is raised by `stop`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        script: str = "",
        pace: float = 0.0,
        hygiene: bool = True,
        keep: int = 5_000,
        clock: Clock | None = None,
        settled: Callable[[Received], None] | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.port = port
        self.ledger: list[Received] = []
        self.always: Reply | None = None
        self.deaf = False
        self._tls = tls
        self._script = f"[[script:{script}]]"
        self._pace = pace
        self._hygiene = hygiene
        self._keep = keep
        self._settled = settled
        self._queue: deque[_Queued] = deque()
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._connected = 0
        self._requests = 0
        self._errors: list[Exception] = []

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def queue(self, *replies: Reply, times: int | None = 1, match: Match = for_messages) -> None:
        """Give each reply `times` times (None: for ever) to requests that `match`, after those already queued."""
        self._queue.extend(_Queued(reply, match, times) for reply in replies)

    @property
    def queued(self) -> tuple[str, ...]:
        """The names of the replies that have not been given yet."""
        return tuple(entry.reply.name for entry in self._queue)

    # === the doors

    async def start(self) -> None:
        """Listen. Raises OSError when the port is in use."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, HOST, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    accept = start

    async def refuse(self) -> None:
        """Close the door and idle connections; `accept` opens it again, at the same port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            if not connection.busy:
                connection.transport.close()
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Refuse, and drop what is under way."""
        await self.refuse()
        tasks = [connection.task for connection in self._connections if connection.task is not None]
        for connection in tuple(self._connections):
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._empty.wait()
        if self._errors:
            raise ExceptionGroup("replies failed", self._errors)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # === what a connection needs

    def number(self) -> int:
        self._requests += 1
        return self._requests

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._empty.clear()

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def failed(self, error: Exception) -> None:
        self._errors.append(error)

    async def serve(self, received: Received, wire: Wire) -> None:
        """Write a request into the ledger and play its reply."""
        if received.path == routes.LEDGER:
            await routes.ledger(self.ledger, wire)
            return
        self.ledger.append(received)
        del self.ledger[: -self._keep]
        try:
            exchange = self._exchange(received, wire)
            reply = self._choose(exchange)
            received.reply = reply.name
            await reply.play(exchange)
        finally:
            if self._settled is not None:
                self._settled(received)

    # ===

    def _connect(self) -> Connection:
        self._connected += 1
        return Connection(self, self._connected)

    def _exchange(self, received: Received, wire: Wire) -> Exchange:
        stamp = Stamp(received.sha256, received.model or "unknown", 1 + len(received.body) // 4)
        said, marker = _scripted(received, self._script)
        pace = self._pace if marker is None else marker.pace(self._pace)
        fields = hygiene.fields(self.port, received.number) if self._hygiene else ()
        limits = hygiene.LIMITS if self._hygiene else ()
        return Exchange(received, wire, said, marker is not None, stamp, pace, fields, limits)

    def _choose(self, exchange: Exchange) -> Reply:
        for entry in self._queue:
            if entry.match(exchange.received):
                if entry.reply.fits(exchange):
                    return self._take(entry)
                break
        if not for_messages(exchange.received):
            return routes.reply(exchange.received)
        if self.always is not None and self.always.fits(exchange):
            return self.always
        return answer()

    def _take(self, entry: _Queued) -> Reply:
        if entry.left is not None:
            entry.left -= 1
            if entry.left == 0:
                self._queue.remove(entry)
        return entry.reply


def _scripted(received: Received, default: str) -> tuple[Message | Refusal, conversation.Marker | None]:
    if not for_messages(received):
        return Message((Text(""),)), None
    request = received.json
    if not isinstance(request, dict):
        return Refusal(400, "invalid_request_error", "The request body is not valid JSON."), None
    if not isinstance(request.get("messages"), list) or not request["messages"]:
        return Refusal(400, "invalid_request_error", "messages: at least one message is required"), None
    return conversation.answer(request, default)
