"""One connection to an upstream: a request goes out, its answer comes in, then the next one.

    free → write → headers → body → free …

`data_received` feeds llhttp, whose callbacks go straight into the Response. One alarm watches all three limits; it is
re-armed when it rings, not when a byte arrives. Whatever goes wrong ends here as a Fault with the phase it happened in.

A close-delimited body ends with the connection, also where TLS gave no close_notify: so many servers leave it out that
its absence says nothing. (A stream that was cut that way has no message_stop, and the validator sees it.)
"""

import asyncio
import math
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, cast

import httptools

from companion.clock import Clock
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import Timings
from companion.net.alarm import TICK, Alarm
from companion.net.h1 import FramingError, MessageReader, header
from companion.upstream.response import Response

# Up to BURST bytes are handed to the socket at once; what is smaller than ONE_WRITE is joined first.
BURST: Final = 256 * 1024
ONE_WRITE: Final = 32 * 1024
_NO_BODY: Final = frozenset({204, 304})
# An enum's member costs a call of Python code each time it is looked up by name: these are in everybody's way.
_WRITE: Final = Phase.WRITE
_HEADERS: Final = Phase.HEADERS
_BODY: Final = Phase.BODY
NEW: Final = Timings()
REUSED: Final = Timings(reused=True)

Buffers = list[bytes | memoryview]


class Keeper(Protocol):
    """Who owns the connections."""

    def freed(self, connection: "Connection", /) -> None:
        """It can take the next request."""

    def lost(self, connection: "Connection", /) -> None:
        """It is of no use any more."""


