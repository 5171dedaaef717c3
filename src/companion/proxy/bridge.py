"""From our server to an ASGI application, which is made on the first visit: the start of the proxy does not pay for it.

Answers stream with back-pressure, as the client takes them. The client's leaving is `http.disconnect`; so is the end
of the process for an answer that never ends by itself (`text/event-stream`), because `drain` must not wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import structlog

from companion.net.h1 import Headers, header
from companion.proxy.asgi import VERSIONS, ASGIApp, Lifespan, Message
from companion.proxy.port import Port, Request

# How long, in seconds, an application may go on after `http.disconnect`.
GRACE: Final = 1.0

# The server's to say.
_FRAMING: Final = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"date"})

_log = structlog.get_logger("companion.proxy.bridge")


class Bridge:
    """A Handler. `make` makes the application; when that fails it is called again at the next visit.

    `address` tells our own base URL: the application may want to name it.
    """

    def __init__(self, make: Callable[[], Awaitable[ASGIApp]], address: Callable[[], str]) -> None:
        self._make = make
        self._address = address
        self._making: asyncio.Task[Lifespan] | None = None
        self._visits: set[_Visit] = set()
        self._stopping = False

    async def __call__(self, request: Request, port: Port) -> None:
        """Let the application answer. Raises what it raises: the server knows what the client gets then."""
        life = await self._begun()
        visit = _Visit(life.app, _scope(request, self._address(), life.state), request, port)
        self._visits.add(visit)
        visit.task.add_done_callback(lambda _: self._ended(visit))
        if self._stopping:
            visit.leave_if_endless()
        try:
            await visit.over.wait()
        except asyncio.CancelledError:
            visit.leave()
            raise
        visit.conclude()

    def end_streams(self) -> None:
        """The process is to stop: answers that never end by themselves end now; all others may go on."""
        self._stopping = True
        for visit in self._visits:
            visit.leave_if_endless()

    async def aclose(self) -> None:
        """End everything, the application last."""
        tasks = {visit.task for visit in self._visits}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        making = self._making
        if making is not None and not making.cancel() and making.exception() is None:
            await making.result().shutdown()

    async def _begun(self) -> Lifespan:
        """The application; all who come while it is being made wait for the same one."""
        if self._making is None:
            self._making = asyncio.create_task(self._begin())
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    async def _begin(self) -> Lifespan:
        life = Lifespan(await self._make())
        await life.startup()
        return life

    def _ended(self, visit: "_Visit") -> None:
        self._visits.discard(visit)
        visit.over.set()

    def _made(self, making: "asyncio.Task[Lifespan]") -> None:
        if making.cancelled() or making.exception() is not None:
            self._making = None


class _Visit:
    """One request with its answer, as the application sees them."""

    def __init__(self, app: ASGIApp, scope: Message, request: Request, port: Port) -> None:
        self._request = request
        self._port = port
        self._head: tuple[int, Headers] | None = None
        self._asked = False
        self._endless = False
        self._must_end = False
        self._finished = False
        self._left = asyncio.Event()
        # The answer is, or the application has ended without one.
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run(app, scope))

    def leave(self) -> None:
        """Nobody wants the rest of the answer: the application is told, and stopped if it does not listen."""
        if not self._left.is_set():
            self._left.set()
            asyncio.get_running_loop().call_later(GRACE, self.task.cancel)

    def leave_if_endless(self) -> None:
        """The same, if this answer never ends by itself; also when that turns out later."""
        self._must_end = True
        if self._endless:
            self.leave()

    def conclude(self) -> None:
        """The application has ended: the answer is whole, or what raises here says why not."""
        if self._finished:
            return
        if self._left.is_set():
            self._port.finish()
        elif not self.task.cancelled() and (error := self.task.exception()) is not None:
            raise error
        else:
            raise RuntimeError("the application ended without a whole answer")

    async def _run(self, app: ASGIApp, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            if not (self._left.is_set() or self._finished):
                raise
            _log.error("application failed after its answer", path=scope["path"], exc_info=error)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            body = self._request.body
            self._request.release()
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        """Anything but head and body (trailers, for one) was not offered and is not sent."""
        if self._left.is_set():
            return
        if message["type"] == "http.response.start":
            if self._head is not None or self._port.started:
                raise RuntimeError("the answer has been started already")
            self._head = (message["status"], _headers(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            await self._write(message.get("body", b""), more=message.get("more_body", False))

    async def _write(self, data: bytes, *, more: bool) -> None:
        if self._finished:
            raise RuntimeError("the answer is whole already")
        if not self._port.started:
            self._start(endless=more)
        if not self._port.write(bytes(data)):
            await self._port.drain()
        if not more:
            self._port.finish()
            self._finished = True
            self._left.set()
            self.over.set()

    def _start(self, *, endless: bool) -> None:
        """Only now, with the first of the body, so that an application may still fail after its head."""
        if self._head is None:
            raise RuntimeError("the answer has a body before its head")
        status, headers = self._head
        self._port.start(status, headers)
        kind = header(headers, b"content-type") or b""
        if endless and kind.startswith(b"text/event-stream") and header(headers, b"content-length") is None:
            self._endless = True
            if self._must_end:
                self.leave()


def _headers(told: Any) -> Headers:
    headers = [(bytes(name).lower(), bytes(value)) for name, value in told]
    return [field for field in headers if field[0] not in _FRAMING]


def _scope(request: Request, address: str, state: dict[str, Any]) -> Message:
    raw = request.path.encode("latin-1")
    own = urlsplit(address)
    return {
        "type": "http",
        "asgi": VERSIONS,
        "http_version": "1.1",
        "method": request.method,
        "scheme": own.scheme,
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw,
        "query_string": request.query,
        "root_path": "",
        "headers": request.headers,
        "client": (request.peer, 0) if request.peer else None,
        "server": (own.hostname, own.port),
        "state": dict(state),
    }
