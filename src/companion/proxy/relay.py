"""Streams: the gate before the first byte, the relay after it.

Past the gate nothing is queued: a piece of the upstream's body is checked and written to the client in the same call
that brought it. What the client cannot take yet stops the upstream, by TCP. When an answer breaks after it has begun,
the after-gate table says how the client's ends.
"""

import asyncio
from math import inf
from typing import Final

from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.net.h1 import Headers, header
from companion.protocol.errors import error_event
from companion.protocol.validate import Stream, Violated
from companion.protocol.violations import ProtocolError
from companion.proxy.aftergate import Ending, broken, ending
from companion.proxy.attempt import Attempt, cleaned
from companion.proxy.exchange import Exchange, Outcome
from companion.proxy.failed import Refusal
from companion.proxy.flow import Flow
from companion.proxy.gate import Gate
from companion.proxy.headers import passed
from companion.proxy.heartbeat import Heartbeat
from companion.upstream.transport import Response

# How long an upstream may take to end the body after message_stop before its connection is given up.
LINGER: Final = 1.0
# Claude Code 2.1.330 loses a finished block that it reads together with the end of the connection: keep them apart.
CUT_AFTER: Final = 0.05

_EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")


class StreamSurface:
    """POST /v1/messages with `stream: true`."""

    slot = True
    reconnects = True
    streams = True
    count_tokens = False
    any_status = False
    repeatable = True
    patience = inf

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._port = exchange.port
        gate = exchange.settings.gate
        self._loop = asyncio.get_running_loop()
        self._heart = Heartbeat(exchange.port, gate.patience, gate.ping, self._begin_early)
        self._gate: Gate
        self._response: Response
        self._finished = False
        self._flow: Flow

    async def open(self, attempt: Attempt, response: Response) -> None:
        """Hold everything back until the upstream has proved itself."""
        exchange = self._exchange
        settings, candidate = exchange.settings, attempt.candidate
        rewritten = exchange.model_sent != exchange.facts.model
        stream = Stream(candidate.validation, exchange.facts.model if rewritten else None)
        visible = settings.gate.hold == "visible"
        self._gate = gate = Gate(stream, response.status, response.headers, visible=visible)
        self._response = response
        timeouts, last = candidate.timeouts, attempt.turn.last
        limit = None if last else timeouts.first_content
        try:
            async with asyncio.timeout(limit):
                while not gate.open:
                    piece = await response.read(idle=timeouts.idle if last else timeouts.idle_gate)
                    if not piece:
                        gate.end()
                        break
                    gate.feed(piece)
        except TimeoutError:
            message = "no content in time (timeouts.first_content)"
            late = Fault(Party.UPSTREAM, Phase.FIRST_CONTENT, Kind.FIRST_CONTENT_TIMEOUT, message)
            raise UpstreamError(late) from None
        except UpstreamError as error:
            raise UpstreamError(error.fault.at(Phase.FIRST_CONTENT)) from None
        attempt.first_content = attempt.clock.monotonic()

    async def relay(self, attempt: Attempt) -> None:
        """From the first held byte to the end, whatever end that is."""
        exchange, gate, response = self._exchange, self._gate, self._response
        exchange.release()
        self._flow = Flow(self._port, response)
        self._heart.opened()
        if not self._port.started:
            exchange.status = 200
            self._port.start(200, self._headers(attempt, response))
        self._write(b"".join(gate.held))
        gate.held.clear()
        try:
            self._finish_if_complete()
            if not self._finished:
                await response.pipe(self._receive, idle=attempt.candidate.timeouts.idle)
            await self._end(Fault(Party.UPSTREAM, Phase.BODY, Kind.CUT, "the stream ended too early"))
        except UpstreamError as error:
            candidate = attempt.candidate
            await self._end(cleaned(error.fault, candidate.credential, exchange))
        finally:
            self._flow.close()
            if not self._finished:
                response.close()
            self._account()

    def instead(self) -> Refusal | None:
        return None

    def close(self) -> None:
        self._heart.stop()

    # === the hot path

    def _receive(self, piece: bytes) -> None:
        if self._finished:
            return
        stream = self._gate.stream
        try:
            out = stream.feed(self._gate.decoder.feed(piece), piece)
        except Violated as violated:
            if violated.sent:
                self._write(violated.sent)
            said = violated.detail if violated.kind is Kind.ERROR_EVENT else str(violated)
            fault = Fault(Party.UPSTREAM, Phase.BODY, violated.kind, said, error_type=violated.error_type)
            raise UpstreamError(fault) from None
        if out:
            self._write(out)
            if stream.complete:
                self._finish_if_complete()

    def _write(self, out: bytes) -> None:
        self._heart.last_write = self._loop.time()
        self._flow.write(out)

    # === ends

    def _finish_if_complete(self) -> None:
        """message_stop is the end for the client; the upstream gets a moment to end its body and be kept."""
        if self._gate.stream.complete and not self._finished:
            self._finished = True
            self._heart.stop()
            self._port.finish()
            self._response.detach(LINGER)

    async def _end(self, fault: Fault) -> None:
        """The upstream has ended. With a stop reason told only the end is missing; else the answer is broken."""
        if self._finished:
            return
        try:
            self._write(self._gate.last() + self._gate.stream.end())
        except ProtocolError:
            await self._break(fault)
        else:
            self._finish_if_complete()

    async def _break(self, fault: Fault) -> None:
        """The upstream failed after the client had got something."""
        exchange, stream = self._exchange, self._gate.stream
        exchange.fault = fault
        how = ending(broken(stream.open, stream.finished), exchange.facts, exchange.settings.gate.after_text)
        exchange.outcome = Outcome.TRUNCATED
        if how is Ending.CUT:
            await asyncio.sleep(self._heart.last_write + CUT_AFTER - self._loop.time())
            self._port.abort()
            return
        if how is Ending.ERROR_EVENT:
            type = fault.error_type or ("overloaded_error" if fault.kind is not Kind.VIOLATION else "api_error")
            self._port.write(error_event(type, f"{exchange.endpoint}: {fault.message}"))
        else:
            self._port.write(stream.close_with("tool_use" if how is Ending.CLOSE_TOOL_USE else "max_tokens"))
        self._port.finish()

    def _account(self) -> None:
        exchange, stream = self._exchange, self._gate.stream
        exchange.usage = stream.usage
        exchange.violations = tuple(stream.violations)
        exchange.stop_reason = stream.stop_reason
        if stream.repaired and exchange.outcome is Outcome.COMPLETE:
            exchange.outcome = Outcome.REPAIRED

    def _begin_early(self) -> None:
        """Patience is over: from here on the status is 200, and what fails ends as an error event."""
        self._exchange.status = 200
        self._port.start(200, [_EVENT_STREAM, (b"cache-control", b"no-cache"), *self._exchange.own_headers()])

    def _headers(self, attempt: Attempt, response: Response) -> Headers:
        headers = passed(response.headers, limits=attempt.limits)
        told = header(headers, b"content-type") or b""
        if not told.startswith(b"text/event-stream"):
            headers = [(name, value) for name, value in headers if name != b"content-type"]
            headers.append(_EVENT_STREAM)
        return [*headers, *self._exchange.own_headers()]
