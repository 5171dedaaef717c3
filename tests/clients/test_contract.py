"""The contract between Claude Code and a gateway, as its vendor publishes it: a test for each line, named after it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from companion.cli.client import variables
from companion.events import ExchangeStarted
from companion.simulator import Received, Simulator, replies
from tests.support.http import CLAUDE_CODE, SESSION, Answer, Connection, ask
from tests.support.proxy import KEY, Proxy, endpoint, running

MODEL: Final = "claude-opus-5-5"
ASKED: Final[dict[str, Any]] = {
    "model": MODEL,
    "max_tokens": 100,
    "stream": True,
    "messages": [{"role": "user", "content": "hi"}],
}
DISCOVERY: Final = {"User-Agent": "claude-code/2.1.330", "anthropic-version": "2023-06-01"}
PASSTHROUGH: Final = {"auth": {"type": "passthrough", "values": []}}


@asynccontextmanager
async def gateway(folder: Path, **changes: Any) -> AsyncIterator[tuple[Simulator, Proxy]]:
    async with Simulator() as sim, running(folder, endpoint("only", sim.url, **changes)) as proxy:
        yield sim, proxy


async def post(proxy: Proxy, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    told = {"User-Agent": CLAUDE_CODE, "Content-Type": "application/json", **(headers or {})}
    return await ask(proxy.url, "/v1/messages?beta=true", {**ASKED, **fields}, told)


def for_models(received: Received) -> bool:
    return received.path.startswith("/v1/models")


# === routes


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages?beta=true", "/v1/messages?beta=true&x=%2F1&y="])
async def test_messages_are_matched_on_the_path_and_the_query_is_kept(tmp_path: Path, target: str):
    async with gateway(tmp_path) as (sim, proxy):
        answer = await ask(proxy.url, target, ASKED)

        assert (answer.status, answer.types[-1]) == (200, "message_stop")
        assert sim.ledger[0].target == target


async def test_count_tokens_is_optional(tmp_path: Path):
    """Where it is absent, an answer that nobody retries lets the client estimate."""
    async with gateway(tmp_path) as (sim, proxy):
        target = "/v1/messages/count_tokens?beta=true"
        there = await ask(proxy.url, target, ASKED)
        sim.queue(replies.status(404), match=lambda received: received.path.endswith("count_tokens"))
        absent = await ask(proxy.url, target, ASKED)

        assert (there.status, list(there.json)) == (200, ["input_tokens"])
        assert sim.ledger[0].target == target
        assert (absent.status, absent.headers["x-should-retry"]) == (501, "false")
        assert absent.error["type"] == "api_error"


@pytest.mark.parametrize("credential", [{"Authorization": "Bearer mine"}, {"x-api-key": "mine"}])
async def test_model_discovery_works_with_either_credential_header(tmp_path: Path, credential: dict[str, str]):
    async with gateway(tmp_path) as (_, proxy):
        answer = await ask(proxy.url, "/v1/models?limit=1000", headers=DISCOVERY | credential)

        assert answer.status == 200
        assert {"id": MODEL, "display_name": "Claude Opus 5.5"}.items() <= answer.json["data"][0].items()


@pytest.mark.parametrize("reply", [replies.redirect(), replies.status(404), replies.status(500), replies.html()])
async def test_model_discovery_never_redirects_and_names_what_the_configuration_knows(tmp_path: Path, reply: Any):
    models = {"rewrite": [{"from": "claude-glm", "to": "glm-5"}]}
    async with gateway(tmp_path, models=models) as (sim, proxy):
        sim.queue(reply, times=None, match=for_models)
        answer = await ask(proxy.url, "/v1/models?limit=1000", headers=DISCOVERY)

        assert answer.status == 200
        assert [(model["id"], model["display_name"]) for model in answer.json["data"]] == [("claude-glm", "claude-glm")]


async def test_model_discovery_ends_within_three_seconds(tmp_path: Path):
    """The client waits no longer, whatever the upstream does."""
    models = {"rewrite": [{"from": "claude-glm", "to": "glm-5"}]}
    async with gateway(tmp_path, models=models) as (sim, proxy):
        sim.queue(replies.hang(), times=None, match=for_models)
        began = time.monotonic()
        answer = await ask(proxy.url, "/v1/models?limit=1000", headers=DISCOVERY)

        assert time.monotonic() - began < 3
        assert (answer.status, answer.json["data"][0]["id"]) == (200, "claude-glm")


@pytest.mark.parametrize("path", ["/", "/api/hello"])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_start_up_probes_are_answered_with_200(tmp_path: Path, method: str, path: str):
    async with gateway(tmp_path) as (sim, proxy):
        answer = await ask(proxy.url, path, method=method)

        assert (answer.status, answer.whole) == (200, True)
        assert sim.ledger == []


# === forward unchanged


async def test_version_and_betas_are_forwarded_verbatim_whatever_they_are(tmp_path: Path):
    headers = {
        "anthropic-version": "2031-12-31",
        "anthropic-beta": "claude-code-20250219,not-yet-known-2031-01-01, odd",
    }
    async with gateway(tmp_path) as (sim, proxy):
        assert (await post(proxy, headers)).status == 200

        assert {name: sim.ledger[0].header(name) for name in headers} == headers


async def test_every_other_anthropic_header_is_forwarded(tmp_path: Path):
    headers = {"anthropic-workspace-id": "wrkspc_1", "anthropic-something-new": "a; b=c", "Anthropic-Odd-Case": "X"}
    async with gateway(tmp_path) as (sim, proxy):
        assert (await post(proxy, headers)).status == 200

        assert {name: sim.ledger[0].header(name) for name in headers} == headers


async def test_every_body_field_is_forwarded_known_or_not(tmp_path: Path):
    """Also odd spacing, escapes, duplicate keys, lone surrogates and numbers that no float can hold."""
    raw = (
        b'{ "model" : "claude-opus-5-5","stream":true,\n "new_field": {"deep": [1e400, 12345678901234567890123]},'
        b'"messages":[{"role":"system","content":"s","x":1},{"role":"user","content":"\\ud800 \\u00e9 \xc3\xa9"}],'
        b'"tools":[{"name":"T","strict":true,"defer_loading":true,"input_schema":{}}],"new_field":2 }\n'
    )
    async with gateway(tmp_path) as (sim, proxy):
        answer = await ask(proxy.url, "/v1/messages", raw, {"User-Agent": CLAUDE_CODE})

        assert answer.status == 200
        assert sim.ledger[0].body == raw


async def test_a_beta_header_and_its_body_field_travel_as_a_pair(tmp_path: Path):
    """Also where a rule changes another field."""
    field = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
    beta = {"anthropic-beta": "context-management-2025-06-27"}
    for changes in ({}, {"models": {"default": "glm-5"}}, {"body": {"set": {"top_k": 5}}}):
        async with gateway(tmp_path, **changes) as (sim, proxy):
            await post(proxy, beta, **field)

            assert sim.ledger[0].header("anthropic-beta") == beta["anthropic-beta"]
            assert sim.ledger[0].json["context_management"] == field["context_management"]


async def test_the_system_array_stays_exactly_as_it_came(tmp_path: Path):
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.abc; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are…", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}},
    ]
    async with gateway(tmp_path, models={"default": "glm-5"}) as (sim, proxy):
        await post(proxy, system=system)

        assert b'"system": ' + json.dumps(system).encode() in sim.ledger[0].body
        assert sim.ledger[0].model == "glm-5"


@pytest.mark.parametrize("code", [400, 404, 413, 422])
async def test_upstream_error_bodies_pass_unmodified_with_their_status(tmp_path: Path, code: int):
    body = (
        b'{"type": "error",  "error": {"message": "messages.1.role: Input should be ...", "type": "odd_error"}, "x": 1}'
    )
    async with gateway(tmp_path) as (sim, proxy):
        sim.always = replies.status(code, body=body)
        answer = await post(proxy)

        assert (answer.status, answer.body) == (code, body)
        assert answer.headers["content-type"] == "application/json"
        assert len(sim.ledger) == 1


async def test_the_response_streams(tmp_path: Path):
    """The first text is here while the upstream still speaks."""
    async with gateway(tmp_path) as (sim, proxy), Connection(proxy.url) as connection:
        asked = {**ASKED, "messages": [{"role": "user", "content": "[[script:long deltas=60 pace=20ms]]"}]}
        await connection.send("POST", "/v1/messages", {"User-Agent": CLAUDE_CODE}, json.dumps(asked).encode())
        answer = await connection.head()
        await connection.reader.readuntil(b"text_delta")

        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in answer.headers
        assert not sim.ledger[0].finished


async def test_silence_is_filled_with_pings(tmp_path: Path):
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url), gate={"ping": "50ms"}) as proxy,
        Connection(proxy.url) as connection,
    ):
        sim.queue(replies.cut("in_text", "stall"))
        await connection.send("POST", "/v1/messages", {"User-Agent": CLAUDE_CODE}, json.dumps(ASKED).encode())
        await connection.head()
        for _ in range(3):
            await connection.reader.readuntil(b"event: ping")


# === ours to consume


async def test_the_session_is_read_and_ids_and_custom_headers_are_carried(tmp_path: Path):
    headers = {
        "x-claude-code-session-id": SESSION,
        "x-claude-code-agent-id": "agent-1",
        "x-claude-code-parent-agent-id": "agent-0",
        "x-claude-code-request-class": "main",
        "X-Label": "fast",
    }
    async with gateway(tmp_path) as (sim, proxy):
        started: list[ExchangeStarted] = []
        proxy.app.events.subscribe(ExchangeStarted, started.append)
        await post(proxy, headers)

        assert [each.session for each in started] == [SESSION]
        assert {name: sim.ledger[0].header(name) for name in headers} == headers


async def test_the_session_of_metadata_counts_where_there_is_no_header(tmp_path: Path):
    user = json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION})
    async with gateway(tmp_path) as (_, proxy):
        started: list[ExchangeStarted] = []
        proxy.app.events.subscribe(ExchangeStarted, started.append)
        await post(proxy, metadata={"user_id": user})

        assert [each.session for each in started] == [SESSION]


# === credentials the client can send


@pytest.mark.parametrize(
    "sent",
    [
        {"Authorization": "Bearer the-auth-token"},
        {"x-api-key": "the-api-key"},
        {"Authorization": "Bearer from-the-helper", "x-api-key": "from-the-helper"},
        {},
    ],
    ids=["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "apiKeyHelper", "none"],
)
async def test_any_credential_is_accepted_and_replaced_by_the_endpoints(tmp_path: Path, sent: dict[str, str]):
    async with gateway(tmp_path) as (sim, proxy):
        assert (await post(proxy, sent)).status == 200

        assert sim.ledger[0].header("authorization") is None
        assert sim.ledger[0].header("x-api-key") == f"{KEY}-only"


LOGIN: Final = {"Authorization": "Bearer the-users-own-login-0123456789", "anthropic-beta": "oauth-2025-04-20,a-b"}


async def test_a_users_own_login_travels_through_byte_for_byte(tmp_path: Path):
    async with gateway(tmp_path, **PASSTHROUGH) as (sim, proxy):
        assert (await post(proxy, LOGIN)).status == 200

        assert {name: sim.ledger[0].header(name) for name in LOGIN} == LOGIN
        assert sim.ledger[0].header("x-api-key") is None


@pytest.mark.parametrize("code", [401, 403, 429])
async def test_a_users_own_login_is_never_failed_over(tmp_path: Path, code: int):
    """What its upstream says about it is said to the user, limits and all; nobody else gets to see it."""
    told = {"retry-after": "3600", "anthropic-ratelimit-unified-status": "rejected"}
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url, **PASSTHROUGH), endpoint("second", second.url)) as proxy,
    ):
        first.always = replies.status(code, headers=told)
        for _ in range(2):
            answer = await post(proxy, LOGIN)

            assert answer.status == code
            assert answer.error["message"] == f"The simulator says {code}."
            assert told.items() <= answer.headers.items()
        assert [len(first.ledger), len(second.ledger)] == [2, 0]


async def test_a_users_own_login_is_handed_to_no_endpoint_with_a_key_of_its_own(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url, **PASSTHROUGH), endpoint("second", second.url)) as proxy,
    ):
        first.always = replies.status(529)
        assert (await post(proxy, LOGIN)).status == 200

        assert second.ledger[0].header("authorization") is None


async def test_a_users_own_login_is_never_logged_or_stored(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Not even when its upstream echoes it in an error; only the user himself gets that back."""
    secret = LOGIN["Authorization"].removeprefix("Bearer ")
    config = {"logging": {"level": "debug"}, "health": {"failures": 100}}
    async with (
        Simulator() as first,
        Simulator() as second,
        running(
            tmp_path, endpoint("first", first.url, **PASSTHROUGH), endpoint("second", second.url), **config
        ) as proxy,
    ):
        for code in (401, 400, 500, 529):
            first.queue(replies.status(code, message=f"odd token {secret}"))
            await post(proxy, LOGIN)
        page = (await ask(proxy.url, "/admin/")).body
        told = [event.fault.message for event in proxy.news if getattr(event, "fault", None) is not None]

    logged = "".join(capfd.readouterr())
    files = await asyncio.to_thread(lambda: [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()])
    assert "odd token" in logged
    assert len(told) >= 4
    assert all(
        secret.encode() not in text for text in [logged.encode(), page, *(each.encode() for each in told), *files]
    )


