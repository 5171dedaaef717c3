"""The composition root: every object is built here once, started and stopped in order, and wired to the others."""

import asyncio
from contextlib import suppress
from pathlib import Path

from companion.admin.live import Live
from companion.admin.page import Page
from companion.clock import Clock, SystemClock
from companion.config.file import Loaded
from companion.config.watch import Watcher
from companion.errors import ConfigError
from companion.events import ConfigChanged, ConfigRefused, Events
from companion.net.h1 import Headers
from companion.observe.log import ExchangeLog
from companion.proxy.asgi import ASGIApp
from companion.proxy.bridge import Bridge
from companion.proxy.identify import Door
from companion.proxy.pipeline import Pipeline
from companion.proxy.routes import Routes
from companion.proxy.server import Server
from companion.proxy.site import Site
from companion.records.recorder import Recorder
from companion.records.store import LearnedRow
from companion.upstream.endpoint import Endpoints
from companion.upstream.learned import Learned, Row
from companion.upstream.mending import Mender
from companion.upstream.probe import Probes


class App:
    """One running proxy. `loaded` is the configuration in force; a change of the file replaces it as a whole."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.events = Events()
        self.loaded = loaded
        self.problems: tuple[str, ...] = ()
        self.endpoints = Endpoints(self.clock, self.events)
        self.endpoints.apply(loaded)
        self._probes = Probes(self.endpoints, self.clock, self.events, lambda: self.loaded.settings)
        self._log = ExchangeLog(self.events)
        self.learned = Learned(self.clock, self.events)
        mender = Mender(self.endpoints, self.learned)
        records = loaded.settings.records
        self._store = records.store
        self.recorder = Recorder(
            records, loaded.path.parent, self.events, self.clock, lambda: self.loaded.secrets, self._remembered
        )
        taping = self.recorder.tape
        pipeline = Pipeline(lambda: self.loaded, self.endpoints, mender, self.events, taping, self.clock)
        page = Page(self.endpoints.views, lambda: self.loaded, lambda: self.problems, self.clock)
        self.live = Live(self.events, self.clock, lambda: self.loaded.secrets)
        self._began = self.clock.wall()
        self._admin = Bridge(self._made_admin, lambda: self.addresses[0])
        routes = Routes(pipeline, Site(page, self._admin), self._ready)
        self._door = Door()
        self._server = Server(lambda: self.loaded.settings.server, routes, self.clock, self._check)
        self._watcher = Watcher(loaded.path, self._changed, self._refused, since=loaded)

    async def start(self) -> None:
        """Listen. Raises OSError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        await self._server.start()
        self.recorder.start()

    @property
    def addresses(self) -> list[str]:
        """Base URLs, the one to tell users first."""
        return self._server.addresses

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain running answers for at most server.drain, and close."""
        self.endpoints.warm()
        background = [asyncio.create_task(each.run()) for each in (self._watcher, self._probes)]
        try:
            await stop.wait()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            self._admin.end_streams()
            await self._server.drain(self.loaded.settings.server.drain)
            await self.close()

    async def close(self) -> None:
        """End everything at once."""
        try:
            await self._server.close()
            await self._admin.aclose()
            await self.endpoints.aclose()
        finally:
            await asyncio.to_thread(self.recorder.close)

    def _remembered(self, rows: list[LearnedRow]) -> None:
        """In the recorder's thread, once; the loop may have ended meanwhile."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.learned.load, [Row(*row) for row in rows])

    def _ready(self) -> bool:
        return any(view.ready and view.unusable is None for view in self.endpoints.views())

    def _check(self, target: bytes, headers: Headers, peer: str) -> None:
        self._door.check(self.loaded.settings.access, target, headers, peer)

    async def _made_admin(self) -> ASGIApp:
        return await asyncio.to_thread(self._admin_app)

    def _admin_app(self) -> ASGIApp:
        """Takes long: for a thread, and only when somebody asks for it."""
        from companion.admin.api import build  # noqa: PLC0415 - FastAPI takes half a second and 20 MB
        from companion.admin.ports import Ports  # noqa: PLC0415 - as above
        from companion.config.edit import Editor  # noqa: PLC0415 - as above

        ports = Ports(
            loaded=lambda: self.loaded,
            apply=self._edited,
            editor=Editor(self.loaded.path),
            endpoints=self.endpoints,
            live=self.live,
            learned=self.learned,
            clock=self.clock,
            addresses=lambda: self.addresses,
            started=self._began,
            store=self._store,
            recorder=lambda: self.recorder.stats,
        )
        return build(ports)

    def _changed(self, loaded: Loaded) -> None:
        self.endpoints.apply(loaded)
        self.loaded, self.problems = loaded, ()
        self.recorder.apply(loaded.settings.records)
        self._server.renew_certificate()
        self.events.publish(ConfigChanged(self.clock.monotonic(), str(loaded.path)))

    def _edited(self, loaded: Loaded) -> None:
        """The admin API has written the file."""
        self._watcher.wrote(loaded)
        self._changed(loaded)

    def _refused(self, error: ConfigError) -> None:
        self.problems = tuple(map(str, error.problems))
        path: Path = self.loaded.path
        self.events.publish(ConfigRefused(self.clock.monotonic(), str(path), self.problems))
