"""What is too old or too much goes, the oldest first, in steps that take a moment each.

By age whole exchanges go. By size the contents of the oldest go first and rows only when nothing else is left. Freed
pages are given back to the disk a few at a time, which auto_vacuum = INCREMENTAL allows; the write-ahead log counts as
part of the size and is cut when it has grown.
"""

from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from companion.records.contents import Contents
from companion.records.database import WAL_LIMIT

STEP: Final = 0.02
"""Seconds that one step may take: so long a batch of news waits at most."""

_ROOM: Final = 2 * WAL_LIMIT
_CHUNK: Final = 16
_PAGES: Final = 256
_ROWS: Final = 200
_SLACK: Final = 256
_DAY: Final = 86_400.0
_OLD: Final = "SELECT id FROM exchanges WHERE id < ? AND (outcome IS NOT NULL OR id < ?) ORDER BY id LIMIT ?"


class Retention:
    """Deletes over the writer's connection, between its batches."""

    def __init__(self, connection: Connection, path: Path, contents: Contents) -> None:
        self._connection = connection
        self._path = path
        self._contents = contents
        self._wal = path.with_name(path.name + "-wal")
        self._page = int(self._pragma("page_size"))

    def step(self, before: float, limit: int, now: Callable[[], float]) -> bool:
        """Do a little. Exchanges from `before` this wall time are too old. Returns whether there is more to do."""
        deadline = now() + STEP
        while self._too_old(before) or self._too_much(limit):
            if now() > deadline:
                return True
        return self._give_back()

    def size(self) -> int:
        """Bytes in use, without what is free inside the file."""
        return (int(self._pragma("page_count")) - int(self._pragma("freelist_count"))) * self._page

    def _too_old(self, before: float) -> bool:
        """Some exchanges that are too old, with all that belongs to them; those under way get a day to end."""
        bounds = (oldest_kept(before), oldest_kept(before - _DAY), _CHUNK)
        found = self._connection.execute(_OLD, bounds)
        return self._delete([exchange for (exchange,) in found])

    def _too_much(self, limit: int) -> bool:
        if self.size() <= max(limit - _ROOM, limit // 2):
            return False
        found = [
            exchange
            for (exchange,) in self._connection.execute(
                "SELECT DISTINCT exchange_id FROM contents ORDER BY exchange_id LIMIT ?", (_CHUNK,)
            )
        ]
        if found:
            return self._in_transaction(lambda: self._contents.delete(found))
        return self._delete(
            [
                exchange
                for (exchange,) in self._connection.execute("SELECT id FROM exchanges ORDER BY id LIMIT ?", (_ROWS,))
            ]
        )

    def _delete(self, exchanges: list[str]) -> bool:
        if not exchanges:
            return False
        return self._in_transaction(lambda: delete_whole(self._connection, self._contents, exchanges))

    def _in_transaction(self, change: Callable[[], None]) -> bool:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            change()
        except BaseException:
            self._contents.forget()
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return True

    def _give_back(self) -> bool:
        """Free pages to the disk, and the write-ahead log cut when it has grown."""
        free = int(self._pragma("freelist_count"))
        if free > _SLACK:
            # executescript, because execute does not run a statement to its end that has rows without columns.
            self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
        grown = self._wal.exists() and self._wal.stat().st_size > WAL_LIMIT
        if grown or free > _SLACK >= free - _PAGES:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return free > _SLACK + _PAGES

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def delete_whole(connection: Connection, contents: Contents, exchanges: list[str]) -> None:
    """Rows, tries, contents and the pieces that nothing else holds. Within a transaction of the caller."""
    contents.delete(exchanges)
    connection.executemany("DELETE FROM attempts WHERE exchange_id = ?", [(each,) for each in exchanges])
    connection.executemany("DELETE FROM exchanges WHERE id = ?", [(each,) for each in exchanges])


def oldest_kept(seconds: float) -> str:
    """The smallest id that an exchange of this wall time can have: ids begin with their millisecond."""
    number, letters = max(0, int(seconds * 1000)), []
    for _ in range(10):
        number, rest = divmod(number, 32)
        letters.append("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[rest])
    return "".join(reversed(letters))
