"""A program that serves has connections ready before the first request comes."""

import asyncio

from ruamel.yaml import YAML

from companion.app import App
from companion.config.file import load
from companion.events import AttemptEnded
from companion.simulator import Simulator
from tests.support.http import message
from tests.support.proxy import endpoint
from tests.upstream.wire import until


async def test_the_first_request_finds_a_connection(tmp_path):
    async with Simulator() as up:
        path = tmp_path / "config.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump({"server": {"port": 0}, "endpoints": [endpoint("first", up.url)]}, file)
        app, stop = App(load(path)), asyncio.Event()
        ended: list[AttemptEnded] = []
        app.events.subscribe(AttemptEnded, ended.append)
        await app.start()
        serving = asyncio.create_task(app.run_until(stop))
        (view,) = app.endpoints.views()
        transport = app.endpoints.candidate(view.key).transport
        await until(lambda: transport._pool.idle == 1)
        assert not up.ledger
        answer = await message(app.addresses[0])
        assert answer.status == 200
        assert ended[0].timings is not None
        assert ended[0].timings.reused
        stop.set()
        await serving
