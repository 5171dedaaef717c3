"""The fault table, row by row: the first endpoint fails in one way; what the client, the circuit and the ledger see.

Every test drives the real proxy over real sockets. FAULTS names them; tests/test_tables.py takes each row out and
checks that its test notices.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from companion.errors import FAULTS, Kind, Phase
from companion.events import AttemptEnded, CircuitChanged, ExchangeSettled, Switched
from companion.simulator import Simulator, replies
from companion.simulator.exchange import Reply
from tests.support.http import Answer, ask, message
from tests.support.proxy import Proxy, endpoint, running

SHORT = {
    "connect": "300ms",
    "tls": "300ms",
    "write": "300ms",
    "headers": "300ms",
    "idle_gate": "300ms",
    "idle": "1s",
    "headers_last": "1s",
}


@asynccontextmanager
async def pair(folder: Path, reply: Reply | None, **config: Any) -> AsyncIterator[tuple[Proxy, Simulator, Simulator]]:
    """A proxy before a first endpoint that gives `reply` to every message, and a healthy second one."""
    config.setdefault("defaults", {"timeouts": SHORT})
    async with (
        Simulator() as first,
        Simulator() as second,
        running(folder, endpoint("first", first.url), endpoint("second", second.url), **config) as proxy,
    ):
        first.always = reply
        yield proxy, first, second


def served_by_second(proxy: Proxy, answer: Answer, kind: Kind, phase: Phase | None = None) -> None:
    """The user noticed nothing; the news say what happened."""
    assert answer.status == 200
    assert answer.whole
    assert answer.types[-1] == "message_stop"
    assert answer.text
    assert answer.headers["x-companion-endpoint"] == "second"
    ended = proxy.told(AttemptEnded)
    assert [(each.endpoint, each.fault and each.fault.kind) for each in ended] == [("first", kind), ("second", None)]
    if phase is not None:
        assert ended[0].fault.phase is phase
    assert [(switch.from_endpoint, switch.to_endpoint) for switch in proxy.told(Switched)] == [("first", "second")]
    assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["failed over"]


async def moves_on(folder: Path, reply: Reply, kind: Kind, phase: Phase | None = None, **config: Any) -> None:
    async with pair(folder, reply, **config) as (proxy, first, second):
        answer = await message(proxy.url)

        served_by_second(proxy, answer, kind, phase)
        assert [len(first.ledger), len(second.ledger)] == [1, 1]
        assert first.ledger[0].sha256 == second.ledger[0].sha256


async def counts(folder: Path, reply: Reply) -> None:
    """Three requests open the circuit; the fourth does not even ask."""
    async with pair(folder, reply) as (proxy, first, second):
        for _ in range(4):
            assert (await message(proxy.url)).status == 200

        assert [len(first.ledger), len(second.ledger)] == [3, 4]
        assert [(change.endpoint, change.before, change.after) for change in proxy.told(CircuitChanged)] == [
            ("first", "closed", "open")
        ]


async def hurts_nobody(folder: Path, reply: Reply, requests: int = 4) -> None:
    async with pair(folder, reply) as (proxy, first, _):
        for _ in range(requests):
            assert (await message(proxy.url)).status == 200

        assert len(first.ledger) == requests
        assert proxy.told(CircuitChanged) == []


# === the network


async def test_an_unknown_host_moves_on(tmp_path: Path):
    async with (
        Simulator() as good,
        running(tmp_path, endpoint("first", "http://nowhere.invalid"), endpoint("second", good.url)) as proxy,
    ):
        served_by_second(proxy, await message(proxy.url), Kind.DNS, Phase.CONNECT)


async def test_a_refused_connection_moves_on(tmp_path: Path):
    async with pair(tmp_path, None) as (proxy, first, _):
        await first.refuse()

        served_by_second(proxy, await message(proxy.url), Kind.REFUSED, Phase.CONNECT)


async def test_an_unreachable_network_moves_on(tmp_path: Path):
    """240.0.0.0/4 is reserved: the kernel itself says that there is no way."""
    async with (
        Simulator() as good,
        running(
            tmp_path,
            endpoint("first", "http://255.255.255.255:9"),
            endpoint("second", good.url),
            defaults={"timeouts": SHORT},
        ) as proxy,
    ):
        served_by_second(proxy, await message(proxy.url), Kind.UNREACHABLE, Phase.CONNECT)


async def test_a_silent_connect_moves_on(tmp_path: Path):
    """A listener whose backlog is full lets nobody in and tells nobody."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            async with (
                Simulator() as good,
                running(
                    tmp_path,
                    endpoint("first", f"http://127.0.0.1:{address[1]}"),
                    endpoint("second", good.url),
                    defaults={"timeouts": SHORT},
                ) as proxy,
            ):
                served_by_second(proxy, await message(proxy.url), Kind.CONNECT_TIMEOUT, Phase.CONNECT)
        finally:
            for filler in fillers:
                filler.close()


