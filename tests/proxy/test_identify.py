"""The room identify: who is let in, what its token opens, and that the token goes no further."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from companion.clients.tokens import Clients, digest, new_token
from companion.config.models import AccessSettings
from companion.errors import ClientError
from companion.events import AttemptEnded, ExchangeSettled, ExchangeStarted
from companion.proxy.identify import identify
from companion.simulator import Simulator, replies
from tests.support.http import Answer, Connection, ask
from tests.support.proxy import Proxy, endpoint, running

ANN = new_token()
ACCESS = {"clients": [{"name": "ann", "token_hash": digest(ANN)}]}
OWN = {"type": "passthrough"}
BODY = {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def asks(proxy: Proxy, target: str = "/v1/messages", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(proxy.url, target, BODY, named, "POST")


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models", "/v1/files"])
async def test_without_a_token_nothing_under_v1_answers(tmp_path: Path, target: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), access=ACCESS) as proxy:
        for headers in ({}, {"X-Api-Key": ANN[:-2]}, {"Authorization": "Bearer companion"}):
            answer = await ask(proxy.url, target, None if "models" in target else BODY, headers)
            assert answer.status == 401
            assert answer.error["type"] == "authentication_error"
            assert "companion client add NAME" in answer.error["message"]
            assert "ANTHROPIC_AUTH_TOKEN" in answer.error["message"]
        assert not sim.ledger
        assert not proxy.told(ExchangeSettled)


async def test_the_body_of_a_stranger_is_not_even_read(tmp_path: Path):
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url), access=ACCESS) as proxy,
    ):
        for target in ("/v1/messages", "//v1/messages?beta=true", "/v1/anything"):
            async with Connection(proxy.url) as raw:
                raw.writer.write(
                    f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000000\r\n\r\n".encode()
                )
                answer = await raw.head()
                await raw.rest(answer)
                assert (answer.status, answer.whole) == (401, True)
                assert answer.headers["connection"] == "close"


async def test_a_stranger_whose_path_is_not_under_v1_gets_nothing_either(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), access=ACCESS) as proxy:
        for path in ("/v1", "/V1/messages", "/%761/messages", "/./v1/messages", "/x/../v1/messages"):
            assert (await ask(proxy.url, path, BODY)).status == 404
        assert not sim.ledger


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/api/hello"])
async def test_signs_of_life_need_no_token(tmp_path: Path, path: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), access=ACCESS) as proxy:
        assert (await ask(proxy.url, path)).status == 200


@pytest.mark.parametrize("header", ["X_Api_Key", "Authorization"])
async def test_a_token_opens_the_door_and_stays_behind_it(tmp_path: Path, header: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), access=ACCESS) as proxy:
        started: list[Any] = []
        proxy.app.events.subscribe(ExchangeStarted, started.append)
        answer = await asks(proxy, **{header: ANN if "Key" in header else f"Bearer {ANN}"})
        assert answer.status == 200
        assert started[0].client == "ann"
        assert ANN not in repr(sim.ledger[0].headers)
        assert sim.ledger[0].header("x-api-key") == "sk-secret-of-the-first-only"


@pytest.mark.parametrize(
    ("token_in", "own_in"),
    [
        (("X_Api_Key", ANN), ("Authorization", "Bearer own-login")),
        (("Authorization", f"Bearer {ANN}"), ("X_Api_Key", "sk-ant-own-key")),
    ],
)
async def test_a_passthrough_endpoint_gets_the_clients_own_key_and_not_the_token(tmp_path: Path, token_in, own_in):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=OWN), access=ACCESS) as proxy:
        assert (await asks(proxy, **dict([token_in, own_in]))).status == 200
        seen = sim.ledger[0]
        assert seen.header(own_in[0].lower().replace("_", "-")) == own_in[1]
        assert seen.header(token_in[0].lower().replace("_", "-")) is None
        assert ANN not in repr(seen.headers)


async def test_with_the_token_alone_a_passthrough_endpoint_is_skipped_without_harm_to_it(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("mine", first.url, auth=OWN), endpoint("ours", second.url), access=ACCESS) as proxy,
    ):
        for _ in range(4):
            answer = await asks(proxy, X_Api_Key=ANN)
            assert answer.headers["x-companion-endpoint"] == "ours"
        assert not first.ledger
        view = proxy.app.endpoints.views()[0]
        assert (view.ready, view.reason) == (True, None)


async def test_where_only_passthrough_endpoints_are_the_sentence_says_where_the_key_belongs(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("mine", sim.url, auth=OWN), access=ACCESS) as proxy:
        answer = await asks(proxy, X_Api_Key=ANN)
        assert answer.status == 401
        assert answer.error["type"] == "authentication_error"
        assert "no key of its own" in answer.error["message"]
        assert "x-api-key and Authorization" in answer.error["message"]
        assert not sim.ledger


async def test_a_token_is_in_no_answer_and_in_no_news(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=OWN), access=ACCESS) as proxy:
        sim.queue(replies.status(401))
        answer = await asks(proxy, X_Api_Key=ANN, Authorization="Bearer own-login")
        assert answer.status == 401
        assert ANN not in repr(answer) + repr(proxy.told(AttemptEnded) + proxy.told(ExchangeSettled))


async def test_a_client_that_is_added_or_removed_is_so_at_once(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        assert (await asks(proxy)).status == 200
        app = proxy.app
        for access, status in ((ACCESS, 401), ({}, 200), (ACCESS, 401)):
            settings = app.loaded.settings.model_copy(update={"access": AccessSettings.model_validate(access)})
            app.loaded = replace(app.loaded, settings=settings)
            assert (await asks(proxy)).status == status


def test_without_clients_other_machines_are_not_served():
    nobody = Clients(AccessSettings())
    assert identify(nobody, [], "127.0.0.1") is None
    assert identify(nobody, [], "::1") is None
    assert identify(nobody, [], "127.1.2.3") is None
    for peer in ("192.168.0.9", "2001:db8::1", ""):
        with pytest.raises(ClientError, match="its own machine only") as caught:
            identify(nobody, [(b"x-api-key", ANN.encode())], peer)
        assert caught.value.status == 401
