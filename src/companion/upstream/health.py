"""One candidate's health: its circuits, its rate-limit clocks, and what a fault does to which of them.

A candidate has one circuit for hard faults and one for its credential, and a circuit for each model that a fault has
named: an upstream may be short of one model and have plenty of another. FAULTS says what a fault does; nothing here
knows one kind from another.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from companion.clock import Clock
from companion.errors import FAULTS, Fault, OnCircuit
from companion.events import CircuitChanged, Events
from companion.upstream.circuit import CALM, CREDENTIAL, Changed, Circuit, Policy
from companion.upstream.limits import RateClock
from companion.upstream.reasons import RATE_LIMITED, Reason
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


class Health:
    """Lives as long as the endpoint's id, url and this credential's value stay what they are.

    `key` may change when credentials change places. `live` is False once the candidate was removed: tries in flight
    still settle here, and nobody hears of it. While `uneasy` is False there is nothing to be seen, whatever the model.
    A credential that is not `owned` is the client's: what its account meets (refused, unpaid, rate limited) is between
    client and upstream, and other clients have other accounts.
    """

    def __init__(self, key: CandidateKey, policy: Policy, clock: Clock, events: Events, *, owned: bool = True) -> None:
        self.key = key
        self.live = True
        self.uneasy = False
        self._owned = owned
        self._policy = policy
        self._clock = clock
        self._events = events
        self._whole = _Scope(Circuit(clock, policy, self._teller("endpoint")), RateClock(clock))
        self._credential = Circuit(clock, CREDENTIAL, self._teller("credential"))
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
        if effect is OnCircuit.CREDENTIAL:
            self._credential.failed(began, fault.kind, fault.retry_after)
        elif effect is not OnCircuit.NOTHING:
            scope = self._whole if fault.model is None else self._scope_of(model or fault.model)
            if effect is OnCircuit.WAIT:
                scope.clock.hit(began, fault.retry_after)
                self.uneasy = True
            else:
                scope.circuit.failed(began, fault.kind, fault.retry_after)

    def _calm(self) -> bool:
        scopes = (self._whole, *self._models.values())
        circuits = (self._credential, *(scope.circuit for scope in scopes))
        return all(circuit.look() is CALM for circuit in circuits) and all(
            scope.clock.until is None for scope in scopes
        )

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
            self._models[name] = _Scope(
                Circuit(self._clock, self._policy, self._teller("model", name)), RateClock(self._clock)
            )
            if len(self._models) > MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(name)
        return self._models[name]

    def _teller(self, scope: str, model: str | None = None) -> Changed:
        def tell(before: CircuitState, after: CircuitState, reason: Reason, until: float | None) -> None:
            self.uneasy = True
            if self.live:
                now, key = self._clock.monotonic(), self.key
                self._events.publish(
                    CircuitChanged(now, key.endpoint, key.credential, scope, model, before, after, reason.text(), until)
                )

        return tell
