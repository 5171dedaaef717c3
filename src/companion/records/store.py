"""The store as the recorder's thread sees it: batches in, one transaction each, and a little retention between them."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from companion.records.database import Opened, open_for_writing, path_of
from companion.records.jobs import Jobs
from companion.records.retention import Retention

ENDED_WITHOUT_US: Final = "the proxy ended before this exchange did"


LearnedRow = tuple[str, str, str, str, str, float]
"""What was learned of an endpoint: about, model, repair, endpoint, said, wall time."""


class Store:
    """One writer of a store; others, in other processes too, may read and write it meanwhile. For one thread."""

    def __init__(self, path: Path, opened: Opened) -> None:
        self.path = path
        self.set_aside = opened.set_aside
        self.alone = opened.alone
        self._lock = opened.lock
        self._connection = opened.connection
        self.jobs = Jobs(opened.connection)
        self.retention = Retention(opened.connection, path, self.jobs.contents)
        self._seen = -1
        if opened.alone:
            self._tell_interrupted()

    @classmethod
    def open(cls, url: str, folder: Path) -> Self:
        """Open or create it. Raises StoreError, OSError or sqlite3.Error when that cannot be done."""
        path = path_of(url, folder)
        return cls(path, open_for_writing(path))

    def write(self, batch: Sequence[Any], offset: float) -> None:
        """All of the batch or, with a sqlite3.Error, nothing of it."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._notice_others()
            self.jobs.apply(batch, offset)
            self._connection.execute("COMMIT")
        except BaseException:
            self.jobs.forget()
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def learned(self) -> list[LearnedRow]:
        """Oldest first."""
        return self._connection.execute(
            "SELECT about, model, repair, endpoint, said, at FROM learned ORDER BY at"
        ).fetchall()

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        os.close(self._lock)

    def _notice_others(self) -> None:
        """What we know of pieces may have been deleted by another connection."""
        seen = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if seen != self._seen:
            self._seen = seen
            self.jobs.contents.forget()

    def _tell_interrupted(self) -> None:
        """Nobody else has the store open, so what is under way in it is not."""
        self._connection.execute(
            "UPDATE exchanges SET outcome = 'truncated', note = ? WHERE outcome IS NULL", (ENDED_WITHOUT_US,)
        )
