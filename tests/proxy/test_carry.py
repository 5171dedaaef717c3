"""Carrying: what goes up, what comes back, and which path is answered by whom."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from companion.events import ExchangeSettled
from companion.simulator import Simulator, replies
from tests.proxy.test_faults import pair, until
from tests.support.http import Connection, ask, message
from tests.support.proxy import endpoint, running

COUNT = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "hi"}]}


async def test_one_endpoint_answers_and_nothing_is_changed(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        direct = await message(sim.url)
        through = await message(proxy.url)

        assert through.body == direct.body
        assert sim.ledger[0].sha256 == sim.ledger[1].sha256
        assert sim.ledger[1].target == "/v1/messages?beta=true"
        settled = proxy.told(ExchangeSettled)[0]
        assert (settled.outcome, settled.attempts, settled.endpoint) == ("complete", 1, "only")
        assert settled.output_tokens > 0


async def test_a_whole_answer_is_passed_byte_for_byte(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        direct = await message(sim.url, stream=False)
        through = await message(proxy.url, stream=False)

        assert through.body == direct.body
        assert through.headers["content-length"] == str(len(direct.body))


async def test_headers_of_the_answer_pass_but_for_what_is_not_the_clients_business(tmp_path: Path):
    async with Simulator() as sim:
        direct = await message(sim.url)
        async with running(tmp_path, endpoint("only", sim.url)) as proxy:
            alone = await message(proxy.url)
        async with running(tmp_path, endpoint("a", sim.url), endpoint("b", sim.url)) as proxy:
            pooled = await message(proxy.url)

    assert "set-cookie" in direct.headers
    for answer in (alone, pooled):
        assert answer.headers["request-id"].startswith("req_")
        for name in ("set-cookie", "alt-svc", "strict-transport-security", "anthropic-organization-id"):
            assert name not in answer.headers
    limits = [name for name in direct.headers if name.startswith("anthropic-ratelimit-")]
    assert limits
    assert all(name in alone.headers for name in limits)
    assert not any(name in pooled.headers for name in limits)


async def test_our_own_headers_say_who_answered_and_can_be_switched_off(tmp_path: Path):
    async with Simulator() as sim:
        async with running(tmp_path, endpoint("größer", sim.url, auth={"type": "none"})) as proxy:
            answer = await message(proxy.url)
            assert len(answer.headers["x-request-id"]) == 26
            assert answer.headers["x-companion-endpoint"] == "gr%C3%B6%C3%9Fer"
            assert answer.headers["x-companion-attempts"] == "1"
        async with running(tmp_path, endpoint("only", sim.url), response_headers=False) as proxy:
            answer = await message(proxy.url)
            assert not [name for name in answer.headers if name.startswith("x-companion")]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_rewritten_model_is_asked_for_and_the_clients_name_is_shown(tmp_path: Path, stream: bool):
    models = {"rewrite": [{"from": "claude-*", "to": "vendor/model-1"}]}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, models=models)) as proxy:
        answer = await message(proxy.url, stream=stream)

        assert sim.ledger[0].model == "vendor/model-1"
        shown = answer.events[0]["message"] if stream else answer.json
        assert shown["model"] == "claude-opus-5-5"
        assert b"vendor/model-1" not in answer.body
        settled = proxy.told(ExchangeSettled)[0]
        assert (settled.model, settled.model_sent) == ("claude-opus-5-5", "vendor/model-1")


@pytest.mark.parametrize(
    "reply", [replies.gzip(), replies.gzip(whole=True), replies.deflate(), replies.deflate(raw=True)]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_compressed_answer_reaches_the_client_plain(tmp_path: Path, reply: Any, stream: bool):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        plain = await message(proxy.url, stream=stream)
        sim.queue(reply)
        answer = await message(proxy.url, stream=stream)

        assert answer.body == plain.body
        assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("reply", [replies.crlf(), replies.bytewise(1), replies.bytewise(23), replies.unframed()])
async def test_a_stream_in_any_dress_arrives(tmp_path: Path, reply: Any):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        plain = await message(proxy.url)
        sim.queue(reply)
        answer = await message(proxy.url)

        assert answer.whole
        assert answer.body.replace(b"\r\n", b"\n") == plain.body


async def test_right_bytes_under_a_wrong_type_get_the_right_one(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.wrong_type("application/octet-stream"))
        answer = await message(proxy.url)

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.types[-1] == "message_stop"


async def test_a_users_own_credential_travels_and_its_answer_comes_as_it_is(tmp_path: Path):
    own = {"type": "passthrough"}
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url, auth=own), endpoint("second", second.url)) as proxy,
    ):
        for status in (401, 403, 429):
            first.queue(
                replies.status(status, retry_after=77, headers={"anthropic-ratelimit-unified-status": "rejected"})
            )
            answer = await message(proxy.url)

            assert answer.status == status
            assert answer.headers["retry-after"] == "77"
            assert answer.headers["anthropic-ratelimit-unified-status"] == "rejected"
            assert first.ledger[-1].header("authorization") == "Bearer the-clients-own"
        first.queue(replies.status(503))
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "second"
        assert second.ledger[0].header("authorization") is None


async def test_count_tokens_takes_no_slot_and_its_bursts_pass(tmp_path: Path):
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url, limits={"concurrency": 1})) as proxy,
    ):
        answers = await asyncio.gather(
            *(ask(proxy.url, "/v1/messages/count_tokens?beta=true", COUNT) for _ in range(25)), message(proxy.url)
        )

        assert {answer.status for answer in answers} == {200}


async def test_models_come_from_the_upstream_or_else_from_the_configuration(tmp_path: Path):
    models = {"default": "kimi-k2", "rewrite": [{"from": "claude-opus-5-5", "to": "x"}, {"from": "*haiku*", "to": "y"}]}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, models=models)) as proxy:
        theirs = await ask(proxy.url, "/v1/models?limit=1000")
        assert theirs.json["data"]
        one = theirs.json["data"][0]["id"]
        assert (await ask(proxy.url, f"/v1/models/{one}")).json["id"] == one

        def for_models(received: Any) -> bool:
            return bool(received.path.startswith("/v1/models"))

        sim.queue(replies.status(404), times=None, match=for_models)
        ours = await ask(proxy.url, "/v1/models?limit=1000")
        assert [model["id"] for model in ours.json["data"]] == ["claude-opus-5-5", "kimi-k2"]
        assert ours.json["has_more"] is False
        assert (await ask(proxy.url, "/v1/models/kimi-k2")).json["type"] == "model"
        unknown = await ask(proxy.url, "/v1/models/nope")
        assert (unknown.status, unknown.error["type"]) == (404, "not_found_error")


async def test_other_paths_go_to_the_first_endpoint_that_can_be_reached(tmp_path: Path):
    async with pair(tmp_path, None) as (proxy, first, second):
        answer = await ask(proxy.url, "/v1/files/abc?x=1", method="GET")
        assert (answer.status, answer.headers["x-companion-endpoint"]) == (404, "first")
        assert first.ledger[0].target == "/v1/files/abc?x=1"

        await first.refuse()
        answer = await ask(proxy.url, "/v1/messages/batches", b'{"requests": []}')
        assert (answer.status, answer.headers["x-companion-endpoint"]) == (404, "second")
        assert second.ledger[0].body == b'{"requests": []}'


@pytest.mark.parametrize("path", ["//v1/messages", "/v1/messages/"])
async def test_a_slash_too_many_means_the_same(tmp_path: Path, path: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url + "/v1/")) as proxy:
        assert (await ask(proxy.url, path, COUNT)).status == 200
        assert sim.ledger[0].target == "/v1/messages"


async def test_probes_are_answered_on_the_spot(tmp_path: Path):
    async with running(tmp_path) as proxy:
        for method in ("HEAD", "GET"):
            for path in ("/", "/api/hello", "/healthz"):
                assert (await ask(proxy.url, path, method=method)).status == 200
        assert (await ask(proxy.url, "/readyz")).status == 503
        assert (await ask(proxy.url, "/admin")).headers["location"] == "/admin/"
        page = await ask(proxy.url, "/admin/")
        assert (page.status, "None yet" in page.body.decode()) == (200, True)
        missing = await ask(proxy.url, "/nowhere")
        assert (missing.status, missing.error["type"]) == (404, "not_found_error")
        wrong = await ask(proxy.url, "/v1/messages", method="GET")
        assert (wrong.status, "POST" in wrong.error["message"]) == (405, True)


async def test_the_page_tells_states_and_no_secret(tmp_path: Path):
    auth = {"type": "api_key", "values": ["sk-very-secret-key", "${COMPANION_TEST_NO_SUCH_VARIABLE}"]}
    async with Simulator() as sim, running(tmp_path, endpoint("<b>&co", sim.url, auth=auth)) as proxy:
        assert (await ask(proxy.url, "/readyz")).status == 200
        page = (await ask(proxy.url, "/admin/")).body.decode()

        assert "&lt;b&gt;&amp;co" in page
        assert "sk-very-secret-key" not in page
        assert "COMPANION_TEST_NO_SUCH_VARIABLE is not set" in page


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"nonsense", "not valid JSON"),
        (b'{"messages": []}', "model: Field required"),
        (b'{"model": "m", "messages": "x"}', "messages: Input should be a list"),
    ],
)
async def test_a_clients_mistake_is_told_and_hurts_no_endpoint(tmp_path: Path, body: bytes, said: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        answer = await ask(proxy.url, "/v1/messages", body)

        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert said in answer.error["message"]
        assert sim.ledger == []
        assert proxy.told(ExchangeSettled)[0].outcome == "rejected"


async def test_a_body_over_the_limit_is_413(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server={"max_body": "64KiB"}) as proxy:
        answer = await message(proxy.url, "x" * 70_000)

        assert (answer.status, answer.error["type"]) == (413, "request_too_large")
        assert sim.ledger == []


async def test_a_connection_serves_one_request_after_the_other(tmp_path: Path):
    """Also right behind a stream, whose upstream connection is free again."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        async with Connection(proxy.url) as connection:
            for _ in range(5):
                assert (await connection.ask("POST", "/v1/messages", None, body)).whole

        assert len({received.connection for received in sim.ledger}) == 1


