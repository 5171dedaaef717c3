"""The whole proxy over TLS: answers, cuts, and a certificate that is replaced while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest

from companion.simulator import Simulator, replies
from companion.simulator.replies.streams import message as said
from tests.proxy.test_tls import Authority
from tests.support.http import CLAUDE_CODE, ask
from tests.support.proxy import Proxy, endpoint, running

TEXT = said("A text of some length that comes in pieces.")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def tls(authority: Authority) -> dict[str, Any]:
    made = authority.issue()
    return {"port": 0, "tls": {name: str(path) for name, path in made.items()}}


@asynccontextmanager
async def sdk(proxy: Proxy, authority: Authority, agent: str = "any/1") -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = proxy.url.replace("127.0.0.1", "localhost")
    http = anthropic.DefaultAsyncHttpxClient(verify=authority.client(), trust_env=False)
    own = {"User-Agent": agent}
    async with anthropic.AsyncAnthropic(
        base_url=url, api_key="any", max_retries=0, http_client=http, default_headers=own
    ) as client:
        yield client


async def text_of(client: anthropic.AsyncAnthropic) -> str:
    async with client.messages.stream(
        model="claude-opus-5-5", max_tokens=100, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        return await stream.get_final_text()


async def test_the_sdk_works_over_tls_as_it_does_without(tmp_path: Path, authority: Authority):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server=tls(authority)) as proxy:
        assert proxy.url.startswith("https://")
        sim.queue(replies.answer("A text of some length that comes in pieces."))
        async with sdk(proxy, authority) as client:
            assert await text_of(client) == "A text of some length that comes in pieces."


async def test_a_cut_over_tls_is_noticed_as_one(tmp_path: Path, authority: Authority):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server=tls(authority)) as proxy:
        sim.queue(replies.cut("in_text", of=TEXT))
        async with sdk(proxy, authority, CLAUDE_CODE) as client:
            with pytest.raises(Exception, match="incomplete chunked read"):
                await text_of(client)


async def test_a_certificate_that_is_replaced_is_live_within_a_moment(tmp_path: Path, authority: Authority):
    async def seen() -> str:
        context = authority.client()
        context.check_hostname = False
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        name = str(writer.get_extra_info("peercert")["subjectAltName"][0][1])
        writer.transport.abort()
        return name

    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server=tls(authority)) as proxy:
        port = int(proxy.url.rpartition(":")[2])
        stop = asyncio.Event()
        serving = asyncio.create_task(proxy.app.run_until(stop))
        assert await seen() == "localhost"
        await asyncio.to_thread(authority.issue, "server", "renewed.example")
        async with asyncio.timeout(30):
            while await seen() != "renewed.example":  # noqa: ASYNC110 - the files are looked at now and then
                await asyncio.sleep(0.05)
        stop.set()
        await serving


async def test_plain_http_to_it_is_no_request(tmp_path: Path, authority: Authority):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server=tls(authority)) as proxy:
        answer = await ask(proxy.url, "/healthz")
        assert answer.status == 400
        assert b"https://" in answer.body