# === known feature breakages

FEATURES: Final[dict[str, tuple[dict[str, str], dict[str, Any], str]]] = {
    "adaptive thinking": (
        {},
        {"thinking": {"type": "adaptive"}, "model": "glm-5"},
        "adaptive thinking is not supported on this model",
    ),
    "context management": (
        {"anthropic-beta": "context-management-2025-06-27"},
        {"context_management": {"edits": []}},
        "context_management: Extra inputs are not permitted",
    ),
    "1M context": ({"anthropic-beta": "context-1m-2025-08-07"}, {}, "Unexpected value(s) `context-1m-2025-08-07`"),
    "tool fields": (
        {"anthropic-beta": "advanced-tool-use-2025-11-20"},
        {"tools": [{"name": "T", "input_schema": {}, "strict": True, "defer_loading": True}]},
        "tools.0.defer_loading: Extra inputs are not permitted",
    ),
    "effort": (
        {"anthropic-beta": "effort-2025-11-24"},
        {"output_config": {"effort": "high", "task_budget": {"tokens": 1}}},
        "output_config: Extra inputs are not permitted",
    ),
    "system messages": (
        {},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "s"}]},
        "messages.1.role: Input should be 'user' or 'assistant'",
    ),
    "thinking signatures": (
        {},
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""}]}]},
        "messages.0.content.0: Invalid `signature` in `thinking` block",
    ),
    "what a gateway cannot": ({}, {}, "capability_rejected: mid_conv_system"),
}


