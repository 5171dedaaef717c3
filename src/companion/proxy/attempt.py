"""Attempt: who is asked, in which order, and what a fault leads to. Rings, from the outside in:

    find            every candidate in the plan's order; a plan with one endpoint is asked again on fresh connections
      _mended       one candidate; what it refuses in words that a repair answers is repaired and sent to it again
        _attempt    one try: a slot, news, and settling whatever happens
          _send     prepare, send, status
            open    the surface's own: the gate (a stream), the validator (a whole answer), or nothing (any other path)

Each ring owns one loop or one guarantee. What a fault means is in FAULTS; the one kind named here is EMPTY_ANSWER,
which is better than nothing when nobody is left.
"""

import asyncio
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, isfinite, isinf
from typing import Final, Protocol

import msgspec

from companion.clock import Clock
from companion.config.secrets import in_query
from companion.errors import FAULTS, Fault, Kind, OnCircuit, OnRequest, Party, Phase, UpstreamError, Verdict
from companion.events import AttemptEnded, AttemptStarted, Events, Switched
from companion.net.h1 import header
from companion.protocol.errors import classify, redact
from companion.proxy.exchange import Exchange, Failure
from companion.proxy.failed import Refusal
from companion.proxy.identify import check_own_key
from companion.records.tape import Tape, Taping
from companion.routing.plan import Entry
from companion.upstream.endpoint import Candidate, Endpoints, Try
from companion.upstream.mending import Mender, Mending
from companion.upstream.prepare import prepare
from companion.upstream.transport import Outgoing, Response

MAX_TRIES: Final = 6
RECONNECTS: Final = 2
RECONNECT_AFTER: Final = 0.5
RECONNECT_SPREAD: Final = 1.5
MAX_ERROR_BODY: Final = 1024 * 1024
HEADERS_PER_SECOND: Final = 32 * 1024
NO_TIMEOUT_TOLD: Final = 590.0

CANCELLED: Final = Fault(Party.CLIENT, Phase.BODY, Kind.CANCELLED, "the client left")


class AllFailed(Exception):
    """No candidate is left; exchange.failures tells why."""


class PassOn(Exception):
    """`failure` holds an upstream's own answer, and that is the client's answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.name)
        self.failure = failure


class Turn(msgspec.Struct, frozen=True):
    """One try to come: whom to ask, whether it is a repetition, and whether nobody is left after it."""

    entry: Entry
    again: bool
    last: bool


@dataclass(slots=True, eq=False)
class Attempt:
    """One try in flight. `end` settles it, once, and tells the news."""

    exchange: Exchange
    number: int
    turn: Turn
    candidate: Candidate
    tried: Try
    events: Events
    clock: Clock
    mending: Mending | None = None
    status: int | None = None
    first_byte: float | None = None
    first_content: float | None = None
    ended: bool = False
    response: Response | None = None
    tape: Tape | None = None
    violations: tuple[str, ...] = ()

    @property
    def limits(self) -> bool:
        """Whether rate limits in the answer are the client's business: its own account's, or the only one's."""
        return self.candidate.passthrough or not self.exchange.pooled

    def end(self, fault: Fault | None) -> None:
        if self.ended:
            return
        self.ended = True
        key, counted = self.candidate.key, self.exchange.counted
        hard = fault is not None and FAULTS[fault.kind].circuit is OnCircuit.COUNT
        self.tried.settle(fault, count=not (hard and key in counted))
        if hard:
            counted.add(key)
        if self.tape is not None:
            self.tape.end()
        if self.events.wanted(AttemptEnded):
            self._tell(fault)

    def _tell(self, fault: Fault | None) -> None:
        key, response = self.candidate.key, self.response
        told = None if response is None else header(response.headers, b"request-id")
        self.events.publish(
            AttemptEnded(
                exchange=self.exchange.id,
                number=self.number,
                at=self.clock.monotonic(),
                endpoint=self.turn.entry.view.name,
                credential=key.credential,
                status=self.status,
                fault=fault,
                first_byte=self.first_byte,
                first_content=self.first_content,
                timings=None if response is None else response.timings,
                headers=() if response is None else response.headers,
                violations=self.violations,
                request_id=None if told is None else self._without_secrets(told.decode("latin-1")),
            )
        )

    def _without_secrets(self, told: str) -> str:
        secrets = _secrets(self.candidate.credential, self.exchange)
        return redact(told, secrets) if any(secret in told for secret in secrets) else told


