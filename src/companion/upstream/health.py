"""One candidate's health: its circuits, its rate-limit clocks, and what a fault does to which of them.

A candidate has one circuit for hard faults and one for its credential, and a circuit for each model that a fault has
named: an upstream may be short of one model and have plenty of another. FAULTS says what a fault does; nothing here
knows one kind from another.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final, NamedTuple

from companion.clock import Clock
from companion.errors import FAULTS, Fault, Kind, OnCircuit
from companion.events import CircuitChanged, Events
from companion.upstream.circuit import CALM, CREDENTIAL, Changed, Circuit, Guard, Look, Policy
from companion.upstream.limits import RateClock
from companion.upstream.reasons import RATE_LIMITED, RESET, Reason
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

MODELS: Final = 64
MODEL_NAME: Final = 256  # characters: names come from clients
_SCOPES: Final = ("credential", "endpoint", "model")  # as _circuits goes through them
_ACCOUNT: Final = frozenset({OnCircuit.CREDENTIAL, OnCircuit.WAIT})
_WORST: Final = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class _Scope:
    """What hard faults and 429s are counted against: the candidate as a whole, or one model of it."""

    __slots__ = ("circuit", "clock")

    def __init__(self, circuit: Circuit, clock: RateClock) -> None:
        self.circuit = circuit
        self.clock = clock


Guards = Callable[[CandidateKey, str | None, frozenset[Kind]], Guard]
"""What may try a half-open circuit first: of this candidate, or of one model of it, opened by faults of these kinds."""


class Suspect(NamedTuple):
    """What a probe might close: the circuits of a candidate as a whole (`model` is None), or of one of its models.

    Not before `due` (monotonic seconds, may be long ago), nor while a try has a permit (`busy`). `kinds` opened them.
    """

    model: str | None
    due: float
    busy: bool
    kinds: frozenset[Kind]


@dataclass(slots=True)
class Tally:
    """What was seen of live tries. Times are monotonic seconds; a failure is a fault that does something to health."""

    running: int = 0
    successes: int = 0
    failures: int = 0
    last_success: float | None = None
    last_failure: float | None = None
    last_fault: Kind | None = None
    model: str | None = None  # that was asked for last when it failed


class Health:
    """Lives as long as the endpoint's id, url and this credential's value stay what they are.

    `name` is the endpoint's; it may change, and so may `key`, when credentials change places. `live` is False once the
    candidate was removed: tries in flight still settle here, and nobody hears of it. While `uneasy` is False there is
    nothing to be seen, whatever the model. A credential that is not `owned` is the client's: what its account meets
    (refused, unpaid, rate limited) is between client and upstream, and other clients have other accounts. `guards` is
    set while there are probes.
    """

    def __init__(self, key: CandidateKey, policy: Policy, clock: Clock, events: Events, *, owned: bool = True) -> None:
        self.key = key
        self.name = key.endpoint
        self.live = True
        self.uneasy = False
        self.tally = Tally()
        self.guards: Guards | None = None
        self._owned = owned
        self._policy = policy
        self._clock = clock
        self._events = events
        self._whole = self._new_scope("endpoint", None)
        self._credential = Circuit(clock, CREDENTIAL, self._teller("credential"), self._guard_for(None))
        self._models: OrderedDict[str, _Scope] = OrderedDict()

    def follow(self, policy: Policy) -> None:
        """From now on circuits open by `policy`; those that are open keep their deadlines."""
        self._policy = policy
        for scope in (self._whole, *self._models.values()):
            scope.circuit.policy = policy

    def seen(self, calm: CandidateView, model: str | None) -> CandidateView:
        """`calm` with what is to be said about this candidate, asked for `model` (as the upstream calls it)."""
        looks = [circuit.look() for circuit in self._circuits(model)]
        limited = max(
            (until for scope in self._scopes(model) if (until := scope.clock.until) is not None), default=None
        )
        if limited is None and all(look is CALM for look in looks):
            self.uneasy = not self._calm()
            return calm
        scope, worst = max(
            zip(_SCOPES, looks, strict=False),
            key=lambda pair: (_WORST.index(pair[1].state), not pair[1].ready, pair[1].until or 0.0, -pair[1].ramp),
        )
        view = replace(
            calm,
            state=worst.state,
            ready=all(look.ready for look in looks),
            until=worst.until,
            reason=worst.reason and worst.reason.of(scope),
            ramp=min(look.ramp for look in looks),
        )
        if limited is None:
            return view
        return replace(view, ready=False, limited=True, until=limited, reason=RATE_LIMITED)

    def begin(self, holder: object, model: str | None) -> None:
        """A try begins and takes what permits there are."""
        if self.uneasy:
            for circuit in self._circuits(model):
                circuit.begin(holder)

    def release(self, holder: object, model: str | None) -> None:
        """The try's permits are free for the next one."""
        if self.uneasy:
            for circuit in self._circuits(model):
                circuit.release(holder)

    def succeeded(self, began: float, model: str | None) -> None:
        """The try was answered in full."""
        self.tally.successes += 1
        self.tally.last_success = self._clock.monotonic()
        if not (self.uneasy or self._models):
            self._whole.circuit.succeeded(began)
            self._whole.clock.succeeded(began)
            return
        for circuit in self._circuits(model):
            circuit.succeeded(began)
        for scope in self._scopes(model):
            scope.clock.succeeded(began)

    def failed(self, began: float, fault: Fault, model: str | None) -> None:
        """The try met `fault`. One that names a model speaks about the `model` that was sent, whatever it calls it."""
        effect = FAULTS[fault.kind].circuit
        if effect in _ACCOUNT and not self._owned:
            return
        if effect is not OnCircuit.NOTHING:
            self._note(fault, model)
        if effect is OnCircuit.CREDENTIAL:
            self._credential.failed(began, fault.kind, fault.retry_after)
        elif effect is not OnCircuit.NOTHING:
            scope = self._whole if fault.model is None else self._scope_of(model or fault.model)
            if effect is OnCircuit.WAIT:
                scope.clock.hit(began, fault.retry_after)
                self.uneasy = True
            else:
                scope.circuit.failed(began, fault.kind, fault.retry_after)

    def probed(self, began: float, fault: Fault | None, model: str | None, *, cheap: bool) -> bool:
        """A probe was answered, or met `fault`; whether that says anything about what it was made for.

        It speaks only about circuits that are not closed: what works for requests need not work for probes.
        """
        tested = self._tested(model)
        if fault is None:
            for circuit in tested:
                circuit.succeeded(began, cheap=cheap)
            return True
        effect = FAULTS[fault.kind].circuit
        if effect is OnCircuit.WAIT and self._owned:
            self._whole.clock.hit(began, fault.retry_after)
            self.uneasy = True
            return True
        meant = [each for each in tested if (each is self._credential) == (effect is OnCircuit.CREDENTIAL)]
        if effect not in {OnCircuit.CREDENTIAL, OnCircuit.COUNT} or not meant:
            return False
        for circuit in meant:
            circuit.failed(began, fault.kind, fault.retry_after)
        return True

    def suspects(self) -> list[Suspect]:
        """What probes might close; models only where nothing is wrong with the whole."""
        if not self.uneasy:
            return []
        models = [None] if self._tested(None) else list(self._models)
        return [found for name in models if (found := self._suspect(name)) is not None]

    def contradicted(self, model: str | None) -> bool:
        """Whether requests have failed at once where probes had succeeded."""
        return any(circuit.contradicted for circuit in self._circuits(model))

    def give_up(self, model: str | None) -> None:
        """No probe can prove that these circuits may close: until they have opened again, a request has to."""
        for circuit in self._circuits(model):
            circuit.given_up = not circuit.closed

    def reset(self) -> None:
        """Every circuit closed, no clock running, nothing remembered of what was wrong."""
        for circuit in self._all_circuits():
            circuit.reset()
        for name, scope in ((None, self._whole), *self._models.items()):
            if scope.clock.until is not None:
                scope.clock.reset()
                closed = CircuitState.CLOSED
                self._teller("endpoint" if name is None else "model", name)(closed, closed, RESET, None)
        self._models.clear()

    def looks(self) -> Iterator[tuple[str, str | None, Look, float | None]]:
        """Every circuit: its scope, its model, how it stands, and until when its rate-limit clock runs."""
        yield "endpoint", None, self._whole.circuit.look(), self._whole.clock.until
        yield "credential", None, self._credential.look(), None
        for name, scope in self._models.items():
            yield "model", name, scope.circuit.look(), scope.clock.until

    # === inside

    def _suspect(self, model: str | None) -> Suspect | None:
        tested = self._tested(model)
        if not tested or any(circuit.given_up for circuit in tested):
            return None
        clocks = (scope.clock.until for scope in self._scopes(model))
        due = max(*(circuit.deadline for circuit in tested), *(until for until in clocks if until is not None), -inf)
        return Suspect(model, due, any(circuit.held for circuit in tested), _kinds(tested))

    def _tested(self, model: str | None) -> list[Circuit]:
        """What a probe for this would be about."""
        return [circuit for circuit in self._circuits(model) if not circuit.closed]

    def _note(self, fault: Fault, model: str | None) -> None:
        self.tally.failures += 1
        self.tally.last_failure, self.tally.last_fault = self._clock.monotonic(), fault.kind
        self.tally.model = model or self.tally.model

    def _calm(self) -> bool:
        scopes = (self._whole, *self._models.values())
        return all(circuit.look() is CALM for circuit in self._all_circuits()) and all(
            scope.clock.until is None for scope in scopes
        )

    def _all_circuits(self) -> Iterator[Circuit]:
        yield self._credential
        yield self._whole.circuit
        for scope in self._models.values():
            yield scope.circuit

    def _scopes(self, model: str | None) -> Iterator[_Scope]:
        yield self._whole
        if self._models and model is not None and (scope := self._models.get(model[:MODEL_NAME])) is not None:
            yield scope

    def _circuits(self, model: str | None) -> Iterator[Circuit]:
        yield self._credential
        for scope in self._scopes(model):
            yield scope.circuit

    def _scope_of(self, model: str) -> _Scope:
        name = model[:MODEL_NAME]
        if name not in self._models:
            self._models[name] = self._new_scope("model", name)
            if len(self._models) > MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(name)
        return self._models[name]

    def _new_scope(self, scope: str, model: str | None) -> _Scope:
        circuit = Circuit(self._clock, self._policy, self._teller(scope, model), self._guard_for(model))
        return _Scope(circuit, RateClock(self._clock))

    def _guard_for(self, model: str | None) -> Callable[[Circuit], Guard]:
        def guard(_: Circuit) -> Guard:
            if self.guards is None:
                return Guard.REQUEST
            # As in `suspects`: a model waits for the whole, or else for nothing that will ever come.
            about = None if self._tested(None) else model
            tested = self._tested(about)
            if any(circuit.given_up for circuit in tested):
                return Guard.NO_PROBE
            return self.guards(self.key, about, _kinds(tested))

        return guard

    def _teller(self, scope: str, model: str | None = None) -> Changed:
        def tell(before: CircuitState, after: CircuitState, reason: Reason, until: float | None) -> None:
            self.uneasy = True
            if self.live:
                self._events.publish(
                    CircuitChanged(
                        at=self._clock.monotonic(),
                        endpoint=self.name,
                        credential=self.key.credential,
                        scope=scope,
                        model=model,
                        before=before,
                        after=after,
                        reason=reason.text(),
                        until=until,
                        code=reason.code,
                        parameters=reason.parameters,
                        id=self.key.endpoint,
                    )
                )

        return tell


def _kinds(circuits: Iterable[Circuit]) -> frozenset[Kind]:
    """The faults that opened them."""
    return frozenset[Kind]().union(*(circuit.kinds for circuit in circuits))
