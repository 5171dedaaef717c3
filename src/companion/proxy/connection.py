"""One client's connection: requests come in, their answers go out in the same order, one at a time.

    receiving    a request is coming in (RequestReader)
    answering    a handler runs, or its answer is still going out; further requests wait in a short queue
    deaf         nothing more will be read: after `connection: close`, or after a refusal, which is answered in its turn
    closing      the last answer is out and our side is shut; what the client still sends is thrown away for a moment,
                 because closing on unread bytes would be a reset, and a reset destroys the answer on its way

The client's leaving, in whatever way, cancels the handler. One alarm watches all limits: it is armed where a request
pauses and asked again when it rings, so a request that comes in one piece sets no timer at all.
"""

import asyncio
import math
from collections import deque
from contextlib import suppress
from typing import Final, cast

import structlog

from companion.errors import ClientError
from companion.net.alarm import Alarm
from companion.net.h1 import FramingError
from companion.proxy.admission import Admitted
from companion.proxy.http_port import HttpPort
from companion.proxy.incoming import RequestReader
from companion.proxy.outflow import Outflow
from companion.proxy.port import Request
from companion.proxy.refused import Refused, overloaded, tell
from companion.proxy.shared import Shared

# So many requests may wait behind the one that is being answered before we stop reading. What is parsed at once may end
# some more of them, so it is small where a request may end in it.
MAX_WAITING: Final = 32
_STEP: Final = 4096
# After our side is shut: how long, in seconds, and how many bytes more the client may take to notice.
LINGER: Final = 3.0
LINGER_BYTES: Final = 64 * 1024 * 1024
# uvloop counts in whole milliseconds: an alarm may ring that much too early.
_TICK: Final = 0.002

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

Buffer = bytes | memoryview

_log = structlog.get_logger("companion.proxy.server")