class Surface(Protocol):
    """What differs between the kinds of request. One for each exchange, so it may remember what it opened.

    `slot`: takes one of limits.concurrency. `reconnects`: a lone endpoint is asked again. `streams`: stream limits
    hold. `any_status`: whatever status comes is the answer. `repeatable`: may be asked elsewhere once it was written.
    `patience`: seconds from the exchange's start that a client of this surface waits at most for a whole answer.
    """

    slot: bool
    reconnects: bool
    streams: bool
    count_tokens: bool
    any_status: bool
    repeatable: bool
    patience: float

    async def open(self, attempt: Attempt, response: Response) -> None:
        """Take the answer as far as it must be known before the client gets any of it. Raises UpstreamError."""

    async def relay(self, attempt: Attempt) -> None:
        """Give the client the answer that was opened."""

    def instead(self) -> Refusal | None:
        """What to answer when all failed, if this surface knows better than a refusal."""

    def close(self) -> None:
        """The exchange is over."""


class Attempts:
    """The rings. Everything about a request is in its Exchange."""

    def __init__(self, endpoints: Endpoints, mender: Mender, events: Events, taping: Taping, clock: Clock) -> None:
        self._endpoints = endpoints
        self._mender = mender
        self._events = events
        self._taping = taping
        self._clock = clock

    async def find(self, exchange: Exchange, surface: Surface) -> Attempt:
        """The first answer that has proved itself. Raises AllFailed or PassOn."""
        for turn in self._turns(exchange, surface):
            if turn.again:
                await asyncio.sleep(RECONNECT_AFTER + RECONNECT_SPREAD * self._clock.random())
            self._tell_switch(exchange, turn)
            try:
                return await self._mended(exchange, surface, turn)
            except UpstreamError as error:
                failure = Failure(turn.entry.view.key, turn.entry.view.name, error.fault)
                exchange.failures.append(failure)
                exchange.fault = error.fault
            if self._passes_on(failure):
                raise PassOn(failure)
            if FAULTS[failure.fault.kind].request is OnRequest.STOP or not _may_move(surface, failure.fault):
                break
        if (empty := _empty(exchange)) is not None:
            raise PassOn(empty)
        raise AllFailed

    def _passes_on(self, failure: Failure) -> bool:
        """The request's own fault; or whatever a user's own credential got, short of what is ours to handle."""
        if failure.fault.answer is None:
            return False
        if FAULTS[failure.fault.kind].request is OnRequest.PASS_ON:
            return True
        return self._endpoints.passthrough(failure.key) and 400 <= failure.fault.answer.status < 500

    def _turns(self, exchange: Exchange, surface: Surface) -> Iterator[Turn]:
        """Lazy: what comes after a try depends on how it failed and on how late it is."""
        chosen = exchange.plan.chosen[:MAX_TRIES]
        for number, entry in enumerate(chosen, 1):
            if number > 1 and self._late(exchange):
                return
            yield Turn(entry, again=False, last=number == len(chosen))
        if not (surface.reconnects and exchange.plan.single):
            return
        for _ in range(RECONNECTS):
            latest = reversed({failure.key: failure for failure in exchange.failures}.values())
            failure = next((failure for failure in latest if _reconnects(failure)), None)
            if failure is None or len(exchange.failures) >= MAX_TRIES or self._late(exchange):
                return
            if not self._endpoints.budget.withdraw():
                return
            yield Turn(next(entry for entry in chosen if entry.view.key == failure.key), again=True, last=True)

    def _late(self, exchange: Exchange) -> bool:
        return self._clock.monotonic() - exchange.started >= exchange.settings.gate.deadline

    def _tell_switch(self, exchange: Exchange, turn: Turn) -> None:
        if exchange.failures and exchange.failures[-1].key != turn.entry.view.key:
            before = exchange.failures[-1]
            self._events.publish(
                Switched(exchange.id, self._clock.monotonic(), before.name, turn.entry.view.name, before.fault)
            )

    async def _mended(self, exchange: Exchange, surface: Surface, turn: Turn) -> Attempt:
        """Each try has its number and its row, but they share the turn: the slot is free only for a moment."""
        key, question = turn.entry.view.key, exchange.question
        mending = self._mender.before(key, question)
        while True:
            try:
                attempt = await self._attempt(exchange, surface, turn, mending)
            except UpstreamError as error:
                mending = await self._mender.after(key, question, error.fault, mending)
                if mending is None:
                    raise
            else:
                if mending is not None:
                    mending.accepted()
                    exchange.repairs = mending.names
                return attempt

    async def _attempt(self, exchange: Exchange, surface: Surface, turn: Turn, mending: Mending | None) -> Attempt:
        attempt = self._begin(exchange, surface, turn, mending)
        try:
            await self._send(attempt, surface)
        except UpstreamError as error:
            fault = cleaned(error.fault, attempt.candidate.credential, exchange)
            attempt.end(fault)
            raise UpstreamError(fault) from None
        except asyncio.CancelledError:
            attempt.end(CANCELLED)
            raise
        except BaseException as error:
            attempt.end(Fault(Party.OURS, Phase.PROTOCOL, Kind.INTERNAL, type(error).__name__))
            raise
        attempt.tried.proved()
        return attempt

    def _begin(self, exchange: Exchange, surface: Surface, turn: Turn, mending: Mending | None) -> Attempt:
        view = turn.entry.view
        try:
            candidate = self._endpoints.candidate(view.key)
        except KeyError:
            gone = Fault(Party.OURS, Phase.CONNECT, Kind.UNRESOLVED, "was removed from the configuration meanwhile")
            raise UpstreamError(gone) from None
        if exchange.client is not None and candidate.passthrough:
            check_own_key(exchange.question.headers)
        tried = candidate.begin(exchange.question.model, slot=surface.slot)
        exchange.attempts += 1
        return Attempt(exchange, exchange.attempts, turn, candidate, tried, self._events, self._clock, mending)

    async def _send(self, attempt: Attempt, surface: Surface) -> None:
        exchange, candidate = attempt.exchange, attempt.candidate
        outgoing, exchange.model_sent = prepare(exchange.question, candidate.settings, candidate.credential)
        if attempt.mending is not None:
            outgoing = attempt.mending.mend(outgoing)
        if self._events.wanted(AttemptStarted):
            self._tell_start(attempt, outgoing)
        headers, until = None, inf
        if surface.streams:
            headers = self._headers_limit(attempt)
        else:
            until = exchange.started + min(_whole_limit(attempt), surface.patience)
        try:
            response = await candidate.transport.send(
                outgoing, candidate.timeouts, headers=headers, until=until, fresh=attempt.turn.again
            )
            attempt.response, attempt.first_byte, attempt.status = response, response.first_byte, response.status
            attempt.tape = tape = self._taping(exchange.id, attempt.number)
            if tape is not None:
                response.tap = tape.add
            await self._open(attempt, surface, response)
        except TimeoutError:
            # Whoever is slow with what it need not have is not to blame for it.
            kind = Kind.WHOLE_TIMEOUT if isinf(surface.patience) else Kind.NOT_THERE
            late = Fault(Party.UPSTREAM, Phase.BODY, kind, "no whole answer in time (timeouts.whole_answer)")
            raise UpstreamError(late) from None

    def _tell_start(self, attempt: Attempt, outgoing: Outgoing) -> None:
        exchange, candidate = attempt.exchange, attempt.candidate
        self._events.publish(
            AttemptStarted(
                exchange=exchange.id,
                number=attempt.number,
                at=self._clock.monotonic(),
                endpoint=attempt.turn.entry.view.name,
                credential=candidate.key.credential,
                model=exchange.model_sent,
                url=f"{candidate.transport.origin}{outgoing.target.decode('latin-1')}",
                headers=outgoing.headers,
                body=outgoing.body,
                repairs=attempt.mending.names if attempt.mending is not None else (),
            )
        )

    async def _open(self, attempt: Attempt, surface: Surface, response: Response) -> None:
        try:
            if not (surface.any_status or 200 <= response.status < 300):
                raise UpstreamError(await self._refused(attempt, surface, response))
            await surface.open(attempt, response)
        except BaseException:
            response.close()
            raise

    async def _refused(self, attempt: Attempt, surface: Surface, response: Response) -> Fault:
        limit = attempt.candidate.timeouts.idle_gate
        response.deadline = min(response.deadline, self._clock.monotonic() + limit)
        try:
            body = await response.read_all(MAX_ERROR_BODY, idle=limit)
        except (UpstreamError, TimeoutError):
            body = b""
        wall, model = self._clock.wall(), attempt.exchange.model_sent
        return classify(
            response.status, response.headers, body, wall=wall, model=model, count_tokens=surface.count_tokens
        )

    def _headers_limit(self, attempt: Attempt) -> float:
        """Seconds to the head of a stream: a large body takes an upstream longer to read and to think about."""
        timeouts = attempt.candidate.timeouts
        if attempt.turn.last:
            return timeouts.headers_last
        return timeouts.headers + len(attempt.exchange.question.body) / HEADERS_PER_SECOND