async def test_a_bad_certificate_moves_on(tmp_path: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with (
        Simulator(tls=context) as untrusted,
        Simulator() as good,
        running(tmp_path, endpoint("first", untrusted.url), endpoint("second", good.url)) as proxy,
    ):
        served_by_second(proxy, await message(proxy.url), Kind.TLS, Phase.TLS)


async def test_a_silent_tls_handshake_moves_on(tmp_path: Path):
    async with (
        Simulator() as deaf,
        Simulator() as good,
        running(
            tmp_path,
            endpoint("first", deaf.url.replace("http:", "https:")),
            endpoint("second", good.url),
            defaults={"timeouts": SHORT},
        ) as proxy,
    ):
        deaf.deaf = True
        served_by_second(proxy, await message(proxy.url), Kind.TLS_TIMEOUT, Phase.TLS)


async def test_an_upstream_that_does_not_read_moves_on(tmp_path: Path):
    async with pair(tmp_path, None) as (proxy, first, _):
        first.deaf = True
        answer = await message(proxy.url, "x" * 12_000_000)

        served_by_second(proxy, answer, Kind.WRITE_TIMEOUT, Phase.WRITE)


async def test_a_reset_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.reset(), Kind.RESET, Phase.HEADERS)


async def test_a_close_before_headers_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.close(), Kind.CLOSED, Phase.HEADERS)


async def test_a_hang_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.hang(), Kind.HEADERS_TIMEOUT, Phase.HEADERS)


async def test_bytes_that_are_not_http_move_on(tmp_path: Path):
    await moves_on(tmp_path, replies.bad_http(), Kind.BAD_HTTP, Phase.HEADERS)


# === statuses


async def test_a_400_passes_through_unmodified(tmp_path: Path):
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.role: Input should be"}}'
    for code in (400, 422):
        async with pair(tmp_path, replies.status(code, body=body)) as (proxy, first, second):
            for _ in range(4):
                answer = await message(proxy.url)
                assert (answer.status, answer.body) == (code, body)
                assert answer.headers["x-companion-endpoint"] == "first"

            assert [len(first.ledger), len(second.ledger)] == [4, 0]
            assert proxy.told(CircuitChanged) == []


async def test_a_401_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(401), Kind.UNAUTHORIZED)
    await opens_the_credential(tmp_path, replies.status(401))


async def test_a_402_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(402), Kind.PAYMENT)
    await opens_the_credential(tmp_path, replies.status(402))
    broke = replies.status(400, message="Your credit balance is too low to access the Anthropic API.")
    await moves_on(tmp_path, broke, Kind.PAYMENT)


async def opens_the_credential(folder: Path, reply: Reply) -> None:
    async with pair(folder, reply) as (proxy, first, _):
        for _ in range(3):
            assert (await message(proxy.url)).status == 200

        assert len(first.ledger) == 1
        assert [change.scope for change in proxy.told(CircuitChanged)] == ["credential"]


async def test_a_403_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(403, "html"), Kind.FORBIDDEN)
    await hurts_nobody(tmp_path, replies.status(403, "html"))


async def test_a_404_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(404), Kind.NOT_FOUND)
    await hurts_nobody(tmp_path, replies.status(404))


