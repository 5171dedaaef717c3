"""What the tests of the whole program share: a proxy that lives as in a terminal, and its store read as a file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from companion.records.contents import unpacked
from tests.support.proxy import Proxy, running

STORE = "companion.db"


@asynccontextmanager
async def living(folder: Path, *endpoints: Mapping[str, Any], **config: Any) -> AsyncIterator[Proxy]:
    """Serve with everything in the background: watcher, probes, warm connections."""
    async with running(folder, *endpoints, **config) as proxy:
        stop = asyncio.Event()
        serving = asyncio.create_task(proxy.app.run_until(stop))
        try:
            yield proxy
        finally:
            stop.set()
            await serving


async def until(happened: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for what has no event of its own."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - files and counters have no event
            await asyncio.sleep(0.01)


async def written(proxy: Proxy) -> None:
    """Wait until the recorder has written all that it was told so far."""

    def quiet() -> bool:
        stats = proxy.app.recorder.stats
        return stats.queued == 0 and stats.queued_bytes == 0 and stats.written == before

    before = -1
    while not quiet():
        before = proxy.app.recorder.stats.written
        await asyncio.sleep(0.2)


def rows(store: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, oldest first."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        return [dict(row) for row in found]


def blobs(store: Path) -> Iterator[bytes]:
    """Every blob, decompressed."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        for size, data in connection.execute("SELECT size, data FROM blobs"):
            yield unpacked(data, size)


def files(folder: Path) -> list[Path]:
    """The store's files, WAL included."""
    return [file for file in folder.iterdir() if file.name.startswith(STORE)]


def size_of(folder: Path) -> int:
    """Bytes of the store's files, WAL included."""
    found = 0
    for file in files(folder):
        try:
            found += file.stat().st_size
        except FileNotFoundError:  # SQLite takes the WAL away and makes it anew
            continue
    return found


def intact(store: Path) -> bool:
    """Whether SQLite finds nothing wrong with it."""
    with closing(sqlite3.connect(store)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",))
