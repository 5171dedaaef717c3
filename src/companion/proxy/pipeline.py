"""A request's way through the house: nine rooms in a row, and nothing happens in between.

    receive    exchange id, one snapshot of the configuration for the whole exchange (the server bounded the body)
    identify   which client is this? (without access.clients everybody on this machine is the same one)
    describe   Facts, from one partial decode
    label      the labels that rules give to facts (there are no rules yet, so none)
    plan       who is to be asked, in which order, and why
    recall     an answer that is known already (nothing is remembered yet)
    attempt    each candidate until one has proved itself
    relay      the answer to the client
    settle     outcome, health, news. Always, also when the client left

The ways differ by surface (a stream, a whole answer, token counting, models, anything else); the rooms do not.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from companion.clock import Clock
from companion.config.file import Loaded
from companion.errors import ClientError, Fault, Kind, Party, Phase
from companion.events import Consideration, Events, ExchangePlanned, ExchangeSettled, ExchangeStarted, Why
from companion.net import ulid
from companion.protocol.request import RequestHead
from companion.proxy.attempt import CANCELLED, AllFailed, Attempt, Attempts, PassOn, Surface
from companion.proxy.exchange import Exchange, Outcome
from companion.proxy.failed import Refusal, all_failed, refuse
from companion.proxy.identify import Door
from companion.proxy.port import Port, Request
from companion.records.tape import Taping
from companion.routing.affinity import Shunned
from companion.routing.facts import Facts, client_of, describe
from companion.routing.plan import Planner
from companion.upstream.endpoint import Endpoints
from companion.upstream.mending import Mender
from companion.upstream.prepare import Question

# An enum's member costs a call of Python code each time it is looked up by name: these are in everybody's way.
_COMPLETE: Final = Outcome.COMPLETE
_TRUNCATED: Final = Outcome.TRUNCATED


class Pipeline:
    """Serves what is under `/v1/`. One for the process."""

    def __init__(
        self,
        loaded: Callable[[], Loaded],
        endpoints: Endpoints,
        mender: Mender,
        events: Events,
        taping: Taping,
        clock: Clock,
    ) -> None:
        self._loaded = loaded
        self._endpoints = endpoints
        self._events = events
        self._clock = clock
        self._taping = taping
        self._attempts = Attempts(endpoints, mender, events, taping, clock)
        self._shunned = Shunned(clock)
        self._planner = Planner()
        self._door = Door()

    async def serve(
        self, request: Request, port: Port, *, path: str, messages: bool, surface_of: Callable[[Exchange], Surface]
    ) -> None:
        """Carry one request through all rooms. `path` is what an upstream hears; `messages`: so must the body read."""
        exchange = self._receive(request, port, path)
        try:
            self._identify(exchange)
            self._describe(exchange, messages=messages)
            self._plan(exchange)
            await self._answer(exchange, surface_of(exchange))
        except ClientError as error:
            exchange.outcome = Outcome.REJECTED
            refuse(exchange, Refusal(error.status, error.type, error.message))
        except asyncio.CancelledError:
            if exchange.outcome is not Outcome.TRUNCATED:
                exchange.outcome, exchange.fault = Outcome.CANCELLED, CANCELLED
            raise
        finally:
            self._settle(exchange)

    # === the rooms, in order

    def _receive(self, request: Request, port: Port, path: str) -> Exchange:
        question = Question(request.method, path, request.query, request.headers, request.body)
        loaded = self._loaded()
        exchange = Exchange(
            id=ulid.new(self._clock),
            request=request,
            port=port,
            loaded=loaded,
            settings=loaded.settings,
            started=self._clock.monotonic(),
            question=question,
            facts=Facts(client_of(request.headers)),
        )
        exchange.tape = tape = self._taping(exchange.id, None)
        if tape is not None:
            port.tap = tape.add
        return exchange

    def _identify(self, exchange: Exchange) -> None:
        request, question = exchange.request, exchange.question
        client, question.headers = self._door.enter(exchange.settings.access, request.headers, request.peer)
        if client is not None:
            exchange.client = client.name

    def _describe(self, exchange: Exchange, *, messages: bool) -> None:
        request = exchange.request
        try:
            if messages:
                head = RequestHead.read(request.body)
                exchange.facts = describe(exchange.facts.client, request.headers, request.body, head)
                exchange.question.model, exchange.question.stream = head.model, head.stream
        finally:
            # What is about to be rejected is recorded, too.
            if self._events.wanted(ExchangeStarted):
                self._tell_start(exchange)

    def _tell_start(self, exchange: Exchange) -> None:
        request, facts = exchange.request, exchange.facts
        self._events.publish(
            ExchangeStarted(
                id=exchange.id,
                at=exchange.started,
                method=request.method,
                path=request.path,
                model=facts.model,
                stream=facts.stream,
                session=facts.session,
                query=request.query,
                headers=request.headers,
                body=request.body,
                peer=request.peer,
                client=exchange.client,
                agent=facts.agent,
                parent_agent=facts.parent_agent,
                labels=tuple(exchange.labels),
            )
        )

    def _plan(self, exchange: Exchange) -> None:
        views = self._endpoints.views(exchange.facts.model)
        exchange.plan = plan = self._planner(views, exchange.labels, self._shunned.of(exchange.facts.session))
        if self._events.wanted(ExchangePlanned):
            considered = tuple(
                Consideration(
                    endpoint=entry.view.name,
                    credential=entry.view.key.credential,
                    chosen=entry.chosen,
                    reason=entry.reason,
                    why=tuple(Why(each.code, each.parameters, each.scope) for each in entry.why),
                )
                for entry in plan.entries
            )
            self._events.publish(ExchangePlanned(exchange.id, self._clock.monotonic(), considered))

    async def _answer(self, exchange: Exchange, surface: Surface) -> None:
        """The rooms attempt and relay."""
        self._endpoints.budget.deposit()
        try:
            attempt = await self._attempts.find(exchange, surface)
        except PassOn as passed:
            failure = passed.failure
            exchange.endpoint = failure.name
            refuse(exchange, Refusal.own(failure.fault, limits=self._endpoints.passthrough(failure.key)))
        except AllFailed:
            now = self._clock.monotonic()
            config = str(exchange.loaded.path)
            refuse(exchange, surface.instead() or all_failed(exchange.plan, exchange.failures, now, config))
        else:
            await self._relay(exchange, surface, attempt)
        finally:
            surface.close()

    async def _relay(self, exchange: Exchange, surface: Surface, attempt: Attempt) -> None:
        exchange.answered_by, exchange.endpoint = attempt.candidate.key, attempt.turn.entry.view.name
        exchange.fault = None
        exchange.first_byte, exchange.first_content = attempt.first_byte, attempt.first_content
        whole = Outcome.REPAIRED if exchange.repairs else _COMPLETE
        exchange.outcome = Outcome.FAILED_OVER if exchange.failures else whole
        try:
            await surface.relay(attempt)
        except asyncio.CancelledError:
            # Of an answer that has broken already, the upstream's fault is what counts.
            attempt.end(exchange.fault or CANCELLED)
            raise
        except Exception as error:
            exchange.outcome = Outcome.ERROR
            exchange.fault = Fault(Party.OURS, Phase.BODY, Kind.INTERNAL, type(error).__name__)
            raise
        finally:
            attempt.end(exchange.fault)

    def _settle(self, exchange: Exchange) -> None:
        session = exchange.facts.session
        if exchange.outcome is _TRUNCATED and session is not None and exchange.answered_by is not None:
            self._shunned.add(session, exchange.answered_by.endpoint)
        if exchange.tape is not None:
            exchange.tape.end()
        usage, answered = exchange.usage, exchange.answered_by
        self._events.publish(
            ExchangeSettled(
                id=exchange.id,
                at=self._clock.monotonic(),
                started=exchange.started,
                method=exchange.request.method,
                path=exchange.request.path,
                outcome=exchange.outcome,
                status=exchange.status,
                endpoint=exchange.endpoint,
                attempts=exchange.attempts,
                model=exchange.facts.model,
                model_sent=exchange.model_sent,
                input_tokens=usage.input_tokens if usage else None,
                output_tokens=usage.output_tokens if usage else None,
                violations=exchange.violations,
                fault=exchange.fault,
                credential=answered.credential if answered else None,
                cache_read_tokens=usage.cache_read_input_tokens if usage else None,
                cache_5m_tokens=usage.cache_5m if usage else None,
                cache_1h_tokens=usage.cache_1h if usage else None,
                reasoning_tokens=usage.reasoning if usage else None,
                stop_reason=exchange.stop_reason,
                repairs=exchange.repairs,
                session=exchange.facts.session,
                client=exchange.client,
                first_byte=exchange.first_byte,
                first_content=exchange.first_content,
                headers=exchange.port.fields,
            )
        )
