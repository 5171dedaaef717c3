"""A running proxy for what cannot be asynchronous itself."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from companion.simulator import Simulator
from tests.admin.client import API
from tests.support.http import message
from tests.support.proxy import Proxy, endpoint, running


class Served:
    """The proxy in a thread of its own, for a client that blocks."""

    def __init__(self, proxy: Proxy, upstream: Simulator) -> None:
        self.url = proxy.url
        self.api = proxy.url + API
        self.path = proxy.app.loaded.path
        self.upstream = upstream.url


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve one endpoint, `first`, and record one request."""
    ready, stop = threading.Event(), threading.Event()
    made: list[Served] = []

    async def serve() -> None:
        async with Simulator() as upstream, running(folder, endpoint("first", upstream.url)) as proxy:
            await message(proxy.url)
            made.append(Served(proxy, upstream))
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield made[0]
    finally:
        stop.set()
        thread.join()
