"""Several keys and endpoints that fail in different ways: what it adds up to for the client."""

from pathlib import Path

import pytest

from companion.events import CircuitChanged
from companion.simulator import Simulator, replies
from tests.proxy.test_faults import pair, until
from tests.support.http import ask, message
from tests.support.proxy import endpoint, running

KEYS = {"type": "api_key", "values": ["key-one-of-two-keys", "key-two-of-two-keys"]}


async def test_the_wait_for_one_key_is_told_also_when_the_other_key_is_dead(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=KEYS)) as proxy:
        sim.queue(replies.status(429, retry_after=40), *[replies.status(401)] * 2)
        assert (await message(proxy.url)).headers["retry-after"] == "40"
        answer = await message(proxy.url)

        assert answer.status == 529
        assert 30 <= int(answer.headers["retry-after"]) <= 40
        assert "unauthorized" in answer.error["message"]
        assert "rate limited" in answer.error["message"]


async def test_a_rate_limit_met_on_the_second_try_is_remembered(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.status(503), replies.status(429, retry_after=50))
        assert (await message(proxy.url)).headers["retry-after"] == "50"
        assert (await message(proxy.url)).status == 529

        assert len(sim.ledger) == 2


async def test_a_key_refused_on_the_second_try_is_remembered(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.status(503), replies.status(401))
        await message(proxy.url)

        assert [change.scope for change in proxy.told(CircuitChanged)] == ["credential"]


async def test_a_lone_endpoint_is_asked_again_by_the_key_that_may_work(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=KEYS)) as proxy:
        sim.queue(replies.status(503), replies.status(401))

        assert (await message(proxy.url)).status == 200
        assert [received.header("x-api-key") for received in sim.ledger] == [*KEYS["values"], KEYS["values"][0]]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_empty_answer_is_better_than_a_hopeless_one(tmp_path: Path, stream: bool):
    async with pair(tmp_path, replies.empty_content()) as (proxy, _, second):
        second.always = replies.status(401)
        answer = await message(proxy.url, stream=stream)

        assert (answer.status, answer.text) == (200, "")
        assert answer.headers["x-companion-endpoint"] == "first"


async def test_an_empty_answer_is_not_the_last_word_while_somebody_may_be_back(tmp_path: Path):
    async with pair(tmp_path, replies.empty_content()) as (proxy, _, second):
        second.always = replies.status(500)

        assert (await message(proxy.url)).status == 529


@pytest.mark.parametrize(("type", "status"), [("invalid_request_error", 400), ("request_too_large", 413)])
async def test_a_stream_that_begins_with_a_refusal_keeps_its_wording(tmp_path: Path, type: str, status: int):
    """The client heals itself by it, as it does by the one that comes as JSON."""
    refusal = replies.error_first(type, "prompt is too long: 9 tokens > 5 maximum")
    async with pair(tmp_path, refusal) as (proxy, _, second):
        second.always = refusal
        answer = await message(proxy.url)

        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.error == {"type": type, "message": "prompt is too long: 9 tokens > 5 maximum"}


async def test_what_other_paths_meet_does_not_close_a_circuit(tmp_path: Path):
    async with pair(tmp_path, replies.status(500), health={"open": "100ms"}) as (proxy, first, _):
        first.queue(replies.status(500), times=None, match=lambda received: received.path == "/v1/files")
        for _ in range(3):
            await message(proxy.url)
        for count in (4, 5):
            await until(lambda: proxy.app.endpoints.views()[0].ready)
            assert (await ask(proxy.url, "/v1/files")).status == 500
            assert len(first.ledger) == count

        assert [change.after for change in proxy.told(CircuitChanged)] == ["open", "half-open"]
