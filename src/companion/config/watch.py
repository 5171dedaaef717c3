"""Notices a change of the configuration, and of the files its secrets are in, within a second.

A file that is being written is looked at again until it rests: half a file may well be a configuration, and an empty
one certainly is. What cannot be used is told once, and the settings before it stay.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from companion.config.file import Loaded, load
from companion.config.stamps import Stamp, stamps
from companion.errors import ConfigError, Problem

_log = structlog.get_logger("companion.config")

EVERY: Final = 0.5

# In units of `EVERY`: a file at rest is as it was so long ago, and one that is gone or empty should be so for longer,
# because editors write in many ways. The last is how long a file may be restless.
_REST: Final = 0.2
_REST_EMPTY: Final = 2.0
_PATIENCE: Final = 20.0


class Watcher:
    """Calls `on_change` with what the file has become, or `on_refused` with why it cannot be used.

    `since` is what is in force already; without it, what is there when the watcher is made counts as known. `every` is
    how often it looks, in seconds.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[Loaded], None],
        on_refused: Callable[[ConfigError], None],
        *,
        since: Loaded | None = None,
        every: float = EVERY,
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._on_refused = on_refused
        self._every = every
        self._refused: tuple[Problem, ...] = ()
        self._known: Mapping[Path, Stamp | None] = stamps((path,)) if since is None else since.seen

    async def run(self) -> None:
        """Watch until cancelled. All reading is done in threads."""
        while True:
            await asyncio.sleep(self._every)
            now = await asyncio.to_thread(stamps, self._known)
            if now != self._known:
                self._known = await self._at_rest(now)
                await self._judge()

    def wrote(self, loaded: Loaded) -> None:
        """The file is as `loaded` tells because we wrote it, and in force: that is no news, but what comes after it.

        For the event loop; what was read of the file before is of no account any more.
        """
        self._known, self._refused = loaded.seen, ()

    async def _at_rest(self, now: Mapping[Path, Stamp | None]) -> Mapping[Path, Stamp | None]:
        waited = 0.0
        while waited < _PATIENCE:
            stamp = now[self._path]
            rest = _REST if stamp is not None and stamp[1] > 0 else _REST_EMPTY
            await asyncio.sleep(rest * self._every)
            waited += rest
            then = await asyncio.to_thread(stamps, now)
            if then == now:
                break
            now = then
        return now

    async def _judge(self) -> None:
        if self._known[self._path] is None:
            self._refuse(self._whole_file("is gone; the settings before it stay until there is one again"))
            return
        known = self._known
        try:
            loaded = await asyncio.to_thread(load, self._path)
            # What we wrote while it was read is in force already, and newer.
            if self._known is known:
                self._known, self._refused = loaded.seen, ()
                self._on_change(loaded)
        except ConfigError as error:
            if self._known is known:
                self._refuse(error)
        except Exception as error:
            _log.exception("config_not_applied")
            said = f"cannot be used, because of a mistake in this program: {type(error).__name__}"
            self._refuse(self._whole_file(said))

    def _whole_file(self, said: str) -> ConfigError:
        return ConfigError((Problem(self._path.name, said),))

    def _refuse(self, error: ConfigError) -> None:
        """The same mistakes, saved again, are no news."""
        if error.problems != self._refused:
            self._refused = error.problems
            self._on_refused(error)