def _whole_limit(attempt: Attempt) -> float:
    """Seconds for a whole answer from the exchange's start: what the client will wait, less 10 to tell it something."""
    limit = attempt.candidate.timeouts.whole_answer
    if limit is not None:
        return limit
    return _told_limit(header(attempt.exchange.question.headers, b"x-stainless-timeout"))


@lru_cache(maxsize=64)
def _told_limit(told: bytes | None) -> float:
    try:
        seconds = float(told or b"")
    except ValueError:
        return NO_TIMEOUT_TOLD
    return max(1.0, seconds - 10) if seconds > 0 and isfinite(seconds) else NO_TIMEOUT_TOLD


def _may_move(surface: Surface, fault: Fault) -> bool:
    return surface.repeatable or fault.phase in {Phase.CONNECT, Phase.TLS}


def _empty(exchange: Exchange) -> Failure | None:
    """The empty answer to pass on: the last word, or what there is where waiting would bring no other."""
    latest = list({failure.key: failure for failure in exchange.failures}.values())
    empty = [failure for failure in latest if failure.fault.kind is Kind.EMPTY_ANSWER]
    rest = (FAULTS[failure.fault.kind].verdict for failure in latest if failure not in empty)
    if empty and (empty[-1] is exchange.failures[-1] or not (exchange.plan.waiting or Verdict.TEMPORARY in rest)):
        return empty[-1]
    return None


