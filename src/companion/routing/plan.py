"""The plan: who is asked, in which order, and why. A pure function that accounts for every candidate, in or out.

Whoever is ready comes first. Those whom a circuit refuses come after all of them and are tried only when nobody else
answered ("forced"): an open circuit is a guess from the past, and an answer now beats a guess. Among the forced the
order stays the user's own: deadlines are jittered guesses too, and a user who reads the plan finds one order in it, not
two. A running rate-limit clock is no guess but the upstream's word: it is out until its time.
"""

from dataclasses import dataclass, field

import msgspec

from companion.upstream.views import CandidateView


class Entry(msgspec.Struct, frozen=True):
    """One candidate's place in a plan. `waiting`: nothing but a rate-limit clock keeps it out, until `view.until`."""

    view: CandidateView
    reason: str
    chosen: bool
    forced: bool = False
    waiting: bool = False


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
        return Entry(view, view.unusable, chosen=False)
    if view.labels and not labels:
        return Entry(view, f"labels: only for {_listed(view.labels)}", chosen=False)
    if view.labels and not labels <= view.labels:
        return Entry(view, f"labels: lacks {_listed(labels - view.labels)}", chosen=False)
    if view.limited:
        return Entry(view, _why(view, "rate limited"), chosen=False, waiting=True)
    if not view.ready:
        return Entry(view, f"forced, {_why(view, view.state)}", chosen=True, forced=True)
    return Entry(view, _in_favour(view, labels, shunned), chosen=True)


def _in_favour(view: CandidateView, labels: frozenset[str], shunned: frozenset[str]) -> str:
    reasons = [f"priority {view.priority}"]
    if labels:
        reasons.insert(0, f"labels: has {_listed(labels)}" if view.labels else "labels: universal")
    if view.key.endpoint in shunned:
        reasons.append("shunned: cut this session off")
    if view.reason is not None:
        reasons.append(view.reason.text())
    return ", ".join(reasons)


def _why(view: CandidateView, otherwise: str) -> str:
    return otherwise if view.reason is None else view.reason.text()


def _order(entry: Entry, shunned: frozenset[str]) -> tuple[bool, bool, bool, int, float, int, int]:
    view = entry.view
    # A request without labels sees universal endpoints only, so that having labels means having the right ones.
    universal = not view.labels
    weight = view.weight * view.ramp
    return entry.forced, view.key.endpoint in shunned, universal, view.priority, -weight, *_file_order(view)


def _file_order(view: CandidateView) -> tuple[int, int]:
    return view.index, view.key.credential


def _listed(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels))
