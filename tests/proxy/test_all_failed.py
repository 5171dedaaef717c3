"""What the client is told when nobody answered, and what is tried before that."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from companion.events import AttemptEnded, CircuitChanged, ExchangeSettled
from companion.simulator import Simulator, replies
from companion.simulator.exchange import Reply
from tests.proxy.test_faults import SHORT, pair, until
from tests.support.http import SESSION, Answer, ask, message
from tests.support.proxy import endpoint, running


async def both(folder: Path, first: Reply, second: Reply, **config: Any) -> Answer:
    async with pair(folder, first, **config) as (proxy, one, two):
        two.always = second
        answer = await message(proxy.url)

        assert [len(one.ledger), len(two.ledger)] == [1, 1]
        return answer


def says(answer: Answer, status: int, type: str, *, retry_after: str | None = None, retry: bool = True) -> str:
    assert (answer.status, answer.error["type"]) == (status, type)
    assert answer.headers.get("retry-after") == retry_after
    assert answer.headers.get("x-should-retry") == (None if retry else "false")
    sentence: str = answer.error["message"]
    assert "first" in sentence
    assert "second" in sentence
    return sentence


# === temporary


async def test_unknown_recovery_is_529_without_retry_after(tmp_path: Path):
    sentence = says(await both(tmp_path, replies.status(500), replies.status(529)), 529, "overloaded_error")
    assert "The simulator says 500." in sentence


async def test_recovery_within_a_minute_is_529_with_that_retry_after(tmp_path: Path):
    answer = await both(tmp_path, replies.status(429, retry_after=59), replies.status(429, retry_after=20))
    says(answer, 529, "overloaded_error", retry_after="20")


async def test_recovery_within_ten_minutes_is_529_and_a_minute(tmp_path: Path):
    answer = await both(tmp_path, replies.status(429, retry_after=300), replies.status(529, retry_after=500))
    says(answer, 529, "overloaded_error", retry_after="60")


async def test_later_recovery_is_429_with_the_time_in_the_sentence(tmp_path: Path):
    answer = await both(tmp_path, replies.status(429, retry_after=7200), replies.status(429, retry_after=5 * 3600))
    assert "2.0 h" in says(answer, 429, "rate_limit_error", retry=False)


async def test_one_that_may_be_back_any_moment_makes_recovery_unknown(tmp_path: Path):
    says(await both(tmp_path, replies.status(429, retry_after=7200), replies.status(500)), 529, "overloaded_error")


async def test_rate_limited_endpoints_are_not_asked_again_and_the_wait_is_told(tmp_path: Path):
    async with pair(tmp_path, replies.status(429, retry_after=40)) as (proxy, first, second):
        second.always = replies.status(429, retry_after=50)
        await message(proxy.url)
        answer = await message(proxy.url)

        assert [len(first.ledger), len(second.ledger)] == [1, 1]
        assert 30 <= int(answer.headers["retry-after"]) <= 40
        says(answer, 529, "overloaded_error", retry_after=answer.headers["retry-after"])


async def test_temporary_beats_hopeless(tmp_path: Path):
    says(await both(tmp_path, replies.status(401), replies.status(500)), 529, "overloaded_error")


# === hopeless


async def test_all_credentials_dead_is_401(tmp_path: Path):
    for status in (401, 403):
        answer = await both(tmp_path, replies.status(401), replies.status(status))
        assert "config.yaml" in says(answer, 401, "authentication_error", retry=False)


async def test_no_budget_is_429(tmp_path: Path):
    says(await both(tmp_path, replies.status(402), replies.status(402)), 429, "rate_limit_error", retry=False)


async def test_no_endpoint_is_503_and_says_where_to_add_one(tmp_path: Path):
    async with running(tmp_path) as proxy:
        for target in ("/v1/messages", "/v1/messages/count_tokens"):
            answer = await ask(proxy.url, target, {"model": "m", "messages": []})

            assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
            assert str(tmp_path / "config.yaml") in answer.error["message"]


async def test_disabled_endpoints_are_503_and_named(tmp_path: Path):
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("first", sim.url, enabled=False)) as proxy,
    ):
        answer = await message(proxy.url)

        assert (answer.status, answer.headers["x-should-retry"]) == (503, "false")
        assert "first: disabled" in answer.error["message"]


# === the upstream's own answer


@pytest.mark.parametrize("status", [404, 413])
async def test_an_answer_about_the_request_passes_when_nobody_knows_better(tmp_path: Path, status: int):
    body = b'{"type":"error","error":{"type":"not_found_error","message":"model: nope"},"request_id":"req_1"}'
    answer = await both(tmp_path, replies.status(status, body=body), replies.status(401))

    assert (answer.status, answer.body) == (status, body)


async def test_a_400_after_a_fault_passes_unmodified(tmp_path: Path):
    told = b'"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 5 maximum"'
    body = b'{"type":"error","error":{' + told + b"}}"
    answer = await both(tmp_path, replies.status(529), replies.status(400, body=body))

    assert (answer.status, answer.body) == (400, body)
    assert answer.headers["x-companion-attempts"] == "2"


async def test_our_key_is_cut_out_of_an_error_that_passes(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(400, message="Bad request with key sk-secret-of-the-first-only in it")
        answer = await message(proxy.url)

        assert answer.status == 400
        assert b"sk-secret-of-the-first" not in answer.body
        assert b"Bad request with key [redacted] in it" in answer.body


# === before that: a lone endpoint is asked again


@pytest.mark.parametrize(
    "fault",
    [
        replies.reset(),
        replies.close(),
        replies.status(502),
        replies.status(503),
        replies.status(529),
        replies.empty_content(),
        replies.no_message_start(),
        replies.html(),
        replies.json_for_stream(),
    ],
    ids=["reset", "closed", "502", "503", "529", "empty", "invalid", "html", "json"],
)
async def test_a_lone_endpoint_is_asked_again_twice_on_fresh_connections(tmp_path: Path, fault: Reply):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(fault, times=2)
        answer = await message(proxy.url)

        assert (answer.status, answer.whole) == (200, True)
        assert answer.text
        assert answer.headers["x-companion-attempts"] == "3"
        assert len({received.connection for received in sim.ledger}) == 3
        assert len({received.sha256 for received in sim.ledger}) == 1
        assert proxy.told(CircuitChanged) == []
        await asyncio.sleep(0)


async def test_a_refused_lone_endpoint_that_comes_back_is_not_noticed(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        await sim.refuse()
        asked = asyncio.create_task(message(proxy.url))
        await until(lambda: bool(proxy.told(AttemptEnded)))
        await sim.accept()

        assert (await asked).status == 200


async def test_a_lone_endpoint_is_asked_three_times_and_no_more(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(529)
        answer = await message(proxy.url)

        assert (answer.status, "retry-after" in answer.headers) == (529, False)
        assert len(sim.ledger) == 3
        assert "only: overloaded 529" in answer.error["message"]


@pytest.mark.parametrize(
    "fault",
    [replies.status(401), replies.status(500), replies.status(429), replies.status(529, retry_after=30)],
    ids=["401", "500", "429", "529 with a wait"],
)
async def test_what_no_reconnect_helps_is_not_tried_again(tmp_path: Path, fault: Reply):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = fault
        answer = await message(proxy.url)

        assert answer.status in {401, 529}
        assert len(sim.ledger) == 1


async def test_repeated_tries_have_a_budget(tmp_path: Path):
    """At least three per 10 s; after that a fifth of the requests."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.status(529)
        await asyncio.gather(*(message(proxy.url, session=f"{SESSION}{number}") for number in range(4)))

        assert len(sim.ledger) == 4 + 3