async def test_an_upstream_that_keeps_its_connection_open_does_not_keep_the_client_waiting(tmp_path: Path):
    """message_stop is the end; what the upstream owes after it is its own business."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        plain = await message(proxy.url)
        sim.queue(replies.events([plain.body], end="hang"))
        async with asyncio.timeout(0.9):
            answer = await message(proxy.url)

        assert answer.whole
        assert (await message(proxy.url)).whole
        await until(lambda: sim.ledger[1].eof_at is not None)


async def test_a_change_of_the_file_is_live_and_a_mistake_changes_nothing(tmp_path: Path):
    async with Simulator() as first, Simulator() as second, running(tmp_path, endpoint("a", first.url)) as proxy:
        stop = asyncio.Event()
        serving = asyncio.create_task(proxy.app.run_until(stop))
        path = tmp_path / "config.yaml"
        text = path.read_text()
        await asyncio.sleep(0.2)
        path.write_text(text.replace(first.url, second.url))
        await until(lambda: proxy.app.loaded.settings.endpoints[0].url == second.url)
        assert (await message(proxy.url)).status == 200
        assert [len(first.ledger), len(second.ledger)] == [0, 1]

        path.write_text(text.replace("priority", "prioritty"))
        await until(lambda: bool(proxy.app.problems))
        assert (await message(proxy.url)).status == 200
        assert "did you mean" in (await ask(proxy.url, "/admin/")).body.decode()
        path.write_text(text)
        await until(lambda: not proxy.app.problems)
        stop.set()
        await serving
