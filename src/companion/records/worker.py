"""The thread that writes: gathers batches, retries what cannot be written, and lets retention do its steps meanwhile.

While the store cannot be written (no room, no permission, locked) the batch at hand is kept, without its bodies, and
tried again every second; what queues up behind it is the business of whoever fills the queue.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from companion.clock import Clock
from companion.config.models import RecordsSettings
from companion.events import AttemptStarted, ExchangeStarted
from companion.records.database import StoreError, is_damage, put_aside
from companion.records.jobs import WithoutBody
from companion.records.mask import Mask
from companion.records.store import LearnedRow, Store
from companion.records.tape import TapePart

BATCH: Final = 256
BATCH_BYTES: Final = 4 * 1024 * 1024
GATHER: Final = 0.05
RETRY: Final = 1.0
_BETWEEN_STEPS: Final = 0.2
_IDLE: Final = 60.0
# What SQLite says of one row that it does not like; anything else is about the file.
_OF_A_ROW: Final = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.IntegrityError, sqlite3.DataError)

_log = structlog.get_logger("companion.records")


class Orders(NamedTuple):
    """What holds for the next batch."""

    settings: RecordsSettings
    mask: Mask


class Worker:
    """Writes what comes out of `queue` until that gives None. `taken` counts the bytes of bodies that left it.

    `learned` is called in the thread, with what the store knows once it is open.
    """

    def __init__(
        self,
        queue: SimpleQueue[Any],
        folder: Path,
        clock: Clock,
        orders: Callable[[], Orders],
        url: str,
        learned: Callable[[list[LearnedRow]], None],
    ) -> None:
        self.taken = 0
        self.written = 0
        self.failing: str | None = None
        self.set_aside: str | None = None
        self._queue = queue
        self._folder = folder
        self._clock = clock
        self._orders = orders
        self._url = url
        self._learned = learned
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._next_step = 0.0
        self._more_to_delete = True
        self._thread = threading.Thread(target=self._work, name="companion-records", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Write what is queued, for at most so long, and end."""
        self._give_up_at = time.monotonic() + seconds
        self._stop.set()
        self._queue.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        store: Store | None = None
        batch: list[Any] = []
        more = True
        while more or batch:
            try:
                store = store or self._open()
                if not batch:
                    batch, more = self._gathered(store)
                if batch:
                    self._write(store, batch)
                    batch = []
                    self._well()
                self._retain(store)
            except (StoreError, OSError, sqlite3.Error) as error:
                self._fails(error)
                batch = [without(job) for job in batch]
                if self._stop.is_set() and not batch and self._queue.qsize() <= 1:
                    break
                if isinstance(error, sqlite3.Error) and is_damage(error) and store is not None:
                    self._begin_anew(store)
                    store = None
                    continue
                self._pause()
            except Exception:
                _log.exception("records_mistake", kind="batch")
                batch = []
                self._pause()
            if time.monotonic() > self._give_up_at:
                break
        if store is not None:
            store.close()

    def _pause(self) -> None:
        if self._stop.wait(RETRY):
            time.sleep(GATHER)

    # === the store

    def _open(self) -> Store:
        store = Store.open(self._url, self._folder)
        if store.set_aside is not None:
            self._tell_damage(store.set_aside)
        try:
            self._learned(store.learned())
        except BaseException:
            store.close()
            raise
        return store

    def _begin_anew(self, store: Store) -> None:
        """The file broke while it was open."""
        store.close()
        if store.alone:
            self._tell_damage(put_aside(store.path))

    def _tell_damage(self, where: Path) -> None:
        self.set_aside = str(where)
        _log.error("records_damaged", set_aside=self.set_aside, now="a new file was begun")

    def _fails(self, error: Exception) -> None:
        said = str(error) or type(error).__name__
        if self.failing is None:
            _log.error("records_failing", said=said)
        self.failing = said

    def _well(self) -> None:
        if self.failing is not None:
            self.failing = None
            _log.info("records_written_again")

    # === batches

    def _gathered(self, store: Store) -> tuple[list[Any], bool]:
        """The next batch, and whether more may come after it."""
        job = self._next(store)
        if job is not None:
            self._stop.wait(GATHER)
        batch: list[Any] = []
        size = 0
        while job is not None:
            batch.append(job)
            size += size_of(job)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                break
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
        self.taken += size
        return batch, job is not None

    def _next(self, store: Store) -> Any:
        """The next job; while there is none, retention does its steps."""
        while True:
            try:
                return self._queue.get(timeout=GATHER if self._more_to_delete else _IDLE)
            except Empty:
                self._step(store)

    def _write(self, store: Store, batch: list[Any]) -> None:
        settings, store.jobs.mask = self._orders()
        store.jobs.bodies = settings.bodies
        offset = self._clock.wall() - self._clock.monotonic()
        try:
            store.write(batch, offset)
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            if not isinstance(error, _OF_A_ROW):
                raise
            self._write_each(store, batch, offset)
        except Exception:
            self._write_each(store, batch, offset)
        self.written += len(batch)

    def _write_each(self, store: Store, batch: list[Any], offset: float) -> None:
        """One of them is a mistake of ours: the others need not suffer from it."""
        for job in batch:
            try:
                store.write([job], offset)
            except sqlite3.Error as error:
                if not isinstance(error, _OF_A_ROW):
                    raise
                _log.exception("records_mistake", kind=type(job).__name__)
            except Exception:
                _log.exception("records_mistake", kind=type(job).__name__)

    # === retention

    def _retain(self, store: Store) -> None:
        """A step now and then, also while there is always something to write."""
        now = time.monotonic()
        if now >= self._next_step:
            self._step(store)
            self._next_step = time.monotonic() + _BETWEEN_STEPS

    def _step(self, store: Store) -> None:
        settings = self._orders().settings
        before = self._clock.wall() - settings.keep
        self._more_to_delete = store.retention.step(before, settings.max_size, time.monotonic)


def size_of(job: Any) -> int:
    """The bytes of bodies in it."""
    if isinstance(job, ExchangeStarted):
        return len(job.body)
    if isinstance(job, AttemptStarted):
        return sum(map(len, job.body))
    return job.size if isinstance(job, TapePart) else 0


def without(job: Any) -> Any:
    """The same news without a body; its size is kept."""
    size = size_of(job)
    if not size:
        return job
    if isinstance(job, TapePart):
        return WithoutBody(TapePart(job.exchange, job.attempt, (), (), 0, job.end), size)
    return WithoutBody(msgspec.structs.replace(job, body=type(job.body)()), size)
