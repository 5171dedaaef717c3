"""Why a candidate stands as it does: a code with its parameters, so that whoever shows it can use his own words.

`text` are ours: what plans, logs and error messages say.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

Parameter = str | int | float | dict[str, int]


class ReasonCode(StrEnum):
    """What there is to say about a candidate; the parameters of each are those in its text."""

    FAULTS_IN_A_ROW = "faults_in_a_row"
    SHARE_FAILED = "share_failed"
    FAILED_IN_HALF_OPEN = "failed_in_half_open"
    FAILED_AFTER_PROBE = "failed_after_probe"
    HALF_OPEN = "half_open"
    UNDER_WAY = "under_way"
    AWAITS_PROBE = "awaits_probe"
    NO_PROBE_PROVES = "no_probe_proves"
    RAMP = "ramp"
    RATE_LIMITED = "rate_limited"
    RECOVERED = "recovered"
    RESET = "reset"
    DISABLED = "disabled"
    UNRESOLVED = "unresolved"
    # What a plan has to say besides.
    PRIORITY = "priority"
    FORCED = "forced"
    STATE = "state"
    SHUNNED = "shunned"
    LABELS_FIT = "labels_fit"
    LABELS_UNIVERSAL = "labels_universal"
    LABELS_ONLY = "labels_only"
    LABELS_LACKING = "labels_lacking"


_TEXTS: Final[Mapping[ReasonCode, str]] = {
    ReasonCode.FAULTS_IN_A_ROW: "open: {faults}",
    ReasonCode.SHARE_FAILED: "open: {failed} of {total} failed",
    ReasonCode.FAILED_IN_HALF_OPEN: "open: 1 x {fault} in half-open",
    ReasonCode.FAILED_AFTER_PROBE: "open: 1 x {fault} after probes had closed it",
    ReasonCode.HALF_OPEN: "half-open: {successes} of {needed} successes",
    ReasonCode.UNDER_WAY: "half-open: 1 try under way",
    ReasonCode.AWAITS_PROBE: "half-open: waits for a probe",
    ReasonCode.NO_PROBE_PROVES: "half-open: {successes} of {needed} successes, no probe can prove it",
    ReasonCode.RAMP: "ramp: {percent}%",
    ReasonCode.RATE_LIMITED: "rate limited",
    ReasonCode.RECOVERED: "closed: {successes} successes",
    ReasonCode.RESET: "reset",
    ReasonCode.DISABLED: "disabled",
    ReasonCode.UNRESOLVED: "{problem}",
    ReasonCode.PRIORITY: "priority {priority}",
    ReasonCode.FORCED: "forced",
    ReasonCode.STATE: "{state}",
    ReasonCode.SHUNNED: "shunned: cut this session off",
    ReasonCode.LABELS_FIT: "labels: has {labels}",
    ReasonCode.LABELS_UNIVERSAL: "labels: universal",
    ReasonCode.LABELS_ONLY: "labels: only for {labels}",
    ReasonCode.LABELS_LACKING: "labels: lacks {labels}",
}


class Reason(msgspec.Struct, frozen=True):
    """`scope` is what it is said of: `endpoint`, `credential` or `model`. `faults` maps kinds of fault to numbers."""

    code: ReasonCode
    parameters: dict[str, Parameter] = {}
    scope: str = "endpoint"

    def of(self, scope: str) -> "Reason":
        """The same, said of another scope."""
        return self if scope == self.scope else Reason(self.code, self.parameters, scope)

    def text(self) -> str:
        """In a few English words, such as `credential open: 1 x unauthorized`."""
        said = _TEXTS[self.code].format(**{name: _word(value) for name, value in self.parameters.items()})
        return said if self.scope == "endpoint" else f"{self.scope} {said}"


def _word(value: Parameter) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} x {kind}" for kind, count in value.items())
    return str(value)


RATE_LIMITED: Final = Reason(ReasonCode.RATE_LIMITED)
RESET: Final = Reason(ReasonCode.RESET)
DISABLED: Final = Reason(ReasonCode.DISABLED)


def unusable(problem: str) -> Reason:
    """Why nothing can be tried at all, as views say it."""
    return DISABLED if problem == "disabled" else Reason(ReasonCode.UNRESOLVED, {"problem": problem})
