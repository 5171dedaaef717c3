"""Frozen views of endpoints and their health: all that routing may know of this room."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from companion.upstream.reasons import Reason


class CircuitState(StrEnum):
    """closed: in use. open: not before `until`. half-open: one try at a time may prove it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class CandidateKey(msgspec.Struct, frozen=True):
    """Names a candidate: the endpoint's immutable id, and which of its credentials (0 is the first)."""

    endpoint: str
    credential: int


@dataclass(frozen=True, slots=True)
class CandidateView:
    """What a plan is made from: one (endpoint, credential) as it stands now.

    `ready` is False while a circuit or a rate-limit clock refuses it; `until` (monotonic seconds) says until when, and
    `reason` why. `limited` is True while it is a rate-limit clock that refuses: then not even a lack of others makes it
    worth a try. `ramp` is the share of its weight, 0..1, that it has back after a recovery. `unusable` is set where
    nothing can be tried at all (disabled, secret not resolved) and says why.
    """

    key: CandidateKey
    name: str
    index: int
    priority: int
    weight: float
    labels: frozenset[str]
    state: CircuitState = CircuitState.CLOSED
    ready: bool = True
    limited: bool = False
    until: float | None = None
    reason: Reason | None = None
    ramp: float = 1.0
    unusable: str | None = None
