"""An endpoint that broke comes back by itself, on time, and its owner is billed for nothing that nobody wanted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from companion.events import CircuitChanged, Probed
from companion.simulator import Simulator, replies
from companion.simulator.received import Received
from tests.admin.client import Admin
from tests.e2e.support import living, until
from tests.support.http import message
from tests.support.proxy import Proxy, endpoint

INTERVAL = 0.1
OPEN = 0.2
HEALTH = {"failures": 3, "open": OPEN, "open_max": OPEN, "probe": {"interval": INTERVAL}}
JITTER = 0.2


class World:
    """Three upstreams behind a proxy; the two flaky ones are told apart by whether a probe may be billed."""

    def __init__(self, proxy: Proxy, free: Simulator, billed: Simulator) -> None:
        self.proxy, self.free, self.billed = proxy, free, billed
        self.admin = Admin(proxy.url)
        self.probed: list[Probed] = []
        proxy.app.events.subscribe(Probed, self.probed.append)

    def breaks(self, times: int | None = None) -> None:
        for each in (self.free, self.billed):
            each.queue(replies.status(503), times=times, match=lambda _: True)

    def mended(self) -> None:
        for each in (self.free, self.billed):
            each._queue.clear()

    async def ask(self, times: int = 1) -> None:
        """The spare one answers, if no other does."""
        for _ in range(times):
            assert (await message(self.proxy.url)).status == 200

    async def states(self) -> dict[str, str]:
        told = (await self.admin.get("/status")).json["endpoints"]
        return {each["name"]: each["credentials"][0]["state"] for each in told}

    def changes(self, name: str) -> list[CircuitChanged]:
        return [change for change in self.proxy.told(CircuitChanged) if change.endpoint == name]

    def closed(self) -> bool:
        return all((found := self.changes(name)) and found[-1].after == "closed" for name in ("free", "billed"))


@asynccontextmanager
async def world(folder: Path, **health: Any) -> AsyncIterator[World]:
    async with Simulator() as free, Simulator() as billed, Simulator() as spare:
        ends = (
            endpoint("free", free.url, models={"default": "m"}),
            endpoint("billed", billed.url, models={"default": "m"}, probe={"with": "message"}),
            endpoint("spare", spare.url),
        )
        async with living(folder, *ends, health={**HEALTH, **health}) as proxy:
            yield World(proxy, free, billed)


def messages(simulator: Simulator) -> list[Received]:
    return [entry for entry in simulator.ledger if (entry.method, entry.path) == ("POST", "/v1/messages")]


def probes(simulator: Simulator) -> list[Received]:
    return [entry for entry in simulator.ledger if (entry.header("user-agent") or "").endswith(" probe")]


async def test_without_traffic_it_recovers_on_schedule_and_only_who_said_so_is_billed(tmp_path: Path):
    async with world(tmp_path) as it:
        it.breaks()
        await it.ask(3)
        opened = {name: it.changes(name)[-1] for name in ("free", "billed")}
        assert {change.after for change in opened.values()} == {"open"}
        asked = len(messages(it.free)), len(messages(it.billed))
        assert asked == (3, 3)
        await until(lambda: {each.endpoint for each in it.probed if each.fault} == {"free", "billed"})
        mended = it.proxy.app.clock.monotonic()
        it.mended()
        await until(it.closed)

        for name, change in opened.items():
            mine = [each for each in it.probed if each.endpoint == name]
            assert change.until is not None
            assert mine[0].at - mine[0].seconds >= change.until - 0.001 >= change.at + OPEN * (1 - JITTER) - 0.002
            starts = [each.at - each.seconds for each in mine]
            assert all(
                then - each.at >= INTERVAL * (1 - JITTER) - 0.001
                for each, then in zip(mine, starts[1:], strict=False)
                if each.fault is None
            )
            # It takes two good ones, and the first that begin after it was mended are good.
            assert [each.fault for each in mine if each.at - each.seconds > mended][:2] == [None, None]
            assert sum(each.fault is None for each in mine) == 2
        assert len(messages(it.free)) == 3
        assert {entry.path for entry in probes(it.free)} <= {"/v1/models", "/v1/messages/count_tokens"}
        assert len(messages(it.billed)) == 3 + len(probes(it.billed))
        assert {entry.path for entry in probes(it.billed)} == {"/v1/messages"}
        assert (await message(it.proxy.url)).headers["x-companion-endpoint"] == "free"


async def test_three_faults_in_a_row_are_needed_and_two_are_not(tmp_path: Path):
    async with world(tmp_path, window="1ms") as it:
        for _ in range(3):
            it.free.queue(replies.status(503), times=2)
            await it.ask(3)
            assert await it.states() == dict.fromkeys(("free", "billed", "spare"), "closed")
        assert it.probed == []
        assert it.proxy.told(CircuitChanged) == []
        assert len(messages(it.free)) == 9

        it.free.queue(replies.status(503), times=3)
        await it.ask(3)
        first = it.proxy.told(CircuitChanged)[0]
        assert (first.endpoint, first.after) == ("free", "open")
        await until(lambda: it.changes("free")[-1].after == "closed")
        assert len(messages(it.free)) == 12


async def test_a_long_outage_is_probed_all_the_while_and_nobody_is_asked_for_it(tmp_path: Path):
    async with world(tmp_path) as it:
        it.breaks()
        await it.ask(3)
        async with asyncio.timeout(30):
            while sum(each.endpoint == "free" for each in it.probed) < 8:
                await it.ask()
        assert len(messages(it.free)) == 3
