"""`companion serve`: from a configuration to a running proxy, and back to a quiet end."""

import asyncio
import errno
import gc
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

import structlog
from pydantic import ValidationError

from companion.app import App
from companion.cli.banner import greeting
from companion.cli.ports import holder, next_free
from companion.cli.settings import is_there, located, read, reason, refuse, told, write_first
from companion.config.file import Loaded
from companion.config.listening import exposed
from companion.config.models import ServerSettings, Settings
from companion.config.schema import FIXED
from companion.errors import ConfigError
from companion.events import ConfigChanged
from companion.net.posix import (
    allow_many_files,
    keep_freed_memory,
    new_event_loop,
    on_stopping,
    stopping_ends_the_process,
)
from companion.observe import log

# So many new objects are alive before the collector looks at them; Python's own 700 are one busy moment's.
_ALIVE: Final = 10_000

_log = structlog.get_logger("companion.cli")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line sets instead of the file."""

    host: str | None = None
    port: int | None = None
    log_level: str | None = None

    def on(self, loaded: Loaded) -> Loaded:
        """The configuration with these in it, or exit code 2 if they do not fit."""
        server = {name: value for name, value in (("host", self.host), ("port", self.port)) if value is not None}
        try:
            changed = ServerSettings.model_validate({**loaded.settings.server.model_dump(), **server})
        except ValidationError as error:
            refuse(*(f"--{each['loc'][0]}: {each['msg'].removeprefix('Value error, ')}." for each in error.errors()))
        if said := exposed(changed.host, loaded.settings.access):
            refuse(f"--host: {said}.")
        return replace(loaded, settings=loaded.settings.model_copy(update={"server": changed}))


def run_proxy(explicit: str | None, overrides: Overrides, *, attached: bool) -> int:
    """Serve until a signal, or with `attached` until stdin ends. Returns the exit code."""
    path = located(explicit)
    first = not is_there(path)
    if first:
        write_first(path)
    from_file = read(path)
    loaded = overrides.on(from_file)
    close = _start_log(loaded, overrides, attached=attached)
    allow_many_files()
    keep_freed_memory()
    service = _Service(loaded, overrides, from_file.settings)
    announce = _print_address if attached else lambda urls: print(greeting(loaded, urls, first=first), flush=True)
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(service.serve(announce, attached=attached))
    finally:
        close()


def _print_address(addresses: list[str]) -> None:
    print(addresses[0], flush=True)


def _start_log(loaded: Loaded, overrides: Overrides, *, attached: bool) -> Callable[[], None]:
    """`attached` means that the terminal belongs to somebody else: only a file is logged to. Returns what ends it."""
    settings = loaded.settings.logging
    if attached and settings.file is None:
        log.silence()
        return lambda: None
    try:
        writer = log.configure(settings)
    except OSError as error:
        refuse(f"The log file {settings.file} cannot be written: {reason(error)}. See logging.file in {loaded.path}.")
    if overrides.log_level is not None:
        log.set_level(overrides.log_level)
    return writer.close


class _Service:
    """One run of the proxy, with what a signal does to it."""

    def __init__(self, loaded: Loaded, overrides: Overrides, at_start: Settings) -> None:
        self._loaded = loaded
        self._overrides = overrides
        self._at_start = at_start
        self._stop = asyncio.Event()
        self._hurry: signal.Signals | None = None

    async def serve(self, announce: Callable[[list[str]], None], *, attached: bool) -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        on_stopping(loop, lambda number: self._heard(number, loop, task))
        app = await self._started()
        app.events.subscribe(ConfigChanged, lambda _: self._reloaded(app.loaded.settings))
        announce(app.addresses)
        if attached:
            threading.Thread(target=_until_stdin_ends, args=(loop, self._stop), daemon=True).start()
        # Nothing that was imported or built so far goes away: the collector need not look at it again and again.
        gc.freeze()
        # Requests under way are thousands of objects that go by themselves: no reason to look for cycles among them.
        gc.set_threshold(_ALIVE)
        try:
            await app.run_until(self._stop)
        except asyncio.CancelledError:
            if self._hurry is None:
                raise
            await app.close()
            return 128 + self._hurry
        _log.info("stopped")
        return 0

    async def _started(self) -> App:
        server = self._loaded.settings.server
        try:
            app = App(self._loaded)
            await app.start()
        except ConfigError as error:
            refuse(*told(self._loaded.path, error))
        except OSError as error:
            refuse(cannot_listen(error, server, str(self._loaded.path)))
        return app

    def _heard(self, number: signal.Signals, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
        if not self._stop.is_set():
            _log.info("stopping", signal=number.name, drain=self._loaded.settings.server.drain)
            self._stop.set()
            return
        self._hurry = number
        stopping_ends_the_process(loop)
        task.cancel()

    def _reloaded(self, settings: Settings) -> None:
        if self._overrides.log_level is None:
            log.set_level(settings.logging.level)
        later = [name for name in FIXED if attrgetter(name)(settings) != attrgetter(name)(self._at_start)]
        if (settings.server.tls.certificate is None) != (self._at_start.server.tls.certificate is None):
            later.append("server.tls")
        if later:
            _log.warning("restart_needed", settings=", ".join(later))


def _until_stdin_ends(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def cannot_listen(error: OSError, server: ServerSettings, path: str) -> str:
    where = f"port {server.port} on {server.host}"
    if error.errno == errno.EADDRINUSE:
        held = holder(server.port) or "another process"
        free = next_free(server.host, server.port)
        way = "" if free is None else f" {free} is free: companion serve --port {free}, or server.port in {path}."
        return f"Port {server.port} on {server.host} is held by {held}.{way}"
    if error.errno == errno.EACCES:
        return f"Permission to listen on {where} is denied: ports below 1024 need one; see server.port in {path}."
    return f"Cannot listen on {where}: {reason(error)}. See server.host and server.port in {path}."
