"""Probes: what is open is asked by ourselves whether it is back, so that no user's request has to be the guinea pig.

Every open or half-open circuit is due at its own deadline, and not sooner than `health.probe.interval` after the probe
before. While nothing is open nothing is done: the next deadline or news of a circuit wake us up. A probe is judged by
the same faults as a request and drives the same circuit, but only that one: a models list that wants another credential
is no reason to bury one that works.

Where every question comes back with "no such thing", or with something that says neither yes nor no, a probe proves
nothing. Then a request is let through as the first, and the reason says so.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf, isinf
from typing import Final

import structlog

from companion.clock import Clock
from companion.config.models import EndpointSettings, Settings
from companion.errors import FAULTS, Fault, Kind, OnCircuit, Party, Phase
from companion.events import CircuitChanged, ConfigChanged, Events, Probed
from companion.upstream.asking import Finding, Way, ask
from companion.upstream.circuit import Guard
from companion.upstream.endpoint import Candidate, Endpoints
from companion.upstream.health import Health, Suspect
from companion.upstream.limits import jittered
from companion.upstream.reasons import RESET
from companion.upstream.views import CandidateKey, CircuitState

_log = structlog.get_logger("companion.upstream")

CONNECTING: Final = frozenset(
    {Kind.DNS, Kind.REFUSED, Kind.UNREACHABLE, Kind.CONNECT_TIMEOUT, Kind.TLS, Kind.TLS_TIMEOUT}
)
# So many probes in a row with an answer that is none (ten minutes of them): where no probe has ever worked, none will.
HOPELESS: Final = 6
_TICK: Final = 0.001
_WAYS: Final = {
    "auto": (Way.MODELS, Way.COUNT_TOKENS),
    "models": (Way.MODELS,),
    "count_tokens": (Way.COUNT_TOKENS,),
    "message": (Way.MESSAGE,),
    "none": (),
}


@dataclass(slots=True)
class _Memory:
    """What is known of an endpoint's answers to probes. `works` is the way that worked last, `worked` are all.

    What has worked is never `gone`, and where nothing has ever worked all is asked for again at the next outage: what
    stands before an upstream that is down may answer 404, or anything, to everything.
    """

    url: str
    gone: set[Way] = field(default_factory=set)
    works: Way | None = None
    worked: set[Way] = field(default_factory=set)
    misses: int = 0


class Probes:
    """One for the process. While `run` runs, half-open circuits are guarded as `health.trial` says."""

    def __init__(self, endpoints: Endpoints, clock: Clock, events: Events, settings: Callable[[], Settings]) -> None:
        self._endpoints = endpoints
        self._clock = clock
        self._events = events
        self._settings = settings
        self._wake = asyncio.Event()
        self._memories: dict[str, _Memory] = {}
        self._running: dict[Health, asyncio.Task[None]] = {}
        self._after: dict[tuple[Health, str | None], float] = {}
        events.subscribe(CircuitChanged, self._circuit_changed)
        events.subscribe(ConfigChanged, self._config_changed)

    async def run(self) -> None:
        """Probe until cancelled."""
        self._endpoints.guard(self.guards)
        try:
            while True:
                self._wake.clear()
                await self._sleep(self.begin_due())
        finally:
            self._endpoints.guard(None)
            for task in self._running.values():
                task.cancel()
            await self.finished()

    def begin_due(self) -> float:
        """Begin every probe that is due, one for each candidate; returns when to look again (monotonic, or never)."""
        now, soonest = self._clock.monotonic(), inf
        seen: set[tuple[Health, str | None]] = set()
        for candidate, suspect in self._endpoints.suspects():
            about = candidate.health, suspect.model
            seen.add(about)
            if candidate.health in self._running or not self._ways(candidate, suspect.model, suspect.kinds):
                continue
            due = max(suspect.due, self._after.get(about, -inf))
            if suspect.busy and due <= now:
                due = self._later(about)
            if due <= now:
                self._begin(candidate, suspect)
            else:
                soonest = min(soonest, due)
        self._after = {about: after for about, after in self._after.items() if about in seen}
        return soonest

    async def finished(self) -> None:
        """Wait for the probes that are under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def guards(self, key: CandidateKey, model: str | None, kinds: frozenset[Kind]) -> Guard:
        """What may try a half-open circuit first."""
        try:
            candidate = self._endpoints.candidate(key)
        except KeyError:
            return Guard.REQUEST
        settings = self._settings()
        if settings.health.trial == "request" or settings.probe_of(candidate.settings).with_ == "none":
            return Guard.REQUEST
        return Guard.PROBE if self._ways(candidate, model, kinds) else Guard.NO_PROBE

    # === when

    async def _sleep(self, until: float) -> None:
        left = None if isinf(until) else max(_TICK, until - self._clock.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._wake.wait()

    def _later(self, about: tuple[Health, str | None]) -> float:
        interval = jittered(self._settings().health.probe.interval, self._clock)
        self._after[about] = self._clock.monotonic() + interval
        return self._after[about]

    def _circuit_changed(self, change: CircuitChanged) -> None:
        memory = self._memories.get(change.id)
        if change.reason == RESET.text():
            self._memories.pop(change.id, None)
        elif memory is not None and memory.works is None and change.after == CircuitState.CLOSED:
            memory.gone.clear()
            memory.misses = 0
        self._wake.set()

    def _config_changed(self, _: ConfigChanged) -> None:
        for health, task in self._running.items():
            if not health.live:
                task.cancel()
        ids = {endpoint.id for endpoint in self._settings().endpoints}
        self._memories = {id: memory for id, memory in self._memories.items() if id in ids}
        self._wake.set()

    # === how

    def _ways(self, candidate: Candidate, model: str | None, kinds: frozenset[Kind]) -> tuple[Way, ...]:
        """What may be asked, best first. Nobody's key is at hand for `passthrough`: only connecting is left there."""
        settings = self._settings()
        chosen = settings.probe_of(candidate.settings).with_
        ways = () if candidate.passthrough else tuple(self._promising(candidate, model, _WAYS[chosen]))
        if not ways and chosen != "none" and kinds <= CONNECTING:
            return (Way.CONNECT,)
        return ways

    def _promising(self, candidate: Candidate, model: str | None, ways: tuple[Way, ...]) -> Iterator[Way]:
        memory = self._memory(candidate.settings)
        if memory.works is None and memory.misses >= HOPELESS:
            return
        if candidate.health.contradicted(model) and Way.COUNT_TOKENS in set(ways) - memory.gone:
            # Some lists of models are there for everybody, whatever the key.
            ways = (Way.COUNT_TOKENS,)
        for way in sorted(ways, key=lambda way: way is not memory.works):
            # A list of models says nothing about one of them.
            if way is Way.MODELS if model is not None else self._model(candidate, model) is None and way != Way.MODELS:
                continue
            if way not in memory.gone:
                yield way

    def _model(self, candidate: Candidate, model: str | None) -> str | None:
        """The model to ask for, as the upstream calls it."""
        settings = candidate.settings
        return model or settings.probe.model or settings.models.default or candidate.health.tally.model

    def _memory(self, endpoint: EndpointSettings) -> _Memory:
        memory = self._memories.get(endpoint.id)
        if memory is None or memory.url != endpoint.url:
            memory = self._memories[endpoint.id] = _Memory(endpoint.url)
        return memory

    # === one probe

    def _begin(self, candidate: Candidate, suspect: Suspect) -> None:
        health = candidate.health
        task = asyncio.get_running_loop().create_task(self._probe(candidate, suspect))
        self._running[health] = task

        def over(_: asyncio.Task[None]) -> None:
            del self._running[health]
            self._later((health, suspect.model))
            self._wake.set()

        task.add_done_callback(over)

    async def _probe(self, candidate: Candidate, suspect: Suspect) -> None:
        holder = object()
        candidate.health.begin(holder, suspect.model)
        try:
            await self._round(candidate, suspect)
        except Exception:
            _log.exception("probe_failed", endpoint=candidate.settings.name)
            candidate.health.give_up(suspect.model)
        finally:
            candidate.health.release(holder, suspect.model)

    async def _round(self, candidate: Candidate, suspect: Suspect) -> None:
        """Ask in one way after the other until one says yes, or a fault leaves no doubt."""
        began, model, health = self._clock.monotonic(), suspect.model, candidate.health
        faults: list[Fault] = []
        for way in self._in_turn(candidate, suspect):
            finding = await self._ask(candidate, way, model)
            if not finding.there:
                memory = self._memory(candidate.settings)
                memory.gone |= {way} - memory.worked
                continue
            if finding.fault is None:
                self._worked(candidate, way)
                health.probed(began, None, model, cheap=way is not Way.MESSAGE)
                return
            if finding.fault.party is Party.OURS:
                return
            faults.append(finding.fault)
            if _is_clear(finding.fault):
                break
        telling = [fault for fault in faults if FAULTS[fault.kind].circuit is not OnCircuit.NOTHING]
        self._missed(candidate, telling)
        if not any(health.probed(began, fault, model, cheap=True) for fault in telling):
            health.give_up(model)

    def _in_turn(self, candidate: Candidate, suspect: Suspect) -> Iterator[Way]:
        """Looks again after each: what was not there may leave nothing but connecting."""
        tried: set[Way] = set()
        while True:
            ways = self._ways(candidate, suspect.model, suspect.kinds)
            way = next((way for way in ways if way not in tried), None)
            if way is None:
                return
            tried.add(way)
            yield way

    async def _ask(self, candidate: Candidate, way: Way, model: str | None) -> Finding:
        began, limit = self._clock.monotonic(), self._settings().health.probe.timeout
        model = self._model(candidate, model)
        try:
            async with asyncio.timeout(limit):
                finding = await ask(candidate, way, model, wall=self._clock.wall(), purpose="probe")
        except TimeoutError:
            message = f"no answer to a probe within {limit:g} s (health.probe.timeout)"
            finding = Finding(None, Fault(Party.UPSTREAM, Phase.HEADERS, Kind.HEADERS_TIMEOUT, message))
        if candidate.health.live:
            now, key = self._clock.monotonic(), candidate.key
            self._events.publish(
                Probed(now, candidate.settings.name, key.credential, way, now - began, finding.status, finding.fault)
            )
        return finding

    def _worked(self, candidate: Candidate, way: Way) -> None:
        memory = self._memory(candidate.settings)
        memory.misses = 0
        if way is not Way.CONNECT:
            memory.works = way
            memory.worked.add(way)

    def _missed(self, candidate: Candidate, faults: list[Fault]) -> None:
        if any(fault.status is not None for fault in faults):
            self._memory(candidate.settings).misses += 1


def _is_clear(fault: Fault) -> bool:
    """Whether asking for something else would bring nothing new."""
    return fault.phase in {Phase.CONNECT, Phase.TLS} or FAULTS[fault.kind].circuit is OnCircuit.WAIT
