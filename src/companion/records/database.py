"""One SQLite file: found, created for its owner alone, checked, set aside when it is damaged, brought up to date.

Every function here may take long: they are for threads.
"""

import os
import sqlite3
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple
from urllib.parse import quote

from companion.errors import CompanionError
from companion.net.posix import only_holder, open_private

VERSION: Final = "0001"
"""Of the tables; the newest migration has this name."""

CHECKED_FOR: Final = 2.0
"""Seconds that the check at the start may take; a store too large for that is checked as far as it gets."""

WAL_LIMIT: Final = 4 * 1024 * 1024
BUSY: Final = 5.0
"""Seconds to wait for another process that is writing."""

_PROGRESS: Final = 20_000
_FILES: Final = ("", "-wal", "-shm")
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StoreError(CompanionError):
    """The store cannot be used; the text says why."""


class Damaged(StoreError):
    """What the file holds is no store any more."""


class Opened(NamedTuple):
    """A connection that writes; where the damaged file is now that stood in its place; what keeps others informed."""

    connection: Connection
    set_aside: Path | None
    alone: bool
    lock: int


def path_of(url: str, folder: Path) -> Path:
    """The file of a `sqlite:///` URL; a relative path starts at `folder`."""
    scheme, found, path = url.partition(":///")
    if scheme != "sqlite" or not found or not path:
        raise StoreError(f"{url} is not sqlite:/// and a path")
    return folder / path


def open_for_writing(path: Path) -> Opened:
    """Open or create it. Raises StoreError, OSError or sqlite3.Error when that cannot be done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, alone = only_holder(path.with_name(path.name + ".lock"))
    set_aside = None
    try:
        try:
            connection = _opened(path)
        except Damaged:
            if not alone:
                raise
            set_aside = put_aside(path)
            connection = _opened(path)
    except BaseException:
        os.close(lock)
        raise
    return Opened(connection, set_aside, alone, lock)


def open_for_reading(path: Path) -> Connection:
    """Open what is there; nothing can be changed over this connection. Raises StoreError when it cannot be read."""
    if not path.exists():
        raise StoreError(f"there are no records at {path} yet")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY, check_same_thread=False)
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"the records at {path} cannot be read: {error}") from None
    if found != (VERSION,):
        connection.close()
        raise StoreError(
            f"the records at {path} are of another version of this program; it changes them when it starts"
        )
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether this error says that the file is broken, and not that it is full, locked or read-only."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED


def put_aside(path: Path) -> Path:
    """Move the file out of the way, with what belongs to it. Returns where it is now."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for ending in _FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(path.with_name(f"{path.name}.damaged-{stamp}{ending}"))
    return path.with_name(f"{path.name}.damaged-{stamp}")


def _opened(path: Path) -> Connection:
    fresh = not path.exists()
    os.close(open_private(path))
    if not fresh:
        with suppress(OSError):
            path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    try:
        # Before the first page is written, or it has no effect.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
        _check(connection)
        _bring_up_to_date(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if is_damage(error):
            raise Damaged(str(error)) from None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: Connection) -> None:
    deadline = time.monotonic() + CHECKED_FOR
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found is not None and found[0] != "ok":
        raise Damaged(str(found[0]))


def _bring_up_to_date(connection: Connection, path: Path) -> None:
    """Make the tables, or change those of an older version."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for statement in (files("companion.records") / "schema.sql").read_text("utf-8").split(";\n"):
                connection.execute(statement)
            connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (VERSION,))
        elif "alembic_version" not in tables:
            raise StoreError(f"{path} is the database of another program")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None or found[0] != VERSION:
        from companion.records.migrate import upgrade  # noqa: PLC0415 - SQLAlchemy and Alembic, for an old store only

        upgrade(path)