async def test_count_tokens_that_is_not_there_moves_on(tmp_path: Path):
    def for_count(received: Any) -> bool:
        return bool(received.path == "/v1/messages/count_tokens")

    body = {"model": "claude-opus-5-5", "messages": [{"role": "user", "content": "hi"}]}
    for code in (404, 405, 501):
        async with pair(tmp_path, None) as (proxy, first, second):
            first.queue(replies.status(code), times=None, match=for_count)
            answer = await ask(proxy.url, "/v1/messages/count_tokens", body)

            assert answer.status == 200
            assert answer.json["input_tokens"] > 0
            second.queue(replies.status(code), times=None, match=for_count)
            answer = await ask(proxy.url, "/v1/messages/count_tokens", body)

            assert (answer.status, answer.headers["x-should-retry"]) == (501, "false")
            assert proxy.told(AttemptEnded)[0].fault.kind is Kind.NOT_THERE
            assert proxy.told(CircuitChanged) == []


async def test_a_408_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(408), Kind.TIMEOUT_STATUS)
    await hurts_nobody(tmp_path, replies.status(408))


async def test_a_409_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(409), Kind.CONFLICT)
    await hurts_nobody(tmp_path, replies.status(409))


async def test_a_413_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(413), Kind.TOO_LARGE)
    await hurts_nobody(tmp_path, replies.status(413))


@pytest.mark.parametrize("retry_after", [1, 59, 3600, None])
async def test_a_429_moves_on(tmp_path: Path, retry_after: float | None):
    async with pair(tmp_path, replies.status(429, retry_after=retry_after)) as (proxy, first, second):
        served_by_second(proxy, await message(proxy.url), Kind.RATE_LIMITED)
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "second"

        assert [len(first.ledger), len(second.ledger)] == [1, 2]
        view = proxy.app.endpoints.views()[0]
        assert view.limited
        assert view.until is not None
        if retry_after is not None:
            assert 0 < view.until - proxy.app.clock.monotonic() <= retry_after


async def test_a_redirect_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.redirect(301), Kind.REDIRECT)


async def test_a_500_moves_on(tmp_path: Path):
    for form in ("json", "html", "empty"):
        await moves_on(tmp_path, replies.status(500, form), Kind.SERVER_ERROR)
    await moves_on(tmp_path, replies.status(504), Kind.SERVER_ERROR)
    await counts(tmp_path, replies.status(500))


async def test_a_502_moves_on(tmp_path: Path):
    for code in (502, 520):
        await moves_on(tmp_path, replies.status(code, "html"), Kind.BAD_GATEWAY)
    await counts(tmp_path, replies.status(502))


async def test_a_503_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(503), Kind.UNAVAILABLE)
    await counts(tmp_path, replies.status(503))


async def test_a_529_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.status(529), Kind.OVERLOADED)
    await counts(tmp_path, replies.status(529))


# === a 200 that is none


async def test_html_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.html(), Kind.HTML, Phase.FIRST_CONTENT)


async def test_an_empty_body_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.empty(), Kind.EMPTY_BODY, Phase.FIRST_CONTENT)


@pytest.mark.parametrize("type", ["overloaded_error", "rate_limit_error", "api_error", "timeout_error", "odd_error"])
async def test_an_error_with_200_moves_on(tmp_path: Path, type: str):
    await moves_on(tmp_path, replies.error_json(type), Kind.ERROR_IN_200, Phase.FIRST_CONTENT)
    await moves_on(tmp_path, replies.error_first(type), Kind.ERROR_IN_200, Phase.FIRST_CONTENT)


async def test_a_refusal_with_200_moves_on(tmp_path: Path):
    reply = replies.error_json("invalid_request_error", "tools.0: odd")
    await moves_on(tmp_path, reply, Kind.REFUSAL_IN_200, Phase.FIRST_CONTENT)
    await hurts_nobody(tmp_path, reply)
    async with pair(tmp_path, reply) as (proxy, _, second):
        second.always = reply
        answer = await message(proxy.url)

        assert answer.status == 400
        assert answer.error == {"type": "invalid_request_error", "message": "tools.0: odd"}


async def test_json_for_a_stream_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.json_for_stream(), Kind.NOT_A_STREAM, Phase.FIRST_CONTENT)


