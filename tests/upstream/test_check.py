"""The test of an endpoint, step by step, over real sockets: what each step says, and that it leaves no trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from companion.clock import SystemClock
from companion.config.models import EndpointSettings
from companion.errors import Kind
from companion.simulator import Simulator
from companion.simulator.exchange import Reply
from companion.simulator.messages import Message, Text
from companion.simulator.received import Received
from companion.simulator.replies import (
    cut,
    data_only,
    empty,
    empty_content,
    hang,
    headers_then_hang,
    html,
    invalid_tool_json,
    json_for_stream,
    no_message_start,
    status,
    tool_input_in_start,
)
from companion.simulator.replies.shape import Shape, shaped
from companion.upstream.check import apart, check, draft
from companion.upstream.endpoint import Candidate
from companion.upstream.steps import SENTENCES, Step, StepName, StepState
from companion.upstream.views import CandidateKey
from tests.upstream.test_endpoint import endpoint, loaded
from tests.upstream.wire import serving

SECRET = "sk-secret-0123456789"
OK, FAILED, SKIPPED, NOTE = StepState.OK, StepState.FAILED, StepState.SKIPPED, StepState.NOTE
MODELS, COUNT, MESSAGES = "/v1/models", "/v1/messages/count_tokens", "/v1/messages"


@pytest.fixture
async def upstream() -> AsyncIterator[Simulator]:
    async with Simulator() as made:
        yield made


@asynccontextmanager
async def candidate(url: str, ca: Path | None = None, **fields: Any) -> AsyncIterator[Candidate]:
    auth = {"type": "api_key", "values": [SECRET]}
    timeouts = {"headers": 0.3, "idle_gate": 0.3}
    defaults: dict[str, Any] = {} if ca is None else {"defaults": {"ca": str(ca)}}
    async with apart(
        loaded(endpoint(**({"url": url, "auth": auth, "timeouts": timeouts} | fields)), **defaults), SystemClock()
    ) as endpoints:
        yield endpoints.candidate(CandidateKey("kimi", 0))


async def steps(url: str, *, model: str | None = None, problem: str | None = None, **fields: Any) -> list[Step]:
    async with candidate(url, **fields) as subject:
        return [step async for step in check(subject, SystemClock(), model=model, problem=problem)]


def said(found: list[Step]) -> dict[str, tuple[str, str]]:
    return {step.name.value: (step.state.value, step.code) for step in found}


def one(found: list[Step], name: StepName) -> Step:
    return [step for step in found if step.name is name][-1]


def at(upstream: Simulator, path: str, reply: Reply, times: int | None = None) -> None:
    upstream.queue(reply, times=times, match=lambda received: received.path == path)


def with_tools(received: Received) -> bool:
    return received.path == MESSAGES and "tools" in received.json


async def test_a_good_endpoint_passes_every_step(upstream: Simulator) -> None:
    found = await steps(upstream.url)
    assert said(found) == {
        "dns": ("skipped", "no_lookup"),
        "connect": ("ok", "connected"),
        "tls": ("skipped", "plain_http"),
        "models": ("ok", "listed"),
        "count_tokens": ("ok", "counted"),
        "auth": ("ok", "accepted"),
        "first_byte": ("ok", "answered"),
        "stream": ("ok", "streamed"),
        "valid": ("ok", "valid"),
        "tool_call": ("ok", "tool_used"),
    }
    assert [step.name for step in found] == list(StepName)
    assert all(step.text() for step in found)


async def test_it_asks_as_live_traffic_would(upstream: Simulator) -> None:
    await steps(
        upstream.url + "/v1",
        models={"default": "k2"},
        headers={"set": {"x-team": "red"}},
        body={"set": {"temperature": 1}},
        model="claude-opus-5-5",
    )
    asked = [entry for entry in upstream.ledger if entry.path == MESSAGES]
    assert [(entry.model, entry.json["temperature"], entry.header("x-team")) for entry in asked] == [
        ("k2", 1, "red"),
        ("k2", 1, "red"),
    ]
    assert asked[0].json["max_tokens"] == 2
    assert (asked[0].header("x-api-key"), asked[0].stream) == (SECRET, True)
    assert (asked[0].header("user-agent") or "").endswith(" test")


async def test_without_a_model_a_listed_one_is_asked_for(upstream: Simulator) -> None:
    found = await steps(upstream.url)
    assert one(found, StepName.FIRST_BYTE).parameters["model"] == "claude-haiku-5-5"


async def test_a_model_that_is_not_listed_is_worth_a_note(upstream: Simulator) -> None:
    found = await steps(upstream.url, model="glm-9")
    assert (one(found, StepName.MODELS).state, one(found, StepName.MODELS).code) == (NOTE, "model_not_listed")
    assert one(found, StepName.AUTH).state is OK


# === the way there


async def test_a_host_that_nobody_knows_fails_at_dns() -> None:
    found = await steps("http://nobody.invalid")
    assert (one(found, StepName.DNS).state, one(found, StepName.DNS).code) == (FAILED, "dns")
    assert {step.state for step in found[1:]} == {SKIPPED}


async def test_nobody_there_fails_at_connect(upstream: Simulator) -> None:
    await upstream.refuse()
    found = await steps(upstream.url)
    assert (one(found, StepName.CONNECT).state, one(found, StepName.CONNECT).code) == (FAILED, "refused")
    assert (one(found, StepName.DNS).state, one(found, StepName.TLS).code) == (SKIPPED, "not_reached")


async def test_a_certificate_is_shown_with_its_end(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for days, state, code in ((90, OK, "secured"), (3, NOTE, "expires_soon")):
        async with Simulator(tls=serving(authority, "localhost", days=days)) as upstream:
            url = upstream.url.replace("127.0.0.1", "localhost")
            found = await steps(url, ca=tmp_path / "ca.pem")
        tls = one(found, StepName.TLS)
        assert (tls.state, tls.code, tls.parameters["version"]) == (state, code, "TLSv1.3")
        assert tls.parameters["days"] in {days - 1, days}
        assert one(found, StepName.DNS).code == "looked_up"
        assert one(found, StepName.TOOL_CALL).state is OK


async def test_a_certificate_of_a_stranger_fails_at_tls() -> None:
    async with Simulator(tls=serving(trustme.CA(), "127.0.0.1")) as upstream:
        found = await steps(upstream.url)
    assert said(found)["connect"] == ("ok", "connected")
    assert said(found)["tls"] == ("failed", "tls")
    assert "certificate is not accepted" in one(found, StepName.TLS).text()


# === the key


@pytest.mark.parametrize(
    ("type", "other", "refused"),
    [("api_key", "auth_token", "x-api-key"), ("auth_token", "api_key", "authorization")],
)
async def test_a_key_that_works_in_the_other_header_is_told_with_the_way_out(
    upstream: Simulator, type: str, other: str, refused: str
) -> None:
    upstream.queue(status(401), times=None, match=lambda received: received.header(refused) is not None)
    found = await steps(upstream.url, auth={"type": type, "values": [SECRET]})
    auth = [step for step in found if step.name is StepName.AUTH]
    assert [(step.state, step.code) for step in auth] == [(FAILED, "key_refused"), (FAILED, "works_as")]
    assert auth[1].parameters["type"] == other
    assert f"set auth.type to {other}" in auth[1].text()
    assert said(found)["first_byte"] == ("skipped", "not_reached")


async def test_a_key_that_works_nowhere_says_so(upstream: Simulator) -> None:
    at(upstream, MESSAGES, status(401))
    found = await steps(upstream.url)
    assert [step.code for step in found if step.name is StepName.AUTH] == ["key_refused", "works_neither_way"]


@pytest.mark.parametrize(("code", "kind"), [(402, Kind.PAYMENT), (403, Kind.FORBIDDEN)])
async def test_a_verdict_about_the_account_fails_at_auth(upstream: Simulator, code: int, kind: Kind) -> None:
    at(upstream, MESSAGES, status(code))
    assert said(await steps(upstream.url))["auth"] == ("failed", kind.value)


async def test_another_failure_says_nothing_about_the_key(upstream: Simulator) -> None:
    at(upstream, MESSAGES, status(529))
    found = await steps(upstream.url)
    assert said(found)["auth"] == ("note", "unclear")
    assert said(found)["first_byte"] == ("failed", "overloaded")
    assert one(found, StepName.FIRST_BYTE).parameters["status"] == 529


async def test_no_key_is_needed_where_none_is_sent(upstream: Simulator) -> None:
    assert said(await steps(upstream.url, auth={"type": "none"}))["auth"] == ("ok", "no_key")


async def test_nobody_s_own_key_is_at_hand(upstream: Simulator) -> None:
    found = await steps(upstream.url, auth={"type": "passthrough"})
    assert said(found)["auth"] == ("skipped", "own_key")
    assert (said(found)["connect"][0], upstream.ledger) == ("ok", [])


async def test_a_key_that_is_not_there_fails_at_auth(upstream: Simulator) -> None:
    found = await steps(upstream.url, problem="the environment variable K is not set")
    assert said(found)["auth"] == ("failed", "key_unresolved")
    assert "K is not set" in one(found, StepName.AUTH).text()
    assert upstream.ledger == []


# === extras


@pytest.mark.parametrize("code", [404, 405, 501])
async def test_what_an_upstream_need_not_have_is_a_note(upstream: Simulator, code: int) -> None:
    for path in (MODELS, COUNT):
        at(upstream, path, status(code))
    found = await steps(upstream.url)
    assert said(found)["models"] == said(found)["count_tokens"] == ("note", "not_offered")
    assert said(found)["tool_call"][0] == "ok"


async def test_extras_that_fail_are_notes_too(upstream: Simulator) -> None:
    at(upstream, MODELS, hang())
    at(upstream, COUNT, status(500))
    found = await steps(upstream.url)
    assert said(found)["models"] == ("note", "headers_timeout")
    assert said(found)["count_tokens"] == ("note", "server_error")
    assert said(found)["valid"][0] == "ok"


# === the answer


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (html(), "html"),
        (empty(), "empty_body"),
        (json_for_stream(), "not_a_stream"),
        (cut("in_text", "fin"), "cut"),
        (no_message_start(), "no_message_start"),
        (empty_content(), "empty_answer"),
        (headers_then_hang(), "idle_timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_an_answer_that_is_none_fails_at_stream(upstream: Simulator, reply: Reply, code: str) -> None:
    at(upstream, MESSAGES, reply)
    found = await steps(upstream.url)
    assert said(found)["auth"][0] == "ok"
    assert said(found)["stream"] == ("failed", code)
    assert said(found)["tool_call"] == ("skipped", "not_reached")


async def test_no_head_fails_at_the_first_byte(upstream: Simulator) -> None:
    at(upstream, MESSAGES, hang())
    assert said(await steps(upstream.url))["first_byte"] == ("failed", "headers_timeout")


async def test_violations_are_named_even_where_they_are_repaired(upstream: Simulator) -> None:
    at(upstream, MESSAGES, data_only())
    found = await steps(upstream.url)
    valid = one(found, StepName.VALID)
    assert (valid.state, valid.code) == (NOTE, "repaired")
    assert "missing_event_line" in valid.parameters["violations"]  # type: ignore[operator]  # a dict, it is
    assert said(found)["stream"][0] == "ok"


async def test_violations_fail_where_the_endpoint_is_to_be_strict(upstream: Simulator) -> None:
    at(upstream, MESSAGES, data_only())
    assert said(await steps(upstream.url, validation="strict"))["valid"] == ("failed", "violations")


async def test_violations_fail_where_all_endpoints_are_to_be_strict(upstream: Simulator) -> None:
    at(upstream, MESSAGES, data_only())
    strict = loaded(endpoint(url=upstream.url), validation="strict")
    async with apart(strict, SystemClock()) as endpoints:
        found = [step async for step in check(endpoints.candidate(CandidateKey("kimi", 0)), SystemClock())]
    assert said(found)["valid"] == ("failed", "violations")


# === the tool


async def test_a_tool_that_is_not_called_fails(upstream: Simulator) -> None:
    upstream.queue(shaped("text", Shape(of=Message((Text("No."),)))), times=None, match=with_tools)
    assert said(await steps(upstream.url))["tool_call"] == ("failed", "no_tool_use")


async def test_an_input_that_does_not_parse_fails(upstream: Simulator) -> None:
    upstream.queue(invalid_tool_json(), times=None, match=with_tools)
    assert said(await steps(upstream.url))["tool_call"] == ("failed", "violation")


async def test_an_input_that_is_put_right_is_right(upstream: Simulator) -> None:
    upstream.queue(tool_input_in_start(), times=None, match=with_tools)
    assert said(await steps(upstream.url))["tool_call"] == ("ok", "tool_used")


async def test_a_model_that_may_not_be_forced_is_asked_again_without(upstream: Simulator) -> None:
    refusal = status(400, message="tool_choice: not while thinking is on")
    upstream.queue(refusal, times=None, match=lambda received: "tool_choice" in (received.json or {}))
    await steps(upstream.url)
    assert "tool_choice" not in upstream.ledger[-1].json
    assert "tools" in upstream.ledger[-1].json


# === no trace


async def test_circuits_slots_and_counters_stay_as_they_were(upstream: Simulator) -> None:
    at(upstream, MESSAGES, status(529))
    async with candidate(upstream.url, limits={"concurrency": 1}) as subject:
        running = subject.begin("m")
        for _ in range(4):
            assert [step async for step in check(subject, SystemClock())]
        assert subject.seen(None) is subject.calm
        assert (subject.health.tally.failures, subject.health.tally.running) == (0, 1)
        running.settle(None)


@pytest.mark.parametrize("path", [MODELS, COUNT, MESSAGES])
async def test_no_secret_is_in_any_step(upstream: Simulator, path: str) -> None:
    for code in (401, 500):
        at(upstream, path, status(code, message=f"bad {SECRET}, team-secret-77, ?key=url-secret-88"), times=2)
    url = f"{upstream.url}?key=url-secret-88"
    found = await steps(url, headers={"set": {"x-team": "team-secret-77"}})
    found += await steps(url, headers={"set": {"x-team": "team-secret-77"}})
    told = msgspec.json.encode(found).decode() + "".join(step.text() for step in found)
    assert "[redacted]" in told
    assert SECRET not in told
    assert "team-secret-77" not in told
    assert "url-secret-88" not in told


async def test_closing_it_ends_what_is_under_way() -> None:
    left = asyncio.Event()

    def settled(received: Received) -> None:
        if received.path == MESSAGES:
            left.set()

    async with Simulator(settled=settled) as upstream, candidate(upstream.url) as subject:
        at(upstream, MESSAGES, headers_then_hang())
        async with aclosing(check(subject, SystemClock())) as running:
            async for step in running:
                if step.name is StepName.FIRST_BYTE:
                    break
        await asyncio.wait_for(left.wait(), 10)


async def test_settings_that_are_not_saved_can_be_tested(upstream: Simulator) -> None:
    in_force = loaded(endpoint("other", "x"))
    wanted = EndpointSettings.model_validate(endpoint("new", "unresolved", url=upstream.url))
    async with apart(draft(in_force, wanted, SECRET), SystemClock()) as endpoints:
        found = [step async for step in check(endpoints.candidate(CandidateKey("new", 0)), SystemClock())]
    assert said(found)["tool_call"][0] == "ok"
    assert upstream.ledger[0].header("authorization") == f"Bearer {SECRET}"


def test_no_sentence_is_taken_for_a_fault() -> None:
    assert not SENTENCES.keys() & {kind.value for kind in Kind}
