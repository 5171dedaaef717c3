"""Notices a change of the file within a second: `stat` every half second, which is right on every file system."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from companion.config.file import Loaded, load
from companion.errors import ConfigError

EVERY: Final = 0.5
STILL: Final = 0.05

Stamp = tuple[int, int, int] | None


class Watcher:
    """Loads the file anew when it, or a key file that it names, changes; what cannot be used is reported once."""

    def __init__(
        self, path: Path, on_change: Callable[[Loaded], None], on_refused: Callable[[ConfigError], None]
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._on_refused = on_refused
        self._keys: tuple[Path, ...] = ()
        self._seen = self._stamps()

    async def run(self) -> None:
        """Watch until cancelled. A file that is still being written is looked at again before it is judged."""
        self._keys = await asyncio.to_thread(_key_files, self._path)
        self._seen = await asyncio.to_thread(self._stamps)
        while True:
            await asyncio.sleep(EVERY)
            now = await asyncio.to_thread(self._stamps)
            if now != self._seen:
                await self._settled(now)

    async def _settled(self, before: tuple[Stamp, ...]) -> None:
        """Judge the file once it has stood still; it may be written in pieces."""
        await asyncio.sleep(STILL)
        now = await asyncio.to_thread(self._stamps)
        if now != before:
            return
        self._seen = now
        try:
            loaded = await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            self._on_refused(error)
            return
        keys = _key_files_of(loaded)
        if keys != self._keys:
            self._keys = keys
            self._seen = (now[0], *await asyncio.to_thread(lambda: tuple(map(_stamp, keys))))
        self._on_change(loaded)

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(_stamp(path) for path in (self._path, *self._keys))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _key_files(path: Path) -> tuple[Path, ...]:
    try:
        return _key_files_of(load(path))
    except ConfigError:
        return ()


def _key_files_of(loaded: Loaded) -> tuple[Path, ...]:
    references = (each.reference for credentials in loaded.credentials.values() for each in credentials)
    names = (reference.removeprefix("file:") for reference in references if reference.startswith("file:"))
    return tuple(loaded.path.parent / Path(name).expanduser() for name in names)
