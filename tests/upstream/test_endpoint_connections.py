"""How the registry has its endpoints reached: by which proxy, and ready before anybody asks."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme

from companion.clock import SystemClock
from companion.config.file import Loaded, parse, resolved
from companion.errors import Fault, Kind, Party, Phase
from companion.events import Events
from companion.upstream import warm
from companion.upstream.endpoint import Endpoints
from companion.upstream.transport import Transport
from companion.upstream.views import CandidateKey
from tests.support.proxies import HttpProxy, SocksProxy
from tests.upstream.wire import GET, NO_LIMITS, OK, Wire, asked, body_of, fault_of, serving, settled, until

KIMI = CandidateKey("kimi", 0)
RESET = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RESET)
SERVED = [asked, OK] * 10


def read(folder: Path, up: Wire, more: str = "", defaults: str = "{}", name: str = "kimi") -> Loaded:
    """A configuration with one endpoint, as the file would give it."""
    path = folder / "config.yaml"
    text = f"""
defaults: {defaults}
health: {{failures: 1, open: 10m}}
endpoints:
  - {{name: {name}, url: "{up.url}", auth: {{type: api_key, values: [the-key]}}, {more}}}
"""
    return resolved(parse(text, path), path, None)


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints(SystemClock(), Events())


def transport(endpoints: Endpoints) -> Transport:
    return endpoints.candidate(KIMI).transport


async def answered(endpoints: Endpoints) -> bytes:
    return await body_of(await transport(endpoints).send(GET, NO_LIMITS, headers=20))


# === proxies


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
async def test_an_endpoints_own_proxy_is_asked(endpoints, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("PROXY_PASSWORD", "s3cr:t@/")
    async with Wire(SERVED) as up, kind(user="zoe9", password="s3cr:t@/") as proxy:
        url = f"{proxy.scheme}://zoe9:${{PROXY_PASSWORD}}@{proxy.host}:{proxy.port}"
        endpoints.apply(read(tmp_path, up, f'proxy: "{url}"', "{proxy: none}"))
        assert await answered(endpoints) == b"ok"
        assert proxy.asked == [f"127.0.0.1:{up.port}"]
        assert b"s3cr" not in b"".join(up.requests)
        await endpoints.aclose()


async def test_tls_goes_through_the_proxy_to_the_upstream(endpoints, tmp_path):
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    async with Wire(SERVED, tls=serving(authority, "127.0.0.1")) as up, HttpProxy() as proxy:
        endpoints.apply(read(tmp_path, up, f'proxy: "{proxy.url}"', f'{{ca: "{ca}"}}'))
        assert await answered(endpoints) == b"ok"
        assert proxy.asked == [f"127.0.0.1:{up.port}"]
        await endpoints.aclose()


async def test_the_environments_proxy_is_not_asked_for_this_machine(endpoints, tmp_path, monkeypatch):
    async with Wire(SERVED) as up, HttpProxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        endpoints.apply(read(tmp_path, up))
        assert await answered(endpoints) == b"ok"
        assert proxy.asked == []
        await endpoints.aclose()


async def test_the_environments_proxy_is_asked_for_others(endpoints, tmp_path, monkeypatch):
    async with Wire(SERVED) as up, HttpProxy(names={"up.example": "127.0.0.1"}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        up.host = "up.example"
        endpoints.apply(read(tmp_path, up))
        assert await answered(endpoints) == b"ok"
        assert proxy.asked == [f"up.example:{up.port}"]
        await endpoints.aclose()


async def test_another_proxy_is_another_transport(endpoints, tmp_path):
    async with Wire(SERVED) as up, HttpProxy() as one, HttpProxy() as other:
        endpoints.apply(read(tmp_path, up, f'proxy: "{one.url}"'))
        first = transport(endpoints)
        endpoints.apply(read(tmp_path, up, "priority: 2", f'{{proxy: "{one.url}"}}'))
        assert transport(endpoints) is first
        assert await answered(endpoints) == b"ok"
        endpoints.apply(read(tmp_path, up, f'proxy: "{other.url}"'))
        assert transport(endpoints) is not first
        await up.left(0)
        assert await answered(endpoints) == b"ok"
        assert len(other.asked) == 1
        await endpoints.aclose()


@pytest.mark.parametrize("said", ["proxy: '${NOT_SET_ANYWHERE}'", ""])
async def test_an_endpoint_whose_proxy_cannot_be_used_is_taken_out(endpoints, tmp_path, monkeypatch, said):
    monkeypatch.setenv("ALL_PROXY", "quic://zoe9:s3cr@127.0.0.1:1")
    async with Wire(SERVED) as up:
        up.host = "up.example"
        endpoints.apply(read(tmp_path, up, said))
        (view,) = endpoints.views()
        assert view.unusable is not None
        assert ("NOT_SET_ANYWHERE" if said else "ALL_PROXY must begin with") in view.unusable
        assert "s3cr" not in view.unusable
        fault = await fault_of(answered(endpoints))
        assert (fault.party, fault.kind) == (Party.OURS, Kind.UNRESOLVED)
        assert not up.peers
        await endpoints.aclose()


# === ready before anybody asks


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "PAUSE", 0.005)


def idle(endpoints: Endpoints) -> int:
    return transport(endpoints)._pool.idle


async def test_every_endpoint_is_kept_ready_also_one_that_comes_later(endpoints, tmp_path, soon):
    async with Wire(SERVED) as up, Wire(SERVED) as later:
        endpoints.apply(read(tmp_path, up))
        assert await settled(lambda: len(up.peers)) == 0
        endpoints.warm()
        await until(lambda: idle(endpoints) == 1)
        endpoints.apply(read(tmp_path, later))
        await until(lambda: idle(endpoints) == 1)
        await up.left()
        await endpoints.aclose()
        await later.left()


@pytest.mark.parametrize("off", ["enabled: false", "pool: {keep_warm: 0}", "headers: {set: {x-a: '${NOT_SET}'}}"])
async def test_one_that_is_not_in_use_is_not(endpoints, tmp_path, soon, off):
    async with Wire(SERVED) as up:
        endpoints.apply(read(tmp_path, up, off))
        endpoints.warm()
        assert await settled(lambda: len(up.peers)) == 0
        await endpoints.aclose()


async def test_while_its_circuit_is_open_it_is_left_alone(endpoints, tmp_path, soon):
    gone = asyncio.Event()

    async def leave(peer: Any) -> None:
        await gone.wait()
        peer.transport.close()

    async with Wire([leave], SERVED) as up:
        endpoints.apply(read(tmp_path, up))
        endpoints.warm()
        await until(lambda: idle(endpoints) == 1)
        endpoints.candidate(KIMI).begin(None).settle(RESET)
        gone.set()
        await until(lambda: idle(endpoints) == 0)
        assert await settled(lambda: len(up.peers)) == 1
        endpoints.reset("kimi")
        await until(lambda: idle(endpoints) == 1)
        await endpoints.aclose()


async def test_an_upstream_that_cannot_be_reached_has_no_fault_by_that(endpoints, tmp_path, soon):
    async with Wire([]) as up:
        pass
    endpoints.apply(read(tmp_path, up))
    endpoints.warm()
    await until(lambda: transport(endpoints)._pool._warm._misses == 3)
    assert endpoints.candidate(KIMI).health.tally.failures == 0
    assert endpoints.views()[0].ready
    await endpoints.aclose()


async def test_after_many_changes_there_are_no_more_tasks_and_connections_than_before(endpoints, tmp_path, soon):
    async with Wire(SERVED) as up:
        endpoints.apply(read(tmp_path, up))
        endpoints.warm()
        await until(lambda: idle(endpoints) == 1)
        tasks = len(asyncio.all_tasks())
        for number in range(60):
            endpoints.apply(read(tmp_path, up, f"pool: {{idle: {100 + number}s}}"))
            await asyncio.sleep(0.005)
        await until(lambda: idle(endpoints) == 1)
        await until(lambda: sum(not peer.gone.is_set() for peer in up.peers) == 1)
        alive = sum(not peer.task.done() for peer in up.peers)
        assert len(asyncio.all_tasks()) - alive < tasks
        await endpoints.aclose()
