"""The endpoints that there are: candidates to plan with, tries to make, and what stays when the configuration changes.

State hangs on an endpoint's id and on what it is about: circuits and rate-limit clocks on url and credential, slots on
the url, connections on url, credentials, pool settings, proxy and trusted CA. While that is the same, a new
configuration changes nothing of it. Once it differs, state begins anew, and the old ends with its last try.
"""

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import groupby
from typing import Final, TypeVar

from companion.clock import Clock
from companion.config.file import Loaded
from companion.config.models import EndpointSettings, HealthSettings, RepairSettings, Settings, Timeouts, Validation
from companion.config.secrets import Credential
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import CircuitChanged, Events
from companion.net.proxies import Route, Unusable, route
from companion.net.tls import TlsContext
from companion.upstream.circuit import Policy
from companion.upstream.health import Guards, Health, Suspect
from companion.upstream.limits import RetryBudget, Slots
from companion.upstream.prepare import model_for
from companion.upstream.states import EndpointState, state_of
from companion.upstream.transport import Origin, Transport
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

_PASSTHROUGH: Final = "passthrough"
_V = TypeVar("_V")


class Try:
    """One try against one candidate: it may hold a slot and half-open permits, until it is settled."""

    __slots__ = ("_began", "_health", "_model", "_settled", "_slots")

    def __init__(self, health: Health, began: float, model: str | None, slots: Slots | None) -> None:
        self._health = health
        self._began = began
        self._model = model
        self._slots = slots
        self._settled = False
        health.tally.running += 1
        if health.uneasy:
            health.begin(self, model)

    def proved(self) -> None:
        """The gate has opened: a half-open circuit may let the next try through while this one streams."""
        self._health.release(self, self._model)

    def settle(self, fault: Fault | None, *, count: bool = True) -> None:
        """It is over: answered in full (None), or by this fault. Only the first call does anything.

        With `count=False` slot and permits are freed and nothing is learnt from it.
        """
        if self._settled:
            return
        self._settled = True
        self._health.tally.running -= 1
        if self._slots is not None:
            self._slots.free()
        self._health.release(self, self._model)
        if not count:
            return
        if fault is None:
            self._health.succeeded(self._began, self._model)
        else:
            self._health.failed(self._began, fault, self._model)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One (endpoint, credential) as configured. `calm` is its view while there is nothing to say about its health.

    What is learned of it hangs on `about`: the endpoint's id and a digest of url and credential. `passthrough`: the
    credential is the client's own; `mends`: some repairs are always made.
    """

    key: CandidateKey
    settings: EndpointSettings = field(repr=False)
    timeouts: Timeouts = field(repr=False)
    credential: str | None = field(repr=False)
    transport: Transport = field(repr=False)
    calm: CandidateView
    about: str
    repairs: RepairSettings
    validation: Validation
    health: Health = field(repr=False)
    slots: Slots = field(repr=False)
    _clock: Clock = field(repr=False)
    # Of the settings what is asked for with every request: reading pydantic's attributes costs much more.
    passthrough: bool = field(init=False)
    mends: bool = field(init=False)
    _renames: bool = field(init=False)

    def __post_init__(self) -> None:
        models = self.settings.models
        object.__setattr__(self, "passthrough", self.settings.auth.type == _PASSTHROUGH)
        object.__setattr__(self, "mends", bool(self.repairs.always))
        object.__setattr__(self, "_renames", bool(models.rewrite or models.default))

    def follow(self, policy: Policy, guards: Guards | None) -> None:
        """Make what was kept from before follow this configuration."""
        self.slots.limit = self.settings.limits.concurrency
        self.health.key, self.health.name = self.key, self.settings.name
        self.health.guards = guards
        self.health.follow(policy)

    def seen(self, model: str | None) -> CandidateView:
        """How it stands for `model`, the name that the client asked for."""
        if not self.health.uneasy:
            return self.calm
        return self.health.seen(self.calm, model_for(self.settings.models, model))

    def begin(self, model: str | None, *, slot: bool = True) -> Try:
        """A try for `model`, the name that the client asked for. With `slot=False` it takes none of limits.concurrency.

        Raises UpstreamError: BUSY when no slot is free, UNRESOLVED when there is nothing to try it with.
        """
        if self.calm.unusable is not None:
            raise UpstreamError(Fault(Party.OURS, Phase.CONNECT, Kind.UNRESOLVED, self.calm.unusable))
        if slot and not self.slots.take():
            message = f"{self.slots.used} of {self.slots.limit} slots are in use (limits.concurrency)"
            raise UpstreamError(Fault(Party.OURS, Phase.CONNECT, Kind.BUSY, message))
        sent = model_for(self.settings.models, model) if self._renames else model
        return Try(self.health, self._clock.monotonic(), sent, self.slots if slot else None)


@dataclass(slots=True)
class _Stock:
    """What one configuration needs, by what it depends on."""

    candidates: dict[CandidateKey, Candidate] = field(default_factory=dict)
    tls: dict[Hashable, TlsContext] = field(default_factory=dict)
    transports: dict[Hashable, Transport] = field(default_factory=dict)
    slots: dict[Hashable, Slots] = field(default_factory=dict)
    healths: dict[Hashable, Health] = field(default_factory=dict)
    calm: tuple[CandidateView, ...] = ()


class Endpoints:
    """The registry. `budget` is for repeated tries on the same endpoint, whichever it is."""

    def __init__(self, clock: Clock, events: Events) -> None:
        self.budget = RetryBudget(clock)
        self._clock = clock
        self._events = events
        self._stock = _Stock()
        self._policy = Policy.of(HealthSettings())
        self._guards: Guards | None = None
        self._warming = False

    def apply(self, loaded: Loaded) -> None:
        """Take over a configuration: what it leaves as it was keeps its state, and tries in flight end as they may.

        Whatever this raises, the configuration before it is still in force.
        """
        old, new = self._stock, _Stock()
        for index, settings in enumerate(loaded.settings.endpoints):
            self._add(new, index, settings, loaded)
        new.calm = tuple(candidate.calm for candidate in new.candidates.values())
        self._stock = new
        self._policy = Policy.of(loaded.settings.health)
        self.guard(self._guards)
        for key in old.transports.keys() - new.transports.keys():
            old.transports[key].retire()
        for key in old.healths.keys() - new.healths.keys():
            old.healths[key].live = False
        if self._warming:
            self._keep_warm()

    def warm(self) -> None:
        """From now on keep connections ready (pool.keep_warm) to whoever is in use and not in trouble."""
        self._events.subscribe(CircuitChanged, lambda _: self._keep_warm())
        self._warming = True
        self._keep_warm()

    def guard(self, guards: Guards | None) -> None:
        """From now on `guards` says what may try a half-open circuit first; None: a request may."""
        self._guards = guards
        for candidate in self._stock.candidates.values():
            candidate.follow(self._policy, guards)

    def suspects(self) -> Iterator[tuple[Candidate, Suspect]]:
        """What is open or half-open of those that are in use, for probes."""
        for candidate in self._stock.candidates.values():
            if candidate.calm.unusable is None:
                for suspect in candidate.health.suspects():
                    yield candidate, suspect

    def reset(self, name: str) -> bool:
        """Close every circuit and stop every clock of the endpoint with this name (or id); False if there is none."""
        found = [each for each in self._stock.candidates.values() if name in {each.settings.name, each.key.endpoint}]
        for candidate in found:
            candidate.health.reset()
        return bool(found)

    def states(self) -> tuple[EndpointState, ...]:
        """How every endpoint stands, in the file's order."""
        now = self._clock.monotonic()
        grouped = groupby(self._stock.candidates.values(), key=lambda candidate: candidate.key.endpoint)
        return tuple(state_of(list(candidates), now) for _, candidates in grouped)

    def views(self, model: str | None = None) -> tuple[CandidateView, ...]:
        """Every candidate as it stands for `model`, the name that the client asked for; in the file's order.

        The same object as long as there is nothing to be said about anybody's health.
        """
        stock = self._stock
        for health in stock.healths.values():
            if health.uneasy:
                return tuple(candidate.seen(model) for candidate in stock.candidates.values())
        return stock.calm

    def candidate(self, key: CandidateKey) -> Candidate:
        """Raises KeyError when the configuration has it no more."""
        return self._stock.candidates[key]

    def passthrough(self, key: CandidateKey) -> bool:
        """Whether it is the client's own credential that is used there. False when it is there no more."""
        candidate = self._stock.candidates.get(key)
        return candidate is not None and candidate.passthrough

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._stock.transports.values():
            await transport.aclose()

    def _keep_warm(self) -> None:
        for transport in self._stock.transports.values():
            candidates = [each for each in self._stock.candidates.values() if each.transport is transport]
            transport.keep_warm(candidates[0].timeouts, partial(_any_well, candidates))

    def _add(self, new: _Stock, index: int, settings: EndpointSettings, loaded: Loaded) -> None:
        old, id = self._stock, settings.id
        credentials = loaded.credentials[id]
        digests = tuple(_digest(settings, credential) for credential in credentials)
        way = _route(settings, loaded)
        transport = _kept(
            old.transports, new.transports, *self._transport(new, settings, loaded.settings, (digests, way))
        )
        slots = _kept(old.slots, new.slots, (id, settings.url), lambda: Slots(settings.limits.concurrency))
        for number, (credential, digest) in enumerate(zip(credentials, digests, strict=True)):
            key = CandidateKey(id, number)
            new.candidates[key] = Candidate(
                key=key,
                settings=settings,
                timeouts=loaded.settings.timeouts_of(settings),
                credential=credential.value,
                transport=transport,
                calm=_calm(key, index, settings, credential, way),
                about=f"{id}:{digest[:16]}",
                repairs=loaded.settings.repairs_of(settings),
                validation=loaded.settings.validation_of(settings),
                health=_kept(old.healths, new.healths, (id, digest), self._health(key, settings, loaded.settings)),
                slots=slots,
                _clock=self._clock,
            )

    def _transport(
        self, new: _Stock, endpoint: EndpointSettings, settings: Settings, about: tuple[tuple[str, ...], Route]
    ) -> tuple[Hashable, Callable[[], Transport]]:
        pool, ca, origin = settings.pool_of(endpoint), settings.defaults.ca, Origin.of(endpoint.url)
        tls = _kept(self._stock.tls, new.tls, ca, lambda: TlsContext(ca))
        return (endpoint.id, about, pool, ca), lambda: Transport(origin, pool, tls, self._clock, about[1])

    def _health(self, key: CandidateKey, endpoint: EndpointSettings, settings: Settings) -> Callable[[], Health]:
        owned = endpoint.auth.type != _PASSTHROUGH
        return lambda: Health(key, Policy.of(settings.health), self._clock, self._events, owned=owned)