# === candidates


async def test_a_refused_key_leads_to_the_next_key_and_then_to_the_next_endpoint(tmp_path: Path):
    keys = {"type": "api_key", "values": ["key-one-of-three", "key-two-of-three", "key-three-of-three"]}
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url, auth=keys), endpoint("second", second.url)) as proxy,
    ):
        first.queue(replies.status(401))
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "first"
        assert [received.header("x-api-key") for received in first.ledger] == ["key-one-of-three", "key-two-of-three"]

        first.queue(replies.status(402), replies.status(401))
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "second"
        assert [received.header("x-api-key") for received in first.ledger[2:]] == [
            "key-two-of-three",
            "key-three-of-three",
        ]


async def test_never_more_than_six_tries(tmp_path: Path):
    async with Simulator() as sim:
        sim.always = replies.status(500)
        async with running(tmp_path, *(endpoint(f"e{number}", sim.url) for number in range(9))) as proxy:
            assert (await message(proxy.url)).status == 529

            assert len(sim.ledger) == 6


async def test_an_open_circuit_is_tried_when_nobody_else_is_left(tmp_path: Path):
    async with pair(tmp_path, replies.status(500)) as (proxy, first, second):
        for _ in range(3):
            await message(proxy.url)
        first.always = None
        second.always = replies.status(500)
        answer = await message(proxy.url)

        assert (answer.status, answer.headers["x-companion-endpoint"]) == (200, "first")


