"""What is one account's own stays there: keys that an upstream echoes, and rate limits of a pool."""

from pathlib import Path
from typing import Any

import pytest

from companion.events import AttemptEnded, ExchangeSettled
from companion.simulator import Simulator, replies
from tests.support.http import Answer, ask, message
from tests.support.proxy import KEY, endpoint, running

KEYS = {"type": "api_key", "values": ["key-one-of-two-keys", "key-two-of-two-keys"]}
ECHO = f"{KEY}-only"


def limits(answer: Answer) -> list[str]:
    return [name for name in answer.headers if name.startswith("anthropic-ratelimit-")]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_users_own_limits_pass_also_with_other_endpoints_behind(tmp_path: Path, stream: bool):
    own = {"type": "passthrough"}
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("first", sim.url, auth=own), endpoint("second", sim.url)) as proxy,
    ):
        assert limits(await message(proxy.url, stream=stream))

        sim.queue(replies.status(500))
        answer = await message(proxy.url, stream=stream)
        assert answer.headers["x-companion-endpoint"] == "second"
        assert not limits(answer)


async def test_limits_of_a_pool_stay_inside_also_while_only_one_key_is_left(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=KEYS)) as proxy:
        sim.queue(replies.status(429, retry_after=40))
        for _ in range(2):
            answer = await message(proxy.url)

            assert answer.status == 200
            assert not limits(answer)


async def test_a_key_in_an_error_after_the_gate_is_cut_out_everywhere(tmp_path: Path):
    start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": []}}
    stream: list[Any] = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "So"}},
        {"type": "error", "error": {"type": "api_error", "message": f"The key {ECHO} is at fault."}},
    ]
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.events(stream))
        answer = await message(proxy.url, agent=None)

        assert answer.events[-1]["error"]["message"] == "only: api_error: The key [redacted] is at fault."
        assert ECHO not in repr(proxy.told(AttemptEnded) + proxy.told(ExchangeSettled))


async def test_a_key_in_the_headers_of_an_error_is_cut_out(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(400, headers={"x-echo": f"key={ECHO}"})
        answer = await message(proxy.url)

        assert answer.headers["x-echo"] == "key=[redacted]"


async def test_a_key_in_an_error_of_another_path_is_cut_out(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        echo = replies.status(401, message=f"Bad key {ECHO}.", headers={"x-echo": ECHO})
        sim.queue(echo, match=lambda _: True)
        answer = await ask(proxy.url, "/v1/files")

        assert (answer.status, answer.error["message"]) == (401, "Bad key [redacted].")
        assert answer.headers["x-echo"] == "[redacted]"


async def test_a_secret_header_stays_inside_also_where_the_client_brings_its_own_key(tmp_path: Path):
    own = endpoint("own", "", auth={"type": "passthrough"}, headers={"set": {"x-team-token": "team-token-of-ours"}})
    async with Simulator() as sim, running(tmp_path, own | {"url": sim.url}) as proxy:
        echo = {"x-echo": "team-token-of-ours the-clients-own"}
        sim.always = replies.status(401, message="team-token-of-ours and the-clients-own", headers=echo)
        answer = await message(proxy.url)

        assert (answer.status, answer.headers["x-echo"]) == (401, "[redacted] the-clients-own")
        assert answer.error["message"] == "[redacted] and the-clients-own"
        news = proxy.told(AttemptEnded) + proxy.told(ExchangeSettled)
        assert "team-token-of-ours" not in repr([each.fault for each in news])


async def test_a_request_id_that_holds_a_key_is_told_without_it(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(400, headers={"request-id": f"req {ECHO}"})
        await message(proxy.url)

        assert [event.request_id for event in proxy.told(AttemptEnded)] == ["req [redacted]"]


async def test_no_upstream_is_asked_to_send_back_what_it_was_sent(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        for path in ("/v1/files", "/v1/models"):
            assert (await ask(proxy.url, path, method="TRACE")).status == 405

        assert sim.ledger == []


@pytest.mark.parametrize(
    "path",
    ["/v1/../secret", "/v1/models/../../secret", "/v1/%2e%2e/secret", "/v1/a/..%2fsecret", "/v1/..%5csecret", "/v1/."],
)
async def test_no_path_leads_out_of_v1(tmp_path: Path, path: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        assert (await ask(proxy.url, path)).status == 400
        assert (await ask(proxy.url, "/v1/..a/b..%20/c.")).status == 404
        assert [each.target for each in sim.ledger] == ["/v1/..a/b..%20/c."]
