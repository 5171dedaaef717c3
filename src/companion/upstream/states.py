"""How endpoints stand, for people and programs that look: frozen, with codes instead of sentences, ready for JSON.

Times are seconds from now (`until`) or ago (`last_success`, `last_failure`), so that nobody needs our clock.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from companion.config.models import EndpointSettings
from companion.errors import Kind
from companion.upstream.health import Health
from companion.upstream.limits import Slots
from companion.upstream.reasons import RATE_LIMITED, Reason, unusable
from companion.upstream.views import CandidateKey, CandidateView, CircuitState


class CircuitStanding(msgspec.Struct, frozen=True):
    """One circuit or clock that has something to say. `scope` is endpoint, credential or model; `limited`: a 429's."""

    scope: str
    model: str | None
    state: CircuitState
    ready: bool
    limited: bool
    until: float | None
    reason: Reason | None


class CredentialState(msgspec.Struct, frozen=True):
    """One credential of an endpoint: `number` counts from 0. The fields up to `reason` are the sum of its `circuits`.

    `circuits` lists those that are not simply closed. Counters begin when the credential was first configured.
    """

    number: int
    state: CircuitState
    ready: bool
    limited: bool
    until: float | None
    reason: Reason | None
    unusable: Reason | None
    in_flight: int
    successes: int
    failures: int
    last_success: float | None
    last_failure: float | None
    last_fault: Kind | None
    circuits: tuple[CircuitStanding, ...]


class EndpointState(msgspec.Struct, frozen=True):
    """One endpoint. `ready`: a request without a model could go there now. `slots` is limits.concurrency."""

    id: str
    name: str
    url: str
    enabled: bool
    ready: bool
    priority: int
    in_flight: int
    slots_used: int
    slots: int | None
    credentials: tuple[CredentialState, ...]


class Standing(Protocol):
    """A candidate, as far as it matters here."""

    @property
    def key(self) -> CandidateKey: ...
    @property
    def settings(self) -> EndpointSettings: ...
    @property
    def calm(self) -> CandidateView: ...
    @property
    def health(self) -> Health: ...
    @property
    def slots(self) -> Slots: ...


def state_of(candidates: Sequence[Standing], now: float) -> EndpointState:
    """The state of one endpoint from its candidates, of which there is at least one. `now` is monotonic."""
    settings, slots = candidates[0].settings, candidates[0].slots
    credentials = tuple(_credential(candidate, now) for candidate in candidates)
    return EndpointState(
        id=settings.id,
        name=settings.name,
        url=settings.shown_url,
        enabled=settings.enabled,
        ready=any(credential.ready for credential in credentials),
        priority=settings.priority,
        in_flight=sum(credential.in_flight for credential in credentials),
        slots_used=slots.used,
        slots=slots.limit,
        credentials=credentials,
    )


def _credential(candidate: Standing, now: float) -> CredentialState:
    view, tally = candidate.health.seen(candidate.calm, None), candidate.health.tally
    return CredentialState(
        number=candidate.key.credential,
        state=view.state,
        ready=view.ready and view.unusable is None,
        limited=view.limited,
        until=_left(view.until, now),
        reason=view.reason,
        unusable=_unusable(view),
        in_flight=tally.running,
        successes=tally.successes,
        failures=tally.failures,
        last_success=_ago(tally.last_success, now),
        last_failure=_ago(tally.last_failure, now),
        last_fault=tally.last_fault,
        circuits=_circuits(candidate.health, now),
    )


def _unusable(view: CandidateView) -> Reason | None:
    return None if view.unusable is None else unusable(view.unusable)


def _circuits(health: Health, now: float) -> tuple[CircuitStanding, ...]:
    standing = []
    for scope, model, look, limited in health.looks():
        if limited is not None:
            left = _left(limited, now)
            standing.append(CircuitStanding(scope, model, look.state, False, True, left, RATE_LIMITED.of(scope)))
        elif look.reason is not None:
            reason = look.reason.of(scope)
            standing.append(
                CircuitStanding(scope, model, look.state, look.ready, False, _left(look.until, now), reason)
            )
    return tuple(standing)


def _left(until: float | None, now: float) -> float | None:
    return None if until is None else round(max(0.0, until - now), 3)


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None else round(max(0.0, now - at), 3)