async def test_after_the_deadline_no_further_candidate_is_asked(tmp_path: Path):
    async with pair(tmp_path, replies.hang(), gate={"deadline": "200ms"}) as (proxy, first, second):
        assert (await message(proxy.url)).status == 529
        assert second.ledger == []

        first.always = replies.late(0.25)
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "first"


async def test_the_last_candidate_has_longer_for_its_headers(tmp_path: Path):
    timeouts = {**SHORT, "headers": "100ms", "headers_last": "5s"}
    async with pair(tmp_path, replies.hang(), defaults={"timeouts": timeouts}) as (proxy, _, second):
        second.always = replies.late(0.4)
        answer = await message(proxy.url)

        assert (answer.status, answer.headers["x-companion-endpoint"]) == (200, "second")


# === patience


async def test_after_patience_pings_come_and_failover_stays_invisible(tmp_path: Path):
    gate = {"patience": "100ms", "ping": "50ms"}
    timeouts = {**SHORT, "headers": "400ms"}
    async with pair(tmp_path, replies.hang(), gate=gate, defaults={"timeouts": timeouts}) as (proxy, first, _):
        answer = await message(proxy.url)

        assert (answer.status, answer.whole, len(first.ledger)) == (200, True, 1)
        assert answer.types[:2] == ["ping", "ping"]
        after = [type for type in answer.types if type != "ping"]
        assert (after[0], after[-1]) == ("message_start", "message_stop")
        assert answer.headers["x-request-id"]
        assert "x-companion-endpoint" not in answer.headers


async def test_after_patience_a_temporary_failure_is_an_overloaded_event(tmp_path: Path):
    gate = {"patience": "50ms", "ping": "50ms"}
    async with pair(tmp_path, replies.hang(), gate=gate) as (proxy, _, second):
        second.always = replies.status(500)
        answer = await message(proxy.url)

        assert (answer.status, answer.whole) == (200, True)
        assert answer.types[-1] == "error"
        assert answer.events[-1]["error"]["type"] == "overloaded_error"
        assert proxy.told(ExchangeSettled)[0].outcome == "error"


async def test_after_patience_an_answer_about_the_request_is_an_event_of_its_type(tmp_path: Path):
    gate = {"patience": "50ms", "ping": "50ms"}
    async with pair(tmp_path, replies.hang(), gate=gate) as (proxy, _, second):
        second.always = replies.status(400, message="prompt is too long: 9 tokens > 5 maximum")
        answer = await message(proxy.url)

        assert answer.events[-1]["error"] == {
            "type": "invalid_request_error",
            "message": "prompt is too long: 9 tokens > 5 maximum",
        }


async def test_a_quiet_stream_is_pinged_after_the_gate(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), gate={"ping": "60ms"}) as proxy:
        sim.queue(replies.answer("a text in two pieces", pace=0.2))
        answer = await message(proxy.url)

        assert answer.whole
        assert "ping" in answer.types[1:]
        assert answer.text == "a text in two pieces"
