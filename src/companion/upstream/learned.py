"""What was learned of upstreams: which repairs a model of theirs needs, so that the next request arrives repaired.

A fact is learned when an upstream took the repaired request, never before. It hangs on what the candidate is about
(endpoint, url and credential) and on the model that was sent. How many are kept is bounded; those go that were of use
longest ago.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from companion.clock import Clock
from companion.events import Events, RepairLearned
from companion.protocol.repairs import NAMES
from companion.protocol.repairs.record import Made

MAX_KEYS: Final = 1000
MAX_SAID: Final = 300

_Key = tuple[str, str]


class Fact(msgspec.Struct, frozen=True):
    """One repair that one model of an upstream needs: `said` is what it refused with, `since` is in epoch seconds.

    `endpoint` is the name that it had then, `model` is empty where a request names none, and `used` counts the requests
    that were repaired before they were sent, since the program runs.
    """

    about: str
    endpoint: str
    model: str
    repair: Made
    said: str
    since: float
    used: int = 0


class Row(NamedTuple):
    """A fact as it is kept; `repair` is its text, such as `max_tokens=8192`."""

    about: str
    model: str
    repair: str
    endpoint: str
    said: str
    at: float


class Learned:
    """All facts. False while there are none; then nobody need ask."""

    def __init__(self, clock: Clock, events: Events, limit: int = MAX_KEYS) -> None:
        self._clock = clock
        self._events = events
        self._limit = limit
        self._facts: OrderedDict[_Key, dict[str, Fact]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._facts)

    def of(self, about: str, model: str | None) -> tuple[Made, ...]:
        """The repairs that this model is known to need, in the order in which they were learned."""
        facts = self._facts.get((about, model or ""))
        return tuple(fact.repair for fact in facts.values()) if facts else ()

    def learn(self, about: str, endpoint: str, model: str | None, repair: Made, said: str) -> None:
        """An upstream took a request only with this repair. Of repairs with one name the latest counts."""
        facts = self._facts.setdefault((about, model or ""), {})
        before = facts.get(repair.name)
        if before is not None and before.repair == repair:
            return
        if before is not None:
            self._tell(before, forgotten=True)
        fact = Fact(about, endpoint, model or "", repair, said[:MAX_SAID], self._clock.wall())
        facts[repair.name] = fact
        self._tell(fact)
        self._trim()

    def used(self, about: str, model: str | None, repairs: Iterable[Made]) -> None:
        """These were made before a request was sent."""
        key = (about, model or "")
        facts = self._facts.get(key)
        if facts is None:
            return
        self._facts.move_to_end(key)
        for repair in repairs:
            if (fact := facts.get(repair.name)) is not None:
                facts[repair.name] = msgspec.structs.replace(fact, used=fact.used + 1)

    def forget(self, endpoint: str, model: str | None = None, repair: str | None = None) -> int:
        """Forget what was learned of an endpoint (its name or id), or only of a model, or only one repair by its name.

        Returns how many facts those were.
        """
        found = [
            fact
            for fact in self.items()
            if endpoint in {fact.endpoint, fact.about.rpartition(":")[0]}
            and model in {None, fact.model}
            and repair in {None, fact.repair.name, str(fact.repair)}
        ]
        for fact in found:
            self._drop(fact)
        return len(found)

    def unlearn(self, about: str, model: str | None, repair: str) -> None:
        """Forget one repair, by its name, of one model: the upstream wants it no more."""
        fact = self._facts.get((about, model or ""), {}).get(repair)
        if fact is not None:
            self._drop(fact)

    def items(self) -> tuple[Fact, ...]:
        """Every fact, those used last at the end."""
        return tuple(fact for facts in self._facts.values() for fact in facts.values())

    def load(self, rows: Iterable[Row]) -> None:
        """Take over facts that were kept, oldest first. What is known already, or names no repair, is left out."""
        for row in rows:
            repair = Made.of(row.repair)
            facts = self._facts.setdefault((row.about, row.model), {})
            if repair.name in NAMES:
                said = row.said[:MAX_SAID]
                facts.setdefault(repair.name, Fact(row.about, row.endpoint, row.model, repair, said, row.at))
            elif not facts:
                del self._facts[row.about, row.model]
        self._trim()

    def _drop(self, fact: Fact) -> None:
        facts = self._facts[fact.about, fact.model]
        del facts[fact.repair.name]
        if not facts:
            del self._facts[fact.about, fact.model]
        self._tell(fact, forgotten=True)

    def _trim(self) -> None:
        while len(self._facts) > self._limit:
            for fact in tuple(next(iter(self._facts.values())).values()):
                self._drop(fact)

    def _tell(self, fact: Fact, *, forgotten: bool = False) -> None:
        now = self._clock.monotonic()
        model, repair = fact.model or None, str(fact.repair)
        self._events.publish(
            RepairLearned(now, fact.endpoint, fact.about, model, repair, fact.said, forgotten=forgotten)
        )
