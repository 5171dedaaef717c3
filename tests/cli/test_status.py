import json
from pathlib import Path

from companion.simulator import Simulator
from companion.simulator.replies import status
from tests.cli.process import companion, endpoint, serving, write_config
from tests.support.http import message


async def test_it_shows_endpoints_circuits_and_the_last_switch(tmp_path: Path):
    async with Simulator() as broken, Simulator() as whole:
        broken.always = status(500, message="the disk is full")
        first, second = endpoint("first", broken.url), endpoint("second", whole.url, priority=2)
        off = endpoint("off", whole.url, priority=3, enabled=False)
        write_config(tmp_path, first, second, off, health={"open": "300s", "probe": {"with": "none"}})
        async with serving(tmp_path) as proxy:
            for _ in range(3):
                assert (await message(proxy.url)).status == 200
            told = await companion("status", "--url", proxy.url, cwd=tmp_path)
            as_json = await companion("status", "--url", proxy.url, "--json", cwd=tmp_path)

    assert (told.code, told.err) == (0, "")
    lines = {line.split()[0]: line for line in told.out.splitlines() if line.strip()}
    assert lines["first"].split(maxsplit=6)[1:6] == ["1", "0", "0", "/", "3"]
    assert "open: 3 x server_error" in lines["first"]
    assert lines["second"].endswith("closed")
    assert lines["off"].endswith("disabled")
    assert told.out.count("first -> second: the disk is full") == 3
    assert [each["name"] for each in json.loads(as_json.out)["endpoints"]] == ["first", "second", "off"]


async def test_without_a_proxy_it_says_how_to_start_one(tmp_path: Path):
    write_config(tmp_path)

    told = await companion("status", cwd=tmp_path)

    assert told.code == 2
    assert "No proxy answers at http://127.0.0.1:" in told.err


async def test_an_address_that_is_none_is_said(tmp_path: Path):
    told = await companion("status", "--url", "localhost", cwd=tmp_path)

    assert told.code == 2
    assert "localhost is not an address" in told.err