async def test_json_that_is_no_message_moves_on(tmp_path: Path):
    async with pair(tmp_path, replies.status(200, body=b'{"id": "x", "choices": []}')) as (proxy, first, _):
        answer = await message(proxy.url, stream=False)

        assert answer.status == 200
        assert answer.json["type"] == "message"
        assert proxy.told(AttemptEnded)[0].fault.kind is Kind.NOT_A_MESSAGE
        assert len(first.ledger) == 1


async def test_no_message_start_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.no_message_start(), Kind.NO_MESSAGE_START, Phase.FIRST_CONTENT)


async def test_a_broken_event_moves_on(tmp_path: Path):
    start = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":'
    start += b'"assistant","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    broken = replies.events([start, b'event: content_block_start\ndata: {"type":"content_block_st\n\n'])
    await moves_on(tmp_path, broken, Kind.VIOLATION, Phase.FIRST_CONTENT)


async def test_an_empty_answer_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.empty_content(), Kind.EMPTY_ANSWER, Phase.FIRST_CONTENT)
    async with pair(tmp_path, replies.empty_content()) as (proxy, _, second):
        second.always = replies.empty_content()
        for stream in (True, False):
            answer = await message(proxy.url, stream=stream)

            assert (answer.status, answer.text) == (200, "")


async def test_an_answer_that_does_not_decompress_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.lying_encoding(), Kind.BAD_ENCODING, Phase.FIRST_CONTENT)


# === time


async def test_late_first_content_moves_on(tmp_path: Path):
    timeouts = {**SHORT, "first_content": "400ms", "idle_gate": "10s"}
    reply = replies.pings(100, every=0.05)
    await moves_on(tmp_path, reply, Kind.FIRST_CONTENT_TIMEOUT, Phase.FIRST_CONTENT, defaults={"timeouts": timeouts})


async def test_silence_before_content_moves_on(tmp_path: Path):
    await moves_on(tmp_path, replies.headers_then_hang(), Kind.IDLE_TIMEOUT, Phase.FIRST_CONTENT)
    await moves_on(tmp_path, replies.cut("before_content", "stall"), Kind.IDLE_TIMEOUT, Phase.FIRST_CONTENT)


async def test_a_whole_answer_has_one_deadline(tmp_path: Path):
    timeouts = {**SHORT, "whole_answer": "500ms"}
    async with pair(tmp_path, replies.hang(), defaults={"timeouts": timeouts}) as (proxy, _, second):
        answer = await message(proxy.url, stream=False)

        assert (answer.status, answer.error["type"]) == (529, "overloaded_error")
        assert "retry-after" not in answer.headers
        assert proxy.told(AttemptEnded)[0].fault.kind is Kind.WHOLE_TIMEOUT
        assert second.ledger == []


# === after it had begun


async def test_a_cut_before_content_moves_on(tmp_path: Path):
    for how in ("fin", "rst", "clean"):
        await moves_on(tmp_path, replies.cut("before_content", how), Kind.CUT, Phase.FIRST_CONTENT)


async def test_an_error_event_in_mid_stream_counts(tmp_path: Path):
    async with pair(tmp_path, replies.cut("in_text", "error")) as (proxy, first, _):
        for number in range(3):
            headers = {"User-Agent": "claude-cli/2.1.330", "X-Claude-Code-Session-Id": f"session-{number}"}
            body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
            answer = await ask(proxy.url, "/v1/messages", body, headers)
            assert not answer.whole

        assert [ended.fault.kind for ended in proxy.told(AttemptEnded)] == [Kind.ERROR_EVENT] * 3
        assert [change.after for change in proxy.told(CircuitChanged)] == ["open"]
        assert len(first.ledger) == 3


# === ours, and the client's


async def test_an_endpoint_without_a_free_slot_moves_on(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(
            tmp_path,
            endpoint("first", first.url, limits={"concurrency": 1}),
            endpoint("second", second.url),
        ) as proxy,
    ):
        first.queue(replies.late(0.4))
        slow = asyncio.create_task(message(proxy.url))
        await until(lambda: bool(first.ledger))
        quick = await message(proxy.url)

        assert quick.headers["x-companion-endpoint"] == "second"
        assert (await slow).headers["x-companion-endpoint"] == "first"
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "first"
        assert proxy.told(CircuitChanged) == []


