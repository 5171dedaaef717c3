"""The plan: who is asked, in which order, and why. A pure function that accounts for every candidate, in or out.

Whoever is ready comes first. Those whom a circuit refuses come after all of them and are tried only when nobody else
answered ("forced"): an open circuit is a guess from the past, and an answer now beats a guess. Among the forced the
order stays the user's own: deadlines are jittered guesses too, and a user who reads the plan finds one order in it, not
two. A running rate-limit clock is no guess but the upstream's word: it is out until its time.
"""

from dataclasses import dataclass, field

import msgspec

from companion.upstream.reasons import RATE_LIMITED, Reason, ReasonCode, unusable
from companion.upstream.views import CandidateView


class Entry(msgspec.Struct, frozen=True):
    """One candidate's place in a plan. `waiting`: nothing but a rate-limit clock keeps it out, until `view.until`."""

    view: CandidateView
    why: tuple[Reason, ...]
    chosen: bool
    forced: bool = False
    waiting: bool = False

    @property
    def reason(self) -> str:
        """`why`, in English."""
        return ", ".join(each.text() for each in self.why)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every candidate: the chosen ones in the order they will be tried, then those left out, in the file's order."""

    entries: tuple[Entry, ...]
    chosen: tuple[Entry, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chosen", tuple(entry for entry in self.entries if entry.chosen))

    @property
    def single(self) -> bool:
        """All that may be tried is one endpoint."""
        return len({entry.view.key.endpoint for entry in self.chosen}) == 1

    @property
    def waiting(self) -> tuple[Entry, ...]:
        """Those that would be tried if no rate-limit clock ran."""
        return tuple(entry for entry in self.entries if entry.waiting)

    @property
    def recovery(self) -> float | None:
        """When the first of the waiting ones is back (monotonic seconds); None when nobody waits."""
        return min((entry.view.until for entry in self.waiting if entry.view.until is not None), default=None)


class Planner:
    """Plans; while nothing has changed, which is most of the time, the last plan is given again."""

    def __init__(self) -> None:
        self._views: tuple[CandidateView, ...] = ()
        self._last = Plan(())

    def __call__(self, views: tuple[CandidateView, ...], labels: frozenset[str], shunned: frozenset[str]) -> Plan:
        if labels or shunned:
            return plan(views, labels, shunned)
        if views is not self._views:
            self._views, self._last = views, plan(views, labels, shunned)
        return self._last


def plan(views: tuple[CandidateView, ...], labels: frozenset[str], shunned: frozenset[str]) -> Plan:
    """Order `views` for a request with `labels`; `shunned` are endpoint ids to ask last among equals in readiness."""
    entries = [_entry(view, labels, shunned) for view in views]
    chosen = sorted((entry for entry in entries if entry.chosen), key=lambda entry: _order(entry, shunned))
    left_out = sorted((entry for entry in entries if not entry.chosen), key=lambda entry: _file_order(entry.view))
    return Plan((*chosen, *left_out))


def _entry(view: CandidateView, labels: frozenset[str], shunned: frozenset[str]) -> Entry:
    if view.unusable is not None:
        return Entry(view, (unusable(view.unusable),), chosen=False)
    if view.labels and not labels:
        return Entry(view, (_labelled(ReasonCode.LABELS_ONLY, view.labels),), chosen=False)
    if view.labels and not labels <= view.labels:
        return Entry(view, (_labelled(ReasonCode.LABELS_LACKING, labels - view.labels),), chosen=False)
    if view.limited:
        return Entry(view, (view.reason or RATE_LIMITED,), chosen=False, waiting=True)
    if not view.ready:
        told = view.reason or Reason(ReasonCode.STATE, {"state": str(view.state)})
        return Entry(view, (Reason(ReasonCode.FORCED), told), chosen=True, forced=True)
    return Entry(view, _in_favour(view, labels, shunned), chosen=True)


def _in_favour(view: CandidateView, labels: frozenset[str], shunned: frozenset[str]) -> tuple[Reason, ...]:
    reasons = [Reason(ReasonCode.PRIORITY, {"priority": view.priority})]
    if labels:
        fits = _labelled(ReasonCode.LABELS_FIT, labels)
        reasons.insert(0, fits if view.labels else Reason(ReasonCode.LABELS_UNIVERSAL))
    if view.key.endpoint in shunned:
        reasons.append(Reason(ReasonCode.SHUNNED))
    if view.reason is not None:
        reasons.append(view.reason)
    return tuple(reasons)


def _labelled(code: ReasonCode, labels: frozenset[str]) -> Reason:
    return Reason(code, {"labels": ", ".join(sorted(labels))})


def _order(entry: Entry, shunned: frozenset[str]) -> tuple[bool, bool, bool, int, float, int, int]:
    view = entry.view
    # A request without labels sees universal endpoints only, so that having labels means having the right ones.
    universal = not view.labels
    weight = view.weight * view.ramp
    return entry.forced, view.key.endpoint in shunned, universal, view.priority, -weight, *_file_order(view)


def _file_order(view: CandidateView) -> tuple[int, int]:
    return view.index, view.key.credential
