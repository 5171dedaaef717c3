"""A circuit: what the last tries say about the next one.

            failures in a row, or half of a window
    closed ────────────────────────────────────────> open <──────────── one failure
      ^                                                │                     │
      │ two successes                                  │ its time is over    │
      └──────────────────────────────────────────── half-open ───────────────┘

A state machine with time and dice passed in. It refuses nobody: `look` says whether a try is welcome, and the plan
makes of it what it likes. A try that comes all the same (nobody else was left) is judged like any other.

A try tells about the time since it began. What began before the last opening or closing is old news and changes no
state, or else ten requests that hang together would open a circuit, and then again when it has just recovered.

A probe is a try, too, but a cheap one proves less than an answered request: a circuit that only cheap probes have
closed is trusted again with the first live success. Until then one fault opens it, and its time goes on doubling, so
that an upstream which lists its models and answers nobody is not closed and opened all day long.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from companion.clock import Clock
from companion.config.models import HealthSettings
from companion.errors import Kind
from companion.upstream.limits import bounded, jittered
from companion.upstream.reasons import RESET, Reason, ReasonCode
from companion.upstream.views import CircuitState

PROOFS: Final = 2
RAMP: Final = 60.0
RAMP_FLOOR: Final = 0.1
WINDOW_LENGTH: Final = 256
WINDOW_ENOUGH: Final = 5
WINDOW_SHARE: Final = 0.5
CREDENTIAL_OPEN: Final = 900.0
_LEVEL_MAX: Final = 32
_CLOSED: Final = CircuitState.CLOSED


class Guard(StrEnum):
    """What may try a half-open circuit first, while others can answer.

    `no probe` is a request as well: it might have been a probe, but none would prove anything.
    """

    REQUEST = "request"
    PROBE = "probe"
    NO_PROBE = "no probe"


Changed = Callable[[CircuitState, CircuitState, Reason, float | None], None]


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens, and for how long (seconds): `open`, doubled with each failed return up to `open_max`."""

    failures: int
    window: float
    open: float
    open_max: float
    jitter: bool = True

    @classmethod
    def of(cls, health: HealthSettings) -> "Policy":
        return cls(health.failures, health.window, health.open, health.open_max)


# A refused credential is a verdict, not a symptom, so once is enough; and it has no crowd that jitter would part.
CREDENTIAL: Final = Policy(failures=1, window=60.0, open=CREDENTIAL_OPEN, open_max=CREDENTIAL_OPEN, jitter=False)


@dataclass(frozen=True, slots=True)
class Look:
    """How a circuit stands: the fields mean what they mean in CandidateView."""

    state: CircuitState = CircuitState.CLOSED
    ready: bool = True
    until: float | None = None
    reason: Reason | None = None
    ramp: float = 1.0


CALM: Final = Look()


