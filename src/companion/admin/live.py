"""What happens, as it happens: the program's news for whoever looks on, without bodies, headers or anything secret.

It listens only while somebody looks on. Each onlooker has a queue of `QUEUE` news; who is slower than that loses the
oldest and is told how many. Who comes back with the id of the last one that it saw gets what it missed, as long as
somebody else looked on meanwhile and it was not more than `KEPT`; else it is told that it missed something.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from companion.clock import Clock
from companion.errors import Fault
from companion.events import (
    AttemptEnded,
    AttemptStarted,
    CircuitChanged,
    ConfigChanged,
    ConfigRefused,
    Events,
    ExchangePlanned,
    ExchangeSettled,
    ExchangeStarted,
    Probed,
    RepairLearned,
    Switched,
)
from companion.records.mask import Mask, encoded

QUEUE: Final = 1000
KEPT: Final = 500
SWITCHES: Final = 20

NAMES: Final[Mapping[type, str]] = {
    ExchangeStarted: "exchange_started",
    ExchangePlanned: "exchange_planned",
    AttemptStarted: "attempt_started",
    AttemptEnded: "attempt_ended",
    Switched: "switched",
    ExchangeSettled: "exchange_settled",
    CircuitChanged: "circuit_changed",
    Probed: "probed",
    RepairLearned: "repair_learned",
    ConfigChanged: "config_changed",
    ConfigRefused: "config_refused",
}
MISSED: Final = "missed"

# Whoever publishes a new field decides here whether it may be seen: all others stay inside.
SHOWN: Final[Mapping[type, tuple[str, ...]]] = {
    ExchangeStarted: (
        *("id", "method", "path", "model", "stream", "session", "client", "agent", "parent_agent", "labels"),
    ),
    ExchangePlanned: ("exchange", "considered"),
    AttemptStarted: ("exchange", "number", "endpoint", "credential", "model", "repairs"),
    AttemptEnded: (
        *("exchange", "number", "endpoint", "credential", "status", "fault", "first_byte", "first_content"),
        *("timings", "violations", "request_id"),
    ),
    Switched: ("exchange", "from_endpoint", "to_endpoint", "fault"),
    ExchangeSettled: (
        *("id", "method", "path", "outcome", "status", "endpoint", "credential", "attempts", "model", "model_sent"),
        *("input_tokens", "output_tokens", "cache_read_tokens", "cache_5m_tokens", "cache_1h_tokens"),
        *("reasoning_tokens", "stop_reason", "violations", "repairs", "fault", "session", "client"),
        *("first_byte", "first_content"),
    ),
    CircuitChanged: (
        *("id", "endpoint", "credential", "scope", "model", "before", "after", "reason", "code", "parameters"),
    ),
    Probed: ("endpoint", "credential", "how", "seconds", "status", "fault"),
    RepairLearned: ("endpoint", "model", "repair", "said", "forgotten"),
    ConfigChanged: ("path",),
    ConfigRefused: ("path", "problems"),
}
_INSTANTS: Final = ("started", "until")

E = TypeVar("E")


class News(msgspec.Struct, frozen=True):
    """One piece of news. `number` goes up by one with each; `data` is JSON."""

    number: int
    name: str
    data: bytes


class Onlooker:
    """One who looks on at news of certain names."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._queue: deque[News] = deque()
        self._lost: int | None = 0
        self._wake = asyncio.Event()

    def tell(self, news: News) -> None:
        """Never waits: when the queue is full, the oldest goes."""
        if news.name not in self._names:
            return
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self._lost = None if self._lost is None else self._lost + 1
        self._queue.append(news)
        self._wake.set()

    def missed(self) -> None:
        """It has missed something, and nobody knows how much."""
        self._lost = None
        self._wake.set()

    async def next(self, patience: float) -> tuple[int | None, list[News]]:
        """How many were lost (None: nobody knows), and what is new: nothing if all is quiet for `patience` seconds."""
        if not self._queue and self._lost == 0:
            try:
                await asyncio.wait_for(self._wake.wait(), patience)
            except TimeoutError:
                return 0, []
        self._wake.clear()
        lost, news = self._lost, list(self._queue)
        self._lost = 0
        self._queue.clear()
        return lost, news


class Live:
    """Made with the program. `switches` are the last ones, newest first, whether or not anybody looks on.

    `secrets` are masked in what upstreams said.
    """

    def __init__(self, events: Events, clock: Clock, secrets: Callable[[], frozenset[str]] = frozenset) -> None:
        self.switches: deque[dict[str, Any]] = deque(maxlen=SWITCHES)
        self.epoch = f"{int(clock.wall() * 1000):x}"
        self._events = events
        self._clock = clock
        self._secrets = secrets
        self._onlookers: set[Onlooker] = set()
        self._ends: list[Callable[[], None]] = []
        self._kept: deque[News] = deque(maxlen=KEPT)
        self._number = 0
        events.subscribe(Switched, lambda event: self.switches.appendleft(msgspec.to_builtins(self._shown(event))))

    def attach(self, names: Iterable[str], seen: str | None = None) -> Onlooker:
        """Begin to look on. `seen` is the id of the last news that this one has got (see `id_of`)."""
        onlooker = Onlooker(frozenset(names) or frozenset(NAMES.values()))
        if not self._onlookers:
            self._listen()
        self._onlookers.add(onlooker)
        self._catch_up(onlooker, seen)
        return onlooker

    def detach(self, onlooker: Onlooker) -> None:
        """It looks on no more."""
        self._onlookers.discard(onlooker)
        if not self._onlookers:
            for end in self._ends:
                end()
            self._ends.clear()
            self._kept.clear()
            self._number += 1  # what nobody heard leaves a gap, by which who comes back knows

    def id_of(self, news: News) -> str:
        """What `attach` takes as `seen`; it holds for one run of the program."""
        return f"{self.epoch}-{news.number}"

    def _listen(self) -> None:
        for kind in NAMES:
            self._ends.append(self._events.subscribe(kind, self._heard))

    def _heard(self, event: Any) -> None:
        self._number += 1
        news = News(self._number, NAMES[type(event)], msgspec.json.encode(self._shown(event)))
        self._kept.append(news)
        for onlooker in self._onlookers:
            onlooker.tell(news)

    def _catch_up(self, onlooker: Onlooker, seen: str | None) -> None:
        if seen is None:
            return
        epoch, _, number = seen.rpartition("-")
        since = int(number) if epoch == self.epoch and number.isdecimal() else -1
        oldest = self._kept[0].number if self._kept else self._number + 1
        if since < oldest - 1:
            onlooker.missed()
        for news in self._kept:
            if news.number > since:
                onlooker.tell(news)

    def _shown(self, event: Any) -> dict[str, Any]:
        shown = {name: self._plain(getattr(event, name)) for name in SHOWN[type(event)]}
        to_wall = self._clock.wall() - self._clock.monotonic()
        shown["at"] = event.at + to_wall
        for name in _INSTANTS:
            if (instant := getattr(event, name, None)) is not None:
                shown[name] = instant + to_wall
        return shown

    def _plain(self, value: Any) -> Any:
        """A fault without the upstream's answer, which may hold anything."""
        if not isinstance(value, Fault):
            return value
        return {
            "party": value.party,
            "phase": value.phase,
            "kind": value.kind,
            "message": Mask(encoded(self._secrets())).text(value.message),
            "status": value.status,
            "error_type": value.error_type,
            "retry_after": value.retry_after,
            "model": value.model,
        }