async def test_an_unresolved_secret_moves_on(tmp_path: Path):
    """One that is known from the start is not even planned; one that goes while it waits its turn is a fault."""
    missing = {"type": "api_key", "values": ["${COMPANION_TEST_NO_SUCH_VARIABLE}"]}
    async with Simulator() as sim, running(tmp_path, endpoint("first", sim.url, auth=missing)) as proxy:
        answer = await message(proxy.url)

        assert (answer.status, answer.headers["x-should-retry"]) == (401, "false")
        assert "COMPANION_TEST_NO_SUCH_VARIABLE" in answer.error["message"]
        assert sim.ledger == []
    async with pair(tmp_path, replies.late(0.3)) as (proxy, first, second):
        first.always = replies.hang()
        asked = asyncio.create_task(message(proxy.url))
        await until(lambda: bool(first.ledger))
        loaded = proxy.app.loaded
        proxy.app.endpoints.apply(without(loaded, "second"))
        answer = await asked

        assert "was removed from the configuration" in answer.error["message"]
        assert second.ledger == []


def without(loaded: Any, name: str) -> Any:
    from dataclasses import replace

    kept = tuple(each for each in loaded.settings.endpoints if each.name != name)
    return replace(loaded, settings=loaded.settings.model_copy(update={"endpoints": kept}))


async def test_our_own_mistake_is_a_500_and_blames_us(tmp_path: Path):
    """A body edit that cannot be encoded is nobody's fault but ours: 500, and the circuit stays as it is."""
    async with pair(tmp_path, None) as (proxy, first, second):
        candidate = proxy.app.endpoints.candidate(proxy.app.endpoints.views()[0].key)
        await candidate.transport.aclose()
        object.__setattr__(candidate, "timeouts", None)
        for _ in range(4):
            answer = await message(proxy.url)
            assert (answer.status, answer.error["type"]) == (500, "api_error")
            assert "Companion" in answer.error["message"]

        assert {ended.fault.kind for ended in proxy.told(AttemptEnded)} == {Kind.INTERNAL}
        assert proxy.told(CircuitChanged) == []
        assert [first.ledger, second.ledger] == [[], []]


async def test_our_own_mistake_after_the_gate_is_no_success(tmp_path: Path):
    slow = {"timeouts": {**SHORT, "idle_gate": "5s"}}
    async with pair(tmp_path, replies.answer("a text in two pieces", pace=0.2), defaults=slow) as (proxy, first, _):
        candidate = proxy.app.endpoints.candidate(proxy.app.endpoints.views()[0].key)
        asked = asyncio.create_task(message(proxy.url))
        await until(lambda: bool(first.ledger))
        await asyncio.sleep(0.1)
        object.__setattr__(candidate, "timeouts", None)
        answer = await asked

        assert not answer.whole
        assert [ended.fault.kind for ended in proxy.told(AttemptEnded)] == [Kind.INTERNAL]
        assert [settled.outcome for settled in proxy.told(ExchangeSettled)] == ["error"]


async def test_a_client_that_leaves_hurts_nobody(tmp_path: Path):
    async with pair(tmp_path, replies.hang(), defaults={"timeouts": {"headers": "60s"}}) as (proxy, first, second):
        for number in range(4):
            asked = asyncio.create_task(message(proxy.url))
            await until(lambda: len(first.ledger) == number + 1)  # noqa: B023  # awaited in this very round
            asked.cancel()
            await until(lambda: first.ledger[number].eof_at is not None)  # noqa: B023  # as above
        await until(lambda: len(proxy.told(ExchangeSettled)) == 4)

        assert {settled.outcome for settled in proxy.told(ExchangeSettled)} == {"cancelled by client"}
        assert {ended.fault.kind for ended in proxy.told(AttemptEnded)} == {Kind.CANCELLED}
        assert proxy.told(CircuitChanged) == []
        assert second.ledger == []


async def until(true: Callable[[], bool]) -> None:
    """Wait for what is about to happen, as long as a noisy machine may take for it."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # what is waited for has no event to tell it
            await asyncio.sleep(0.005)


def test_every_kind_has_its_row():
    assert set(FAULTS) == set(Kind)