class Connection(MessageReader, asyncio.Protocol):
    """Made by dialling. `used` says that it has answered before, `heard` that a byte of the present answer has come,
    `freed_at` when its keeper last took it back, `timings` how the present request came by it.
    """

    def __init__(self, keeper: Keeper, clock: Clock, peer: str) -> None:
        super().__init__(httptools.HttpResponseParser)
        self.used = False
        self.heard = False
        self.closed = False
        self.freed_at = 0.0
        self.timings = NEW
        self._keeper = keeper
        self._clock = clock
        self._peer = peer
        self._loop: asyncio.AbstractEventLoop
        self._transport: asyncio.Transport
        self._alarm = Alarm(clock, self._due, self._late)
        self._response: Response | None = None
        self._phase = Phase.CONNECT
        self._deadline = math.inf
        # going out
        self._bursts: Iterator[Buffers] = iter(())
        self._unsent = 0
        self._choked = False
        self._written = True
        self._asked = 0.0
        self._progress = 0.0
        self._left = 0
        self._write_limit = 0.0
        self._headers_limit = math.inf
        # coming in
        self._now = 0.0
        self._begun = 0.0
        self._bodyless = False
        self._until_close = False
        self._interim = False
        self._over = False
        self._keep = False

    @property
    def secured(self) -> ssl.SSLObject | None:
        """The TLS session with the upstream, if there is one."""
        session: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return session

    async def ask(
        self,
        request: Sequence[bytes],
        *,
        bodyless: bool,
        write: float,
        headers: float | None,
        until: float = math.inf,
    ) -> Response:
        """Send a request (head and splices of the body) and wait for the answer's head.

        Seconds: `write` without progress, `headers` from the moment that all is written. Raises UpstreamError:
        WRITE_TIMEOUT, HEADERS_TIMEOUT, RESET, CLOSED, BAD_HTTP. `bodyless` says that no body follows the head (HEAD).
        Here and in the body a TimeoutError ends what is not over `until` then.
        """
        response = self._response = Response(self, self._clock, self.timings, until)
        self.heard = self._over = self._interim = self._until_close = False
        self._bodyless = bodyless
        self._write_limit = write
        self._headers_limit = math.inf if headers is None else headers
        self._send(request)
        while not response.status:
            response.check()
            await response.wait()
        return response

    def fail(self, kind: Kind, message: str, party: Party = Party.UPSTREAM) -> None:
        """End with this fault, in the phase that the request is in."""
        response, phase = self._response, self._phase
        self.abort()
        if response is not None:
            response.fail(UpstreamError(Fault(party, phase, kind, message)))

    # === for the response

    def abort(self) -> None:
        """Close at once, whatever is under way; the upstream sees the end of the connection."""
        self._response = None
        self._bursts = iter(())
        self._alarm.cancel()
        if not self.closed:
            self.closed = True
            self._transport.abort()
            self._keeper.lost(self)

    def waiter(self) -> asyncio.Future[None]:
        return self._loop.create_future()

    def hold(self, stop: bool) -> None:
        """Stop or go on reading from the network."""
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def arm(self, at: float) -> None:
        """Look again no later than then."""
        self._alarm.arm(at)

    # === called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)
        # One byte and none: whether a request has left us entirely is then always known.
        self._transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            # Nobody asked: a server's good-bye, or the answer to something else.
            self.abort()
            return
        self._now = response.last_byte = self._clock.monotonic()
        self.heard = True
        try:
            self.feed(data)
        except FramingError as error:
            self._keep = False
            if not self._over:
                self.fail(Kind.BAD_HTTP, f"{self._peer} does not speak HTTP/1.1: {error}")
        if self._over and self._response is response:
            self._finish(response)

    def eof_received(self) -> None:
        self._gone(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone(exc)

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        self._flush()

    # === going out

    def _send(self, request: Sequence[bytes]) -> None:
        self._phase = _WRITE
        self._written = False
        self._asked = self._clock.monotonic()
        size = sum(map(len, request))
        if size <= ONE_WRITE:
            self._transport.write(b"".join(request))
        else:
            self._unsent = size
            self._bursts = bursts(request)
        self._flush()
        if not self._written:
            self._progress = self._asked
            self._left = self._to_go()
            self._watch(self._progress + self._write_limit / 4)

    def _flush(self) -> None:
        while not self._choked and not self._written:
            burst = next(self._bursts, None)
            if burst is not None:
                self._unsent -= sum(map(len, burst))
                self._transport.writelines(burst)
            elif self._phase is _WRITE:
                self._written = True
                self._phase = _HEADERS
                now = self._clock.monotonic()
                if self._response is not None:
                    self._response.write = now - self._asked
                self._watch(now + self._headers_limit)
            else:
                self._written = True

    def _to_go(self) -> int:
        """Bytes of the request that the network has not taken yet."""
        return self._unsent + self._transport.get_write_buffer_size()

    def _stop_sending(self) -> None:
        """The answer is an error and came before the request had gone out: the rest would be for nothing."""
        self._bursts = iter(())
        self._keep = False

    # === limits

    def _watch(self, deadline: float) -> None:
        self._deadline = deadline
        self._alarm.arm(deadline)

    def _due(self) -> float:
        response = self._response
        if response is None:
            return math.inf
        return response.due() if self._phase is _BODY else min(self._deadline, response.deadline)

    def _late(self) -> None:
        response = self._response
        if response is not None and response.deadline <= self._clock.monotonic() + TICK:
            self.abort()
            response.fail(TimeoutError())
            return
        match self._phase:
            case Phase.WRITE:
                self._late_write()
            case Phase.HEADERS:
                limit = f"within {self._headers_limit:g} s"
                self.fail(Kind.HEADERS_TIMEOUT, f"{self._peer} sent no response headers {limit}")
            case _:
                self.fail(Kind.IDLE_TIMEOUT, f"{self._peer} fell silent in the middle of its answer")

    def _late_write(self) -> None:
        """Four looks within the limit tell slow from stuck."""
        now = self._clock.monotonic()
        left = self._to_go()
        if left < self._left:
            self._progress = now
        self._left = left
        if now - self._progress >= self._write_limit:
            self.fail(Kind.WRITE_TIMEOUT, f"{self._peer} took nothing of the request for {self._write_limit:g} s")
        else:
            self._watch(now + self._write_limit / 4)

    # === coming in, called by MessageReader

    def on_message_begin(self) -> None:
        if self._over:
            raise FramingError("bytes after the end of the answer")
        self._begun = self._now
        super().on_message_begin()

    def head_received(self) -> None:
        response = self._response
        assert response is not None
        status = self.parser.get_status_code()
        if status < 200:
            if status == 101:
                raise FramingError("it switches protocols unasked")
            self._interim = True
            return
        encoding = self._framing(status)
        self._keep = self.parser.should_keep_alive()
        if self._bodyless:
            self._over = True
            self._keep = self._keep and not self._declared()
        if not self._written and status >= 300:
            self._stop_sending()
        self._phase = _BODY
        response.begin(status, self.headers, self._begun, encoding)

    def _framing(self, status: int) -> bytes:
        """How the body is delimited; returns its content encoding."""
        encoding, delimited = b"", False
        for name, value in self.headers:
            if name == b"content-length":
                delimited = True
            elif name == b"transfer-encoding":
                delimited = True
                if value.strip().lower() != b"chunked":
                    raise FramingError(f"the transfer encoding {value.decode('latin-1')!r} is not understood here")
            elif name == b"content-encoding":
                encoding = encoding + b"," + value if encoding else value
        self._bodyless = self._bodyless or status in _NO_BODY
        self._until_close = not delimited and not self._bodyless
        return encoding

    def _declared(self) -> bool:
        """Whether a body is announced. Where none comes, llhttp waits for it, and is of no further use."""
        length = header(self.headers, b"content-length")
        return header(self.headers, b"transfer-encoding") is not None or length not in {None, b"0"}

    def body_received(self, data: bytes) -> None:
        if self._response is not None and not self._over:
            self._response.take(data)

    def message_received(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._over = True
            # llhttp hears `connection: close` in trailers, too, and takes nothing more.
            self._keep = self._keep and self.parser.should_keep_alive()

    # === the end

    def _finish(self, response: Response) -> None:
        """The answer is whole: free for the next request, unless either side said or did otherwise."""
        self._response = None
        self.used = True
        if self._keep and self._written and not self._transport.is_closing():
            if response.held:
                self._transport.resume_reading()
            response.end()
            self._keeper.freed(self)
        else:
            response.end()
            self.abort()

    def _gone(self, error: Exception | None) -> None:
        """The upstream closed (no error) or reset the connection."""
        response = self._response
        if response is None:
            self.abort()
        elif self._phase is _BODY:
            if self._until_close and error is None:
                self._keep = False
                self._finish(response)
            else:
                how = "closed" if error is None else f"broke ({_in_words(error)})"
                self.fail(Kind.CUT, f"the connection to {self._peer} {how} before the end of the answer")
        elif error is None:
            middle = " in the middle of the response headers" if self.heard else " without an answer"
            self.fail(Kind.CLOSED, f"{self._peer} closed the connection{middle}")
        else:
            self.fail(Kind.RESET, f"the connection to {self._peer} broke before an answer: {_in_words(error)}")


def _in_words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def bursts(buffers: Sequence[bytes]) -> Iterator[Buffers]:
    """The same bytes in the same order, in lists of at most BURST bytes, without copying any."""
    burst: Buffers = []
    room = BURST
    for buffer in buffers:
        rest = memoryview(buffer)
        while rest:
            burst.append(rest[:room])
            rest, room = rest[room:], room - len(burst[-1])
            if room == 0:
                yield burst
                burst, room = [], BURST
    if burst:
        yield burst