class Connection(RequestReader, asyncio.Protocol):
    """Made by the event loop for every connection that it accepts."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._transport: asyncio.Transport
        self._out: Outflow
        self._alarm = Alarm(shared.clock, self._due, self._late)
        self._surplus: Refused | None = None
        self._deaf = False
        self._closing = False
        self._gone = False
        # coming in
        self._since: float | None = None
        self._size_then = 0
        self._idle_since: float | None = None
        self._owes_continue = False
        self._unparsed: Buffer = b""
        self._paused = False
        self._thrown_away = 0
        # being answered
        self._waiting: deque[tuple[Request | Refused, HttpPort]] = deque()
        self._port: HttpPort | None = None
        self._task: asyncio.Task[None] | None = None
        self._request: Request | None = None
        self._until = math.inf

    # === for the server

    @property
    def idle_since(self) -> float | None:
        idle = not (self.receiving or self._closing or self._port or self._waiting)
        return self._idle_since if idle else None

    def close_idle(self) -> None:
        self._deaf = self._closing = True
        self._transport.close()

    def abort(self) -> None:
        self._leave()
        self._transport.abort()

    # === for the answer (Line)

    def last(self) -> bool:
        return self.shared.draining or (self._deaf and not self._waiting)

    def date(self) -> bytes:
        return self.shared.date()

    def send(self, *buffers: bytes) -> bool:
        if self._closing or self._transport.is_closing():
            return True
        return self._out.send(buffers)

    async def flushed(self) -> None:
        if not self._gone:
            await self._out.caught_up()

    def answered(self, *, keep: bool) -> None:
        if not keep:
            self._hang_up()
        if self._out.pending:
            self._watch_the_reader()

    # === called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._out = Outflow(self._transport)
        if self.shared.crowded:
            self._gone = True
            self._transport.abort()
            return
        self._surplus = self.shared.join(self)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        local = transport.get_extra_info("sockname")
        self.local = local[0] if local else ""
        self._rest()

    def data_received(self, data: bytes) -> None:
        if not self._deaf:
            self._parse(data)
            return
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.abort()

    def eof_received(self) -> None:
        self._leave()
        self._closing = True
        self._watch_the_reader()

    def connection_lost(self, _: Exception | None) -> None:
        self._leave()
        self._alarm.cancel()
        self.shared.leave(self)

    def pause_writing(self) -> None:
        self._out.behind = True
        self._watch_the_reader()

    def resume_writing(self) -> None:
        self._out.flows()

    # === coming in, called by RequestReader

    def head_admitted(self, head: Admitted) -> None:
        if self._surplus is not None:
            raise self._surplus
        self._since = None
        if head.expects:
            self._owes_continue = True
            if self._port is None:
                self._continue()

    def request_received(self, request: Request, head: Admitted) -> None:
        self._since = None
        self._owes_continue = False
        if not self.parser.should_keep_alive():
            self._deaf = True
        self._take(request, HttpPort(self, bodyless=head.method == "HEAD", old=head.old))

    def _parse(self, data: Buffer) -> None:
        rest = data if len(data) <= _STEP else memoryview(data)
        try:
            while rest and not self._deaf:
                if len(self._waiting) >= MAX_WAITING:
                    self._pause(rest)
                    return
                step = _STEP if self.head is None else max(_STEP, self.missing)
                self.feed(rest[:step])
                rest = rest[step:]
        except FramingError as error:
            self._refuse(error)
        if self.receiving:
            self._watch_the_request()

    def _pause(self, rest: Buffer) -> None:
        """The client is ahead: the rest waits here, and what it sends on top waits in the network."""
        self._paused = True
        self._unparsed = rest
        self._since = None
        self._transport.pause_reading()

    def _go_on(self) -> None:
        rest, self._unparsed = self._unparsed, b""
        self._paused = False
        self._transport.resume_reading()
        self._parse(rest)

    def _continue(self) -> None:
        self._owes_continue = False
        self.send(_CONTINUE)

    def _refuse(self, error: FramingError) -> None:
        """Read nothing more, and say why not when it is this request's turn."""
        if self._deaf:
            return
        bodyless = self.head is not None and self.head.method == "HEAD"
        self._deaf = True
        self.give_up()
        self._take(Refused.of(error), HttpPort(self, bodyless=bodyless, old=False))

    # === being answered, one after the other

    def _take(self, what: Request | Refused, port: HttpPort) -> None:
        self._waiting.append((what, port))
        if self._port is None:
            self._next()

    def _next(self) -> None:
        self._port = None
        if self._closing or self._transport.is_closing():
            return
        if not self._waiting:
            if self.last():
                self._hang_up()
            else:
                self._rest()
                if self._owes_continue:
                    self._continue()
            return
        what, self._port = self._waiting.popleft()
        if isinstance(what, Refused):
            _log.info("request refused", status=what.status, why=what.message, peer=self.peer)
            tell(self._port, self.shared.clock, what)
            self._next()
        else:
            self._task = self.shared.begin(what, self._port)
            self._request = what
            self._task.add_done_callback(self._served)
            if self._paused:
                self._go_on()

    def _served(self, task: asyncio.Task[None]) -> None:
        """The handler has ended, well or badly. What it left open is ended here."""
        request, self._request, self._task = self._request, None, None
        assert request is not None, "a task serves a request"
        self.shared.ended(task)
        request.release()
        error = None if task.cancelled() else task.exception()
        port = self._port
        if port is not None and not self._gone:
            self._make_up(port, error, cancelled=task.cancelled(), what=f"{request.method} {request.path}")
        elif error is not None and not isinstance(error, ClientError):
            _log.error("handler failed after the client had left", exc_info=error)
        self._next()

    def _make_up(self, port: HttpPort, error: BaseException | None, *, cancelled: bool, what: str) -> None:
        clock = self.shared.clock
        if isinstance(error, ClientError) and not port.started:
            tell(port, clock, Refused(error.status, error.message), type=error.type)
            return
        if not (port.finished or cancelled) or error is not None:
            _log.error("our own mistake", request=what, exc_info=error)
        if port.finished:
            return
        if port.started:
            port.abort()
        elif cancelled:
            tell(port, clock, overloaded("Claude Code Companion is shutting down."))
        else:
            tell(port, clock, Refused(500, "Claude Code Companion made a mistake; its log says more."))

    # === limits

    def _rest(self) -> None:
        """Nothing is under way."""
        now = self.shared.clock.monotonic()
        self._idle_since = now
        self._alarm.arm(now + self.shared.settings().keep_alive)

    def _watch_the_request(self) -> None:
        """It has come in part: head within header_timeout, body by min_body_rate, measured over just as long."""
        if self._since is None:
            self._since = self.shared.clock.monotonic()
            self._size_then = self.size
            self._alarm.arm(self._since + self.shared.settings().header_timeout)

    def _watch_the_reader(self) -> None:
        """Something may be waiting for the client to read it."""
        limit = self.shared.settings().client_write_timeout
        self._alarm.arm(self._out.watch(self.shared.clock.monotonic(), limit))

    @property
    def _unread(self) -> bool:
        """Whether the client's not reading holds something up."""
        ended = self._port is None or self._port.finished
        return self._out.behind or (ended and self._out.pending > 0)

    def _due(self) -> float:
        settings = self.shared.settings()
        due = self._out.look_at if self._unread else math.inf
        if self._closing:
            return min(due, self._until)
        if self.receiving and self._since is not None:
            return min(due, self._since + settings.header_timeout)
        if self.idle_since is not None:
            return min(due, self.idle_since + settings.keep_alive)
        return due

    def _late(self) -> None:
        now = self.shared.clock.monotonic() + _TICK
        settings = self.shared.settings()
        if self._unread and self._out.look_at <= now and self._out.stuck(now, settings.client_write_timeout):
            self.abort()
        if self._closing:
            if self._until <= now:
                self._linger(now)
        elif self.receiving:
            if self._since is not None and self._since + settings.header_timeout <= now:
                self._measure(now, settings.header_timeout, settings.min_body_rate)
        elif self.idle_since is not None and self.idle_since + settings.keep_alive <= now:
            self.close_idle()
        self._alarm.arm(self._due())

    def _linger(self, now: float) -> None:
        """The client had its moment; it starts anew as long as something is still going out."""
        if self._out.pending:
            self._until = now + LINGER
        else:
            self.abort()

    def _measure(self, now: float, window: float, rate: float) -> None:
        """Has enough come since we measured last?"""
        if self.head is None:
            what = f"The request's headers did not come within {window:g} s (server.header_timeout)."
            self._refuse(Refused(408, what))
        elif self.size - self._size_then < rate * window:
            what = f"The request body comes slower than {rate:g} bytes/s (server.min_body_rate)."
            self._refuse(Refused(408, what))
        else:
            self._since, self._size_then = now, self.size

    # === the end

    def _hang_up(self) -> None:
        """Our side is done: shut it once everything is out, and wait a moment for the client to do the same."""
        if not self._closing:
            self._deaf = self._closing = True
            self._until = self.shared.clock.monotonic() + LINGER
            self._alarm.arm(self._until)
            self._drop()
            if not self._transport.is_closing():
                self._transport.resume_reading()
                # Plain asyncio lets the client's reset show here, a moment before it tells.
                with suppress(OSError):
                    self._transport.write_eof()

    def _leave(self) -> None:
        """The client has left. What was for it ends, unless it is complete and only settling."""
        if not self._gone:
            self._gone = self._deaf = True
            self._drop()
            self._out.flows()
            if self._task is not None and self._port is not None and not self._port.finished:
                self._task.cancel()

    def _drop(self) -> None:
        """What came in and will not be served is out of memory."""
        self.give_up()
        self._unparsed = b""
        while self._waiting:
            what, _ = self._waiting.popleft()
            if isinstance(what, Request):
                what.release()
