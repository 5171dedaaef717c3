"""The whole proxy: what broke comes back by itself, no request has to find out, and nothing is billed for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from companion.events import CircuitChanged, Probed
from companion.simulator import Simulator
from companion.simulator.replies import status
from companion.upstream.probe import HOPELESS
from tests.support.http import message
from tests.support.proxy import Proxy, endpoint, running

QUICK = {"open": "50ms", "open_max": "100ms", "probe": {"interval": "20ms"}}


class World:
    """Two upstreams behind a proxy that lives as it does in a terminal: with everything in the background."""

    def __init__(self, proxy: Proxy, first: Simulator, second: Simulator) -> None:
        self.proxy, self.first, self.second = proxy, first, second
        self.probed: list[Probed] = []
        proxy.app.events.subscribe(Probed, self.probed.append)

    def breaks(self) -> None:
        """The first upstream, altogether."""
        self.first.queue(status(529), times=None, match=lambda _: True)

    def mended(self) -> None:
        self.first._queue.clear()

    @property
    def billed(self) -> int:
        """Messages that the first upstream got."""
        return sum(entry.path == "/v1/messages" for entry in self.first.ledger)

    async def ask(self, times: int = 1) -> list[str]:
        """Who answered."""
        answers = [await message(self.proxy.url) for _ in range(times)]
        assert {answer.status for answer in answers} == {200}
        return [answer.headers["x-companion-endpoint"] for answer in answers]

    async def until(self, found: Callable[[], bool]) -> None:
        """Wait for news after which this is so."""
        news = asyncio.Event()
        for kind in (CircuitChanged, Probed):
            self.proxy.app.events.subscribe(kind, lambda _: news.set())
        async with asyncio.timeout(20):
            while not found():
                await news.wait()
                news.clear()

    def closed(self) -> bool:
        changes = self.proxy.told(CircuitChanged)
        return bool(changes) and changes[-1].after == "closed"


@asynccontextmanager
async def world(folder: Path, **health: Any) -> AsyncIterator[World]:
    async with Simulator() as first, Simulator() as second:
        ends = (endpoint("first", first.url), endpoint("second", second.url))
        async with running(folder, *ends, health={**QUICK, **health}, records={"store": "none"}) as proxy:
            stop = asyncio.Event()
            serving = asyncio.create_task(proxy.app.run_until(stop))
            try:
                yield World(proxy, first, second)
            finally:
                stop.set()
                await serving


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_what_broke_comes_back_without_traffic_and_without_a_billed_request(quick: World) -> None:
    quick.breaks()
    assert await quick.ask(3) == ["second"] * 3
    assert quick.billed == 3
    quick.mended()
    await quick.until(quick.closed)
    assert quick.billed == 3
    assert await quick.ask() == ["first"]


async def test_no_request_is_the_guinea_pig_however_long_it_stays_broken(quick: World) -> None:
    quick.breaks()
    await quick.ask(3)
    while sum(probe.fault is not None for probe in quick.probed) < 2 * (HOPELESS - 1):
        assert await quick.ask() == ["second"]
    assert quick.billed == 3


async def test_a_reset_makes_a_request_try_at_once(quick: World) -> None:
    quick.breaks()
    await quick.ask(3)
    quick.mended()
    assert quick.proxy.app.endpoints.reset("first")
    assert await quick.ask() == ["first"]
    assert quick.proxy.told(CircuitChanged)[-1].reason == "reset"


async def test_the_only_endpoint_is_asked_though_no_probe_has_proved_it(tmp_path: Path) -> None:
    async with world(tmp_path, probe={"interval": "10m"}, open="10m", open_max="10m") as made:
        made.breaks()
        await made.ask(3)
        made.mended()
        await made.second.refuse()
        assert await made.ask() == ["first"]