def _reconnects(failure: Failure) -> bool:
    """Whether the same endpoint is worth another try at once; not when it said itself that it is not."""
    wait = failure.fault.retry_after
    return FAULTS[failure.fault.kind].reconnect and (wait is None or wait <= RECONNECT_AFTER + RECONNECT_SPREAD)


def cleaned(fault: Fault, credential: str | None, exchange: Exchange) -> Fault:
    """The fault without the secrets in it that the upstream was told, should it have echoed them.

    Without a credential of ours it was told the client's own, which the answer to that client may hold.
    """
    secrets = _secrets(credential, exchange)
    ours = secrets if credential is not None else exchange.loaded.secrets
    answer = fault.answer
    if answer is not None:
        headers = tuple((name, redact(value, ours)) for name, value in answer.headers)
        answer = replace(answer, headers=headers, body=redact(answer.body, ours))
    type = fault.error_type and redact(fault.error_type, secrets)
    return replace(fault, message=redact(fault.message, secrets), error_type=type, answer=answer)


def _secrets(credential: str | None, exchange: Exchange) -> Collection[str]:
    """Ours and, where the client's own credential was sent, that; its query is sent always."""
    known, query = exchange.loaded.secrets, exchange.question.query
    if query:
        known = known.union(in_query(f"?{query.decode('latin-1')}"))
    if credential is not None:
        return known if credential in known else known | {credential}
    sent = (header(exchange.question.headers, name) or b"" for name in (b"authorization", b"x-api-key"))
    return known.union(word for value in sent for word in value.decode("latin-1").split())