def _kept(old: Mapping[Hashable, _V], new: dict[Hashable, _V], key: Hashable, make: Callable[[], _V]) -> _V:
    """What the old configuration has under this key, else a new one; either way the new configuration has it now."""
    if key not in new:
        new[key] = old[key] if key in old else make()
    return new[key]


def _digest(settings: EndpointSettings, credential: Credential) -> str:
    """What a candidate is about, without holding its secret."""
    about = "\0".join((settings.url, settings.auth.type, credential.value or ""))
    return sha256(about.encode()).hexdigest()


def _any_well(candidates: Sequence[Candidate]) -> bool:
    views = (candidate.seen(None) for candidate in candidates)
    return any(view.unusable is None and view.state is CircuitState.CLOSED for view in views)


def _route(settings: EndpointSettings, loaded: Loaded) -> Route:
    """By which proxy it is reached."""
    proxy = loaded.proxies.get(settings.id)
    return route("env" if proxy is None else proxy.value, Origin.of(settings.url), os.environ)


def _calm(
    key: CandidateKey, index: int, settings: EndpointSettings, credential: Credential, way: Route
) -> CandidateView:
    problem = credential.problem or (way.why if isinstance(way, Unusable) else None)
    return CandidateView(
        key=key,
        name=settings.name,
        index=index,
        priority=settings.priority,
        weight=settings.weight,
        labels=frozenset(settings.labels),
        unusable=problem if settings.enabled else "disabled",
    )
