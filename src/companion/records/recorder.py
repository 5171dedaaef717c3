"""Hears the news on the event loop and queues them for the thread that writes. Nothing else is done on the loop.

The queue is bounded. When the thread cannot bear what waits in it, bodies go first: above BODIES bytes, or while the
store cannot be written, news come without them, and the record says how large they were. Rows are kept until ROWS news
wait, which takes a store that could not be written for minutes; only then are they lost, and counted.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import structlog

from companion.clock import Clock
from companion.config.models import RecordsSettings
from companion.events import (
    AttemptEnded,
    AttemptStarted,
    Events,
    ExchangePlanned,
    ExchangeSettled,
    ExchangeStarted,
    RepairLearned,
)
from companion.records.mask import Mask, encoded
from companion.records.store import LearnedRow
from companion.records.tape import Tape, TapePart
from companion.records.worker import Orders, Worker, without

BODIES: Final = 64 * 1024 * 1024
ROWS: Final = 50_000
_LITTLE: Final = BODIES // 2

_log = structlog.get_logger("companion.records")


def _unheard(_rows: list[LearnedRow]) -> None:
    """Nobody wants to know what was learned."""


@dataclass(frozen=True, slots=True)
class RecorderStats:
    """How the recorder is doing. Counts are since the start; `failing` says why nothing can be written now."""

    queued: int
    queued_bytes: int
    written: int
    bodies_dropped: int
    rows_lost: int
    failing: str | None
    set_aside: str | None


class Recorder:
    """Records into `settings.store`, a path from `folder`. `secrets` are asked for at the start and by `apply`.

    `learned` is called in the recorder's thread, with what the store knew of endpoints when it was opened.
    """

    def __init__(
        self,
        settings: RecordsSettings,
        folder: Path,
        events: Events,
        clock: Clock,
        secrets: Callable[[], Collection[str]],
        learned: Callable[[list[LearnedRow]], None] = _unheard,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._events = events
        self._clock = clock
        self._secrets = secrets
        self._learned = learned
        self._orders = Orders(settings, Mask())
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._worker: Worker | None = None
        self._unsubscribe: list[Callable[[], None]] = []
        self._given = 0
        self._bodies_dropped = 0
        self._rows_lost = 0
        self._dropping = False

    def start(self) -> None:
        """Begin to record; to be called when the server listens, because the thread has a file to open."""
        self.apply(self._settings)
        if self._settings.store is None:
            return
        subscribe = self._events.subscribe
        self._unsubscribe = [
            subscribe(ExchangeStarted, lambda event: self._put(event, len(event.body))),
            subscribe(AttemptStarted, lambda event: self._put(event, sum(map(len, event.body)))),
            *(subscribe(kind, self._put) for kind in (ExchangePlanned, AttemptEnded, ExchangeSettled, RepairLearned)),
        ]
        self._worker = Worker(
            self._queue, self._folder, self._clock, lambda: self._orders, self._settings.store, self._learned
        )
        self._worker.start()

    def apply(self, settings: RecordsSettings) -> None:
        """New settings are in force, but for `store`, which is taken at the next start."""
        self._settings = settings
        self._orders = Orders(settings, Mask(encoded(self._secrets()), settings.redact))

    def tape(self, exchange: str, attempt: int | None) -> Tape | None:
        """What takes the answer of one try or, with None, what the client gets. None when bodies are not kept."""
        if self._worker is None or self._settings.bodies == "none":
            return None
        return Tape(exchange, attempt or 0, self._taped, self._clock.monotonic)

    @property
    def stats(self) -> RecorderStats:
        worker = self._worker
        return RecorderStats(
            queued=self._queue.qsize(),
            queued_bytes=self._queued_bytes(),
            written=worker.written if worker else 0,
            bodies_dropped=self._bodies_dropped,
            rows_lost=self._rows_lost,
            failing=worker.failing if worker else None,
            set_aside=worker.set_aside if worker else None,
        )

    def close(self, seconds: float = 5.0) -> None:
        """Hear nothing more, write what is queued, for at most that long, and end."""
        for end in self._unsubscribe:
            end()
        self._unsubscribe = []
        if self._worker is not None:
            self._worker.close(seconds)
            self._worker = None

    def _taped(self, part: TapePart) -> None:
        self._put(part, part.size)

    def _put(self, event: Any, size: int = 0) -> None:
        worker = self._worker
        if worker is None:
            return
        if self._queue.qsize() >= ROWS:
            self._rows_lost += 1
            return
        if size and self._overloaded(worker, size):
            event = without(event)
            self._bodies_dropped += 1
        else:
            self._given += size
        self._queue.put(event)

    def _queued_bytes(self) -> int:
        return self._given - (self._worker.taken if self._worker else self._given)

    def _overloaded(self, worker: Worker, size: int) -> bool:
        """Whether a body of this size had better be dropped. Says so in the log when that begins and ends."""
        queued = self._queued_bytes()
        dropping = worker.failing is not None or queued + size > (_LITTLE if self._dropping else BODIES)
        if dropping is not self._dropping:
            self._dropping = dropping
            if dropping:
                _log.warning("records_drop_bodies", queued=queued, failing=worker.failing)
            else:
                _log.info("records_keep_bodies", dropped=self._bodies_dropped)
        return dropping
