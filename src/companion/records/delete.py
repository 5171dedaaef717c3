"""Records that a person wants gone: the rows, what belongs to them, and every piece that nothing else holds.

Works beside a proxy that records: in small transactions, so that it never waits long. What is under way stays.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from companion.records.contents import Contents
from companion.records.database import StoreError
from companion.records.retention import delete_whole, oldest_kept

_CHUNK: Final = 50
_BUSY: Final = 10.0


def delete_ids(path: Path, ids: Sequence[str]) -> int:
    """Delete these; returns how many there were."""
    return _delete(path, (list(ids[start : start + _CHUNK]) for start in range(0, len(ids), _CHUNK)))


def delete_older(path: Path, before: float | None = None) -> int:
    """Delete all that began before this wall time, or simply all; returns how many there were."""
    bound = "~" if before is None else oldest_kept(before)
    with closing(_connected(path)) as connection:
        asked = "SELECT id FROM exchanges WHERE id > ? AND id < ? ORDER BY id LIMIT ?"

        def chunks() -> Iterator[list[str]]:
            last = ""
            while found := [id for (id,) in connection.execute(asked, (last, bound, _CHUNK))]:
                last = found[-1]
                yield found

        return _delete(path, chunks())


def _delete(path: Path, chunks: Iterator[list[str]]) -> int:
    deleted = 0
    with closing(_connected(path)) as connection:
        contents = Contents(connection)
        for chunk in chunks:
            deleted += _delete_some(connection, contents, chunk)
        connection.executescript("PRAGMA incremental_vacuum")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return deleted


def _delete_some(connection: sqlite3.Connection, contents: Contents, ids: list[str]) -> int:
    connection.execute("BEGIN IMMEDIATE")
    try:
        asked = "SELECT id FROM exchanges WHERE id = ? AND outcome IS NOT NULL"
        there = [id for id in ids if connection.execute(asked, (id,)).fetchone() is not None]
        delete_whole(connection, contents, there)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return len(there)


def _connected(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreError(f"there are no records at {path} yet")
    return sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
