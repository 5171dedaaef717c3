"""Requests whose endpoint is behind a proxy: bytes, streams, failover and what everybody gets to read about it."""

import asyncio
import json
import socket
from contextlib import closing

import pytest

from companion.errors import Kind, Phase
from companion.events import AttemptEnded
from companion.simulator import Simulator
from tests.support.http import message
from tests.support.proxies import HttpProxy, NamingSocksProxy, SocksProxy
from tests.support.proxy import endpoint, running

SECRET = "pr0xy-s3cr3t"
PROXIES = [HttpProxy, SocksProxy, NamingSocksProxy]


@pytest.mark.parametrize("kind", PROXIES)
async def test_an_answer_comes_through_a_proxy(kind, tmp_path):
    async with (
        Simulator() as up,
        kind(user="zoe9", password=SECRET) as between,
        running(tmp_path, endpoint("first", up.url, proxy=between.url)) as proxy,
    ):
        streamed, whole = await message(proxy.url), await message(proxy.url, stream=False)
        assert (streamed.status, streamed.types[-1], whole.status) == (200, "message_stop", 200)
        assert len(between.asked) == 1
        first, second = proxy.told(AttemptEnded)
        assert (first.timings.reused, second.timings.reused) == (False, True)


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_dead_proxy_moves_on_and_keeps_its_password(kind, tmp_path, capfd):
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        dead = f"{kind.scheme}://zoe9:{SECRET}@127.0.0.1:{unheard.getsockname()[1]}"
        async with Simulator() as first, Simulator() as second:
            listed = (endpoint("first", first.url, proxy=dead), endpoint("second", second.url))
            async with running(tmp_path, *listed) as proxy:
                answer = await message(proxy.url)
                assert (answer.status, answer.headers["x-companion-endpoint"]) == (200, "second")
                fault = proxy.told(AttemptEnded)[0].fault
                assert (fault.kind, fault.phase) == (Kind.REFUSED, Phase.CONNECT)
                assert f"the proxy {kind.scheme}://127.0.0.1:" in fault.message
                assert SECRET not in repr(proxy.news)
    assert SECRET not in "".join(capfd.readouterr())


async def test_if_nobody_else_is_there_the_client_reads_which_proxy_it_was(tmp_path):
    async with Simulator() as up, HttpProxy(user="zoe9", password=SECRET) as between:
        wrong = between.url_with("zoe9", "another-s3cr3t")
        async with running(tmp_path, endpoint("first", up.url, proxy=wrong)) as proxy:
            answer = await message(proxy.url)
            assert answer.status == 529
            assert f"the proxy {between.name} does not accept our user and password" in answer.error["message"]
            assert "s3cr3t" not in json.dumps(answer.json)


async def test_the_connection_is_kept_and_ends_with_us(tmp_path):
    async with Simulator() as up, HttpProxy() as between:
        async with running(tmp_path, endpoint("first", up.url, proxy=between.url)) as proxy:
            await message(proxy.url)
            assert between.open == 1
        async with asyncio.timeout(5):
            while between.open:  # noqa: ASYNC110 -- what is waited for sets no event
                await asyncio.sleep(0.01)
