"""One upstream's answer, from its head to its last byte.

The connection pushes (`begin`, `take`, `end`, `fail`), the pipeline pulls (`read`) or lets itself be called (`pipe`).
What nobody takes is held up to HIGH_WATER, then TCP reading stops, so that an upstream never runs ahead of the client.
A content encoding is undone as the pieces are taken, not as they come: a bomb waits outside.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from companion.clock import Clock
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import Timings
from companion.net.h1 import HIGH_WATER, Headers
from companion.net.inflate import InflateError, Inflater, inflater


class Line(Protocol):
    """What a response asks of the connection that it comes from."""

    def waiter(self) -> "asyncio.Future[None]":
        """Something to wait for."""

    def hold(self, stop: bool, /) -> None:
        """Stop or go on reading from the network."""

    def arm(self, at: float, /) -> None:
        """The response is due at this time: ask it again no later than that."""

    def abort(self) -> None:
        """Close at once; nothing more is wanted."""


class Response:
    """An answer whose head has arrived. Times are seconds of the clock's `monotonic`.

    `tap` sees every piece of the body that is taken. `last_byte` moves with any byte from the upstream, framing
    included. What waits here when `deadline` has come gets a TimeoutError. Every way out of it either reads the body to
    its end or calls `close`; cancelling a task that waits here closes it.
    """

    __slots__ = (
        "_buffered",
        "_clock",
        "_direct",
        "_encoding",
        "_ended",
        "_failure",
        "_idle",
        "_inflater",
        "_line",
        "_paused",
        "_pieces",
        "_receive",
        "_resumed",
        "_timings",
        "_until",
        "_waiter",
        "deadline",
        "first_byte",
        "headers",
        "held",
        "last_byte",
        "status",
        "tap",
        "write",
    )

    def __init__(self, line: Line, clock: Clock, timings: Timings, deadline: float = math.inf) -> None:
        self.write: float | None = None
        self._timings = timings
        self.deadline = deadline
        self.status = 0
        self.headers: Headers = []
        self.first_byte = 0.0
        self.last_byte = 0.0
        self.held = False
        self.tap: Callable[[bytes], None] | None = None
        self._line = line
        self._clock = clock
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._encoding = b""
        self._inflater: Inflater | None = None
        self._receive: Callable[[bytes], None] | None = None
        self._direct: Callable[[bytes], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._idle: float | None = None
        self._paused = False
        self._resumed = 0.0
        self._until: float | None = None
        self._ended = False
        self._failure: Exception | None = None

    @property
    def timings(self) -> Timings:
        """How its connection came about, and how long the request took to go out (None if it did not, to its end)."""
        return msgspec.structs.replace(self._timings, write=self.write)

    # === for the pipeline

    async def read(self, *, idle: float | None) -> bytes:
        """The next piece of the decoded body, b"" at its end. Raises UpstreamError after `idle` seconds of silence."""
        while True:
            piece = self._next()
            if piece or self._finished():
                if self.tap is not None and piece:
                    self.tap(piece)
                return piece
            self._idle = idle
            await self.wait()

    async def read_all(self, limit: int, *, idle: float | None) -> bytes:
        """The rest of the body. Raises UpstreamError (BAD_HTTP) where it is longer than `limit` bytes."""
        if self._ended and not self._encoding and self._buffered <= limit:
            return self._rest()
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read(idle=idle):
            size += len(piece)
            if size > limit:
                self.close()
                raise _error(Kind.BAD_HTTP, f"the answer is longer than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def pipe(self, receive: Callable[[bytes], None], *, idle: float | None) -> None:
        """Give every further piece to `receive` the moment it arrives; return at the end of the body.

        Raises what `read` would, and what `receive` raised; either closes the connection.
        """
        self._receive = receive if self.tap is None else _tapped(self.tap, receive)
        self._idle = idle
        try:
            self._pump()
            while self._until is None and (self._left() or not self._finished()):
                await self.wait()
        finally:
            self._receive = self._direct = None

    def pause(self) -> None:
        """Stop reading from the network; `pipe` delivers nothing and no idle limit runs until `resume`."""
        self._paused = True
        self._direct = None
        self._flow()

    def resume(self) -> None:
        """Go on after `pause`; the idle limit starts anew."""
        if self._paused:
            self._paused = False
            self._flow()
            self._pump()
            self._line.arm(self.due())

    def close(self) -> None:
        """Nothing more is wanted. An unfinished body ends the connection at once; a whole one has freed it already."""
        if not self._ended and self._failure is None:
            self._give_up(_error(Kind.CANCELLED, "the answer was given up", Party.OURS))

    def detach(self, seconds: float) -> None:
        """The rest is of no interest; `pipe` returns. A body that ends within `seconds` still frees its connection."""
        if not self._ended and self._failure is None:
            self._until = self._clock.monotonic() + seconds
            self._pieces.clear()
            self._buffered = 0
            self._paused = False
            self._receive = self._direct = None
            self._flow()
            self._wake()
            self._line.arm(self._until)

    # === for the connection

    def check(self) -> None:
        """Raises its failure, if there was one."""
        if self._failure is not None:
            raise self._failure

    async def wait(self) -> None:
        """Wait until something has happened. Whoever is cancelled here closes it."""
        self._waiter = self._line.waiter()
        self._line.arm(self.due())
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def begin(self, status: int, headers: Headers, first_byte: float, encoding: bytes) -> None:
        """The head is here; `encoding` is what its content-encoding says."""
        self.status = status
        self.headers = headers
        self.first_byte = first_byte
        self._encoding = encoding
        self._wake()

    def take(self, data: bytes) -> None:
        """A piece of the body is here."""
        direct = self._direct
        if direct is not None:
            try:
                direct(data)
            except Exception as error:
                self._give_up(error)
        elif self._failure is None and self._until is None:
            self._pieces.append(data)
            self._buffered += len(data)
            self._flow()
            self._deliver()

    def end(self) -> None:
        """The body is whole; the connection is no longer ours."""
        self._ended = True
        self._deliver()

    def fail(self, error: Exception) -> None:
        """There will be no more; what has arrived can still be read."""
        if not self._ended and self._failure is None:
            self._failure = error
            self._wake()

    def due(self) -> float:
        """The deadline, or when the silence becomes too long for whoever waits, or `detach` has given it up."""
        if self._until is not None:
            return self._until
        if self._idle is None or self._paused or self._waiter is None:
            return self.deadline
        return min(self.deadline, max(self.last_byte, self._resumed) + self._idle)

    # === inside

    def _next(self) -> bytes:
        """The next decoded piece that is here already, else b""."""
        try:
            return self._decoded() if self._encoding else self._raw()
        except InflateError as error:
            self._give_up(_error(Kind.BAD_ENCODING, str(error)))
            return b""

    def _raw(self) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        self._flow()
        return piece

    def _rest(self) -> bytes:
        """All that is here of a body that came as it is."""
        rest = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if self.tap is not None and rest:
            self.tap(rest)
        return rest

    def _decoded(self) -> bytes:
        if self._inflater is None:
            if not self._pieces:
                return b""
            self._inflater = inflater(self._encoding)
            if self._inflater is None:
                self._encoding = b""
                return self._raw()
        while not (piece := self._inflater.pull()):
            if not self._pieces:
                if self._ended and not self._inflater.complete:
                    raise InflateError("the compressed body ends too early")
                break
            self._inflater.push(self._raw())
        return piece

    def _left(self) -> bool:
        """Whether something has arrived that was not delivered (it waits for `resume`)."""
        return bool(self._pieces) or (self._inflater is not None and self._inflater.pending)

    def _deliver(self) -> None:
        if self._receive is None:
            self._wake()
        else:
            self._pump()

    def _pump(self) -> None:
        """Deliver what is here to `receive`, then let the rest go straight to it."""
        while (receive := self._receive) is not None and not self._paused:
            piece = self._next()
            if not piece:
                if not self._encoding and self._failure is None:
                    self._direct = receive
                break
            try:
                receive(piece)
            except Exception as error:
                self._give_up(error)
        if self._ended or self._failure is not None:
            self._wake()

    def _finished(self) -> bool:
        """Whether nothing more will come; raises if that is a failure."""
        if self._failure is not None:
            raise self._failure
        return self._ended

    def _give_up(self, error: Exception) -> None:
        """Fail for a reason of our own, and drop what is left."""
        self._pieces.clear()
        self._inflater = self._direct = None
        self._failure = error
        self._wake()
        if not self._ended:
            self._line.abort()

    def _flow(self) -> None:
        hold = self._paused or self._buffered > HIGH_WATER
        if hold is not self.held and not self._ended and self._failure is None:
            self.held = hold
            self._line.hold(hold)
            if not hold:
                self._resumed = self._clock.monotonic()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _tapped(tap: Callable[[bytes], None], receive: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def both(piece: bytes) -> None:
        tap(piece)
        receive(piece)

    return both


def _error(kind: Kind, message: str, party: Party = Party.UPSTREAM) -> UpstreamError:
    return UpstreamError(Fault(party, Phase.BODY, kind, message))