@pytest.mark.parametrize("feature", FEATURES)
async def test_a_feature_is_forwarded_and_its_rejection_keeps_its_wording(tmp_path: Path, feature: str):
    """The client repairs itself by that wording, so nobody else is asked, and no circuit moves."""
    headers, fields, wording = FEATURES[feature]
    async with gateway(tmp_path) as (sim, proxy):
        assert (await post(proxy, headers, **fields)).status == 200
        sim.always = replies.status(400, message=wording)
        answer = await post(proxy, headers, **fields)

        assert sim.ledger[0].json == {**ASKED, **fields}
        assert {name: sim.ledger[0].header(name) for name in headers} == headers
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
        assert answer.error["message"] == wording
        assert proxy.app.endpoints.views()[0].ready


# === what the user should set


def test_the_users_variables_are_the_ones_the_contract_names():
    assert variables("http://127.0.0.1:8080", own_credential=False) == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",
        "ANTHROPIC_AUTH_TOKEN": "companion",
        "API_TIMEOUT_MS": "600000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


async def test_requests_of_one_session_are_served_at_once(tmp_path: Path):
    """Sub-agents speak while their parent does, and count_tokens comes in bursts of 25."""
    async with gateway(tmp_path, limits={"concurrency": 4}) as (sim, proxy):
        counts = [ask(proxy.url, "/v1/messages/count_tokens?beta=true", ASKED) for _ in range(25)]
        answers = await asyncio.gather(post(proxy), *counts, post(proxy))

        assert {answer.status for answer in answers} == {200}
        assert len(sim.ledger) == 27