class Circuit:
    """One circuit. `policy` may change at any time; `changed(before, after, reason, until)` hears of transitions.

    `guard` is asked about a half-open one. `kinds` are the faults that opened it. `given_up` says that a probe was no
    proof this time, one way or the other; `contradicted`, that the last live try failed where probes had succeeded.
    """

    def __init__(
        self,
        clock: Clock,
        policy: Policy,
        changed: Changed,
        guard: "Callable[[Circuit], Guard]" = lambda _: Guard.REQUEST,
    ) -> None:
        self.policy = policy
        self.kinds: frozenset[Kind] = frozenset()
        self.given_up = False
        self.contradicted = False
        self._guard = guard
        self._clock = clock
        self._changed = changed
        self._state = CircuitState.CLOSED
        self._reason: Reason | None = None
        self._since = -inf
        self._recovered = -inf
        self._until = -inf
        self._level = 0
        self._trusted = True
        self._proofs = 0
        self._holder: object | None = None
        self._asked_until = -inf
        self._streak: Counter[Kind] = Counter()
        self._window: deque[tuple[float, Kind | None]] = deque(maxlen=WINDOW_LENGTH)

    def look(self) -> Look:
        """How it stands now. Changes nothing."""
        now = self._clock.monotonic()
        if self._state is CircuitState.CLOSED:
            ramp = self._ramp(now)
            return CALM if ramp >= 1.0 else Look(reason=_ramped(ramp), ramp=ramp)
        if self._waits(now):
            return Look(CircuitState.OPEN, ready=False, until=self._until, reason=self._reason)
        if self._holder is not None:
            return Look(CircuitState.HALF_OPEN, ready=False, reason=_UNDER_WAY)
        guard = self._guard(self)
        if guard is Guard.PROBE and not self._proofs:
            return Look(CircuitState.HALF_OPEN, ready=False, reason=_AWAITS_PROBE)
        return Look(CircuitState.HALF_OPEN, reason=self._half_open_reason(guard))

    @property
    def closed(self) -> bool:
        return self._state is CircuitState.CLOSED

    @property
    def held(self) -> bool:
        """Whether a try has its permit."""
        return self._holder is not None

    @property
    def deadline(self) -> float:
        """When it may be tried (monotonic seconds); that may be long ago."""
        return self._until if self._state is CircuitState.OPEN else -inf

    def begin(self, holder: object) -> None:
        """A try begins. In half-open it takes the permit if that is free; `holder` names the try to `release`."""
        if self._state is CircuitState.OPEN and not self._waits(self._clock.monotonic()):
            self._move(CircuitState.HALF_OPEN, self._half_open_reason(Guard.REQUEST), None)
        if self._state is CircuitState.HALF_OPEN and self._holder is None:
            self._holder = holder

    def release(self, holder: object) -> None:
        """The permit is free again if `holder` has it: the try has proved itself, or is over."""
        if self._holder is holder:
            self._holder = None

    def succeeded(self, began: float, *, cheap: bool = False) -> None:
        """A try that began at `began` was answered in full. `cheap`: it was a probe that no user would call an answer.

        Of a closed circuit a cheap one proves nothing.
        """
        closed = self._state is _CLOSED
        if began < self._since or (closed and cheap):
            return
        self._streak.clear()
        self._asked_until = -inf
        self._trusted = self._trusted or not cheap
        self.contradicted = self.contradicted and cheap
        if closed:
            self._window.append((self._clock.monotonic(), None))
            return
        self._proofs += 1
        if self._proofs >= PROOFS:
            self._close()

    def failed(self, began: float, kind: Kind, retry_after: float | None = None) -> None:
        """A try that began at `began` met a hard fault. A `retry_after` (seconds) only ever makes an opening longer."""
        now = self._clock.monotonic()
        asked_until = now + bounded(retry_after)
        if self._state is CircuitState.OPEN:
            # Only the plan's last resort comes here, and bursts that began before: neither is a test, so n stays.
            self._until = max(self._until, asked_until)
            if began >= self._since:
                self._proofs = 0
                self._trusted = False
        elif began >= self._since:
            self._asked_until = max(self._asked_until, asked_until)
            if self._state is CircuitState.HALF_OPEN:
                self._reopen(now, kind, ReasonCode.FAILED_IN_HALF_OPEN)
            elif not self._trusted:
                self.contradicted = True
                self._reopen(now, kind, ReasonCode.FAILED_AFTER_PROBE)
            else:
                self._count(now, kind)

    def reset(self) -> None:
        """Closed, as if nothing had ever happened; what is under way has no say any more."""
        self._since, self._recovered, self._asked_until = self._clock.monotonic(), -inf, -inf
        self._level, self._trusted, self.contradicted = 0, True, False
        self._forget()
        if not self.closed:
            self._move(CircuitState.CLOSED, RESET, None)

    # === transitions

    def _count(self, now: float, kind: Kind) -> None:
        self._streak[kind] += 1
        self._window.append((now, kind))
        if self._streak.total() >= self.policy.failures:
            faults = {kind.value: count for kind, count in self._streak.most_common()}
            self._trip(now, Reason(ReasonCode.FAULTS_IN_A_ROW, {"faults": faults}), frozenset(self._streak))
            return
        while self._window[0][0] < now - self.policy.window:
            self._window.popleft()
        total, kinds = len(self._window), [kind for _, kind in self._window if kind is not None]
        if total >= WINDOW_ENOUGH and len(kinds) >= WINDOW_SHARE * total:
            told = Reason(ReasonCode.SHARE_FAILED, {"failed": len(kinds), "total": total})
            self._trip(now, told, frozenset(kinds))

    def _trip(self, now: float, reason: Reason, kinds: frozenset[Kind]) -> None:
        # n starts again only when the whole weight was carried: what fails on the way up has not recovered.
        self._open(now, reason, kinds, self._level + 1 if self._ramp(now) < 1.0 else 0)

    def _reopen(self, now: float, kind: Kind, code: ReasonCode) -> None:
        self._open(now, Reason(code, {"fault": kind.value}), frozenset({kind}), self._level + 1)

    def _open(self, now: float, reason: Reason, kinds: frozenset[Kind], level: int) -> None:
        self._level = min(level, _LEVEL_MAX)
        self.kinds, self.given_up, self._trusted = kinds, False, False
        seconds = min(self.policy.open * 2.0**self._level, self.policy.open_max)
        if self.policy.jitter:
            seconds = jittered(seconds, self._clock)
        self._until = max(now + seconds, self._asked_until)
        self._reason = reason
        self._since = now
        self._forget()
        self._move(CircuitState.OPEN, reason, self._until)

    def _close(self) -> None:
        self._since = self._recovered = self._clock.monotonic()
        reason = Reason(ReasonCode.RECOVERED, {"successes": self._proofs})
        self._forget()
        self._move(CircuitState.CLOSED, reason, None)

    def _forget(self) -> None:
        self._proofs = 0
        self._holder = None
        self._streak.clear()
        self._window.clear()

    def _move(self, after: CircuitState, reason: Reason, until: float | None) -> None:
        before, self._state = self._state, after
        self._changed(before, after, reason, until)

    # === what it looks like

    def _waits(self, now: float) -> bool:
        return self._state is CircuitState.OPEN and now < self._until

    def _ramp(self, now: float) -> float:
        return min(1.0, RAMP_FLOOR + (1 - RAMP_FLOOR) * (now - self._recovered) / RAMP)

    def _half_open_reason(self, guard: Guard) -> Reason:
        code = ReasonCode.NO_PROBE_PROVES if guard is Guard.NO_PROBE else ReasonCode.HALF_OPEN
        return Reason(code, {"successes": self._proofs, "needed": PROOFS})


_UNDER_WAY: Final = Reason(ReasonCode.UNDER_WAY)
_AWAITS_PROBE: Final = Reason(ReasonCode.AWAITS_PROBE)


def _ramped(share: float) -> Reason:
    return Reason(ReasonCode.RAMP, {"percent": round(100 * share)})
