"""A request that an upstream refuses is repaired, sent again, and from then on repaired before it is sent."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from companion.events import AttemptEnded, AttemptStarted, ExchangeSettled
from companion.protocol.repairs import NAMES
from companion.simulator import Simulator, replies
from tests.captures import captured
from tests.protocol.repairs.wordings import IMAGE, PASSED, Case
from tests.proxy.test_faults import pair
from tests.support.http import Answer, ask, message
from tests.support.proxy import Proxy, endpoint, running

CONVERSATION = [
    {"role": "user", "content": [{"type": "text", "text": "hi"}, IMAGE]},
    {"role": "system", "content": "Today is Wednesday."},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]},
    {"role": "user", "content": "go on"},
]
# A request that has all that is refused.
ALL: dict[str, Any] = {
    "messages": CONVERSATION,
    "max_tokens": 20000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": []},
    "output_config": {"effort": "high"},
    "tools": [{"name": "Read", "input_schema": {"type": "object"}}],
}


def fields(name: str) -> dict[str, Any]:
    return ALL | {"thinking": {"type": "enabled", "budget_tokens": 500}} if name == "thinking_budget" else ALL


def learned(proxy: Proxy) -> list[str]:
    return [str(fact.repair) for fact in proxy.app.learned.items()]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
async def test_the_first_request_is_repaired_and_the_next_arrives_so(tmp_path: Path, name: str, stream: bool):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.refuses(name)
        first = await message(proxy.url, stream=stream, **fields(name))
        assert first.status == 200
        assert first.headers["x-companion-attempts"] == "2"
        assert len(sim.ledger) == 2

        second = await message(proxy.url, stream=stream, **fields(name))
        assert second.status == 200
        assert second.headers["x-companion-attempts"] == "1"
        assert len(sim.ledger) == 3
        assert sim.ledger[1].sha256 == sim.ledger[2].sha256 != sim.ledger[0].sha256

        assert [event.outcome for event in proxy.told(ExchangeSettled)] == ["repaired", "repaired"]
        assert [event.repairs for event in proxy.told(ExchangeSettled)] == [(name,), (name,)]
        assert [fact.used for fact in proxy.app.learned.items()] == [1]


async def test_what_was_learned_outlives_a_restart(tmp_path: Path):
    async with Simulator() as sim:
        sim.always = replies.refuses("max_tokens")
        async with running(tmp_path, endpoint("only", sim.url)) as proxy:
            await message(proxy.url, max_tokens=20000)
            (before,) = proxy.app.learned.items()
        async with running(tmp_path, endpoint("only", sim.url)) as proxy:
            async with asyncio.timeout(20):
                while not proxy.app.learned:  # noqa: ASYNC110  # what is waited for has no event to tell it
                    await asyncio.sleep(0.01)
            (after,) = proxy.app.learned.items()
            answer = await message(proxy.url, max_tokens=20000)

        assert answer.status == 200
        assert [received.json["max_tokens"] for received in sim.ledger] == [20000, 8192, 8192]
        assert (after.about, after.model, after.repair, after.said) == (
            before.about,
            before.model,
            before.repair,
            before.said,
        )


async def test_each_try_is_told_and_none_is_a_failure(tmp_path: Path):
    async with pair(tmp_path, replies.refuses("images")) as (proxy, first, second):
        proxy.app.events.subscribe(AttemptStarted, proxy.news.append)
        answer = await message(proxy.url, **ALL)

        assert answer.headers["x-companion-endpoint"] == "first"
        assert [len(first.ledger), len(second.ledger)] == [2, 0]
        assert [event.number for event in proxy.told(AttemptStarted)] == [1, 2]
        assert [event.status for event in proxy.told(AttemptEnded)] == [404, 200]
        assert all(view.ready for view in proxy.app.endpoints.views())


async def test_several_reasons_are_repaired_one_after_the_other_up_to_five(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        six = ["system_role", "effort", "images", "tool_properties", "context_management", "max_tokens"]
        sim.queue(*(replies.refuses(name) for name in six[:5]))
        assert (await message(proxy.url, **ALL)).status == 200
        assert len(sim.ledger) == 6
        assert [event.repairs for event in proxy.told(ExchangeSettled)] == [tuple(six[:5])]

        proxy.app.learned.forget("only")
        sim.queue(*(replies.refuses(name) for name in six))
        answer = await message(proxy.url, **ALL)
        assert (answer.status, answer.error["message"]) == (400, "Range of max_tokens should be [1, 8192]")
        assert len(sim.ledger) == 12
        assert learned(proxy) == []


async def test_a_repair_that_does_not_help_is_made_once_and_not_learned(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(400, message="角色信息不正确")
        answer = await message(proxy.url, **ALL)

        assert (answer.status, answer.error["message"]) == (400, "角色信息不正确")
        assert len(sim.ledger) == 2
        assert learned(proxy) == []


HEALED = [case for case in PASSED if case.status in {400, 422} and b"credit balance" not in case.answer]


@pytest.mark.parametrize("case", HEALED, ids=[case.answer.decode()[:80] for case in HEALED])
async def test_what_the_client_heals_passes_byte_for_byte_at_once(tmp_path: Path, case: Case):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(case.status, body=case.answer)
        answer = await ask(proxy.url, "/v1/messages?beta=true", case.sent)

        assert (answer.status, answer.body) == (case.status, case.answer)
        assert len(sim.ledger) == 1


@pytest.mark.parametrize("where", ["defaults", "endpoint"])
async def test_never_leaves_a_request_as_it_is(tmp_path: Path, where: str):
    never = {"repairs": {"never": ["system_role"]}}
    own, config = (never, {}) if where == "endpoint" else ({}, {"defaults": never})
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, **own), **config) as proxy:
        sim.always = replies.refuses("system_role")
        assert (await message(proxy.url, **ALL)).status == 400
        assert len(sim.ledger) == 1


async def test_always_repairs_before_anything_was_refused(tmp_path: Path):
    wanted = {"repairs": {"always": ["effort", "context_management"]}}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, **wanted)) as proxy:
        answer = await message(proxy.url, **ALL)

        assert answer.headers["x-companion-attempts"] == "1"
        assert not sim.ledger[0].json.keys() & {"output_config", "context_management"}
        assert proxy.told(ExchangeSettled)[0].repairs == ("effort", "context_management")
        assert learned(proxy) == []


async def test_a_users_own_credential_gets_the_answer_as_it_came(tmp_path: Path):
    auth = {"type": "passthrough"}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=auth)) as proxy:
        sim.always = replies.refuses("system_role")
        answer = await message(proxy.url, **ALL)

        assert (answer.status, len(sim.ledger)) == (400, 1)


async def test_what_is_learned_of_one_model_and_key_is_not_known_of_another(tmp_path: Path):
    auth = {"type": "api_key", "values": ["sk-first-of-the-keys", "sk-second-of-the-keys"]}
    models = {"rewrite": [{"from": "claude-*", "to": "vendor"}]}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=auth, models=models)) as proxy:
        sim.always = replies.refuses("max_tokens")
        await message(proxy.url, max_tokens=20000)
        await message(proxy.url, max_tokens=20000, model="claude-another-name-for-it")
        assert len(sim.ledger) == 3
        await message(proxy.url, max_tokens=20000, model="something-else")
        assert len(sim.ledger) == 5
        sim.queue(replies.status(401))
        await message(proxy.url, max_tokens=20000)
        assert [received.json["max_tokens"] for received in sim.ledger[5:]] == [8192, 20000, 8192]


async def test_the_beta_of_a_field_goes_with_it(tmp_path: Path):
    asked = next(each for each in captured() if each.name == "hi-1")
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.refuses("context_management")
        answer = await ask(proxy.url, asked.target, asked.body, dict(asked.headers))

        assert answer.status == 200
        before, after = (received.header("anthropic-beta") or "" for received in sim.ledger)
        gone = [each for each in before.split(",") if each not in after.split(",")]
        assert gone == ["context-management-2025-06-27"]
        told = json.loads(asked.body)
        del told["context_management"]
        assert sim.ledger[1].body == json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


async def test_an_upstream_that_wants_adaptive_thinking_back_gets_it(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.refuses("adaptive_thinking"))
        await message(proxy.url, **ALL)
        assert learned(proxy) == ["adaptive_thinking=enabled"]

        sim.queue(replies.status(400, message='"thinking.type.enabled" is not supported for this model.'))
        answer = await message(proxy.url, **ALL)
        assert answer.status == 200
        assert [received.json["thinking"]["type"] for received in sim.ledger[2:]] == ["enabled", "adaptive"]
        assert learned(proxy) == []


async def test_an_error_that_comes_with_200_is_read_for_its_words(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.error_first("invalid_request_error", "Range of max_tokens should be [1, 8192]"))
        answer = await message(proxy.url, max_tokens=20000)

        assert (answer.status, sim.ledger[1].json["max_tokens"]) == (200, 8192)


async def test_tokens_are_counted_of_the_repaired_request(tmp_path: Path):
    count = {"model": "claude-opus-5-5", "messages": CONVERSATION}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.refuses("system_role"), match=lambda received: received.path.endswith("count_tokens"))
        answer = await ask(proxy.url, "/v1/messages/count_tokens", count)

        assert answer.json["input_tokens"] > 0
        assert [len(received.json["messages"]) for received in sim.ledger] == [4, 3]


async def test_a_fault_behind_a_repair_moves_on_as_ever(tmp_path: Path):
    async with pair(tmp_path, None) as (proxy, first, second):
        first.queue(replies.refuses("images"), replies.status(529))
        answer: Answer = await message(proxy.url, **ALL)

        assert answer.headers["x-companion-endpoint"] == "second"
        assert [len(first.ledger), len(second.ledger)] == [2, 1]
        assert answer.headers["x-companion-attempts"] == "3"
        assert proxy.told(ExchangeSettled)[0].outcome == "failed over"
