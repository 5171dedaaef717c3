"""Probes under a fake clock, against the simulator: when they are made, what they ask, what they do to a circuit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from companion import __version__
from companion.clock import FakeClock, SystemClock
from companion.config.file import Loaded
from companion.errors import Fault, Kind, Party, Phase
from companion.events import CircuitChanged, ConfigChanged, Events, Probed
from companion.simulator import Simulator
from companion.simulator.exchange import Exchange, Reply
from companion.simulator.replies import status
from companion.upstream.endpoint import Endpoints
from companion.upstream.probe import HOPELESS, Probes
from companion.upstream.views import CandidateKey, CandidateView, CircuitState
from tests.upstream.test_endpoint import endpoint, loaded

KEY = CandidateKey("kimi", 0)
OVERLOADED = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED)
REFUSED = Fault(Party.UPSTREAM, Phase.CONNECT, Kind.REFUSED)
UNAUTHORIZED = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.UNAUTHORIZED)
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Bench:
    """An endpoint, its probes, and a simulator behind it. The dice lie at 0.5: no jitter."""

    def __init__(self, upstream: Simulator, clock: Any = None) -> None:
        self.upstream = upstream
        self.clock = clock or FakeClock()
        self.events = Events()
        self.changes: list[CircuitChanged] = []
        self.probed: list[Probed] = []
        self.events.subscribe(CircuitChanged, self.changes.append)
        self.events.subscribe(Probed, self.probed.append)
        self.endpoints = Endpoints(self.clock, self.events)
        self.probes = Probes(self.endpoints, self.clock, self.events, lambda: self.loaded.settings)
        self.loaded: Loaded
        self.apply()
        self.endpoints.guard(self.probes.guards)

    def apply(self, *more: dict[str, Any], health: dict[str, Any] | None = None, **fields: Any) -> None:
        given = {"url": self.upstream.url, "models": {"default": "k2"}} | fields
        self.loaded = loaded(endpoint(**given), *more, health=health or {})
        self.endpoints.apply(self.loaded)
        self.events.publish(ConfigChanged(self.clock.monotonic(), "config.yaml"))

    def fail(self, fault: Fault = OVERLOADED, times: int = 3, model: str | None = "m") -> None:
        for _ in range(times):
            self.endpoints.candidate(KEY).begin(model).settle(fault)

    async def turn(self) -> float:
        """Make all probes that are due; returns the seconds to the next."""
        self.probes.begin_due()
        await self.probes.finished()
        return self.probes.begin_due() - self.clock.now

    async def after(self, seconds: float) -> float:
        self.clock.advance(seconds)
        return await self.turn()

    @property
    def view(self) -> CandidateView:
        return next(view for view in self.endpoints.views() if view.key == KEY)

    @property
    def said(self) -> str | None:
        return None if self.view.reason is None else self.view.reason.text()

    @property
    def asked(self) -> list[str]:
        return [f"{entry.method} {entry.path}" for entry in self.upstream.ledger]

    @property
    def billed(self) -> int:
        return self.asked.count("POST /v1/messages")

    def answer(self, path: str, *replies: Reply, times: int | None = None) -> None:
        """From now on the upstream answers a path with these replies."""
        self.upstream.queue(*replies, times=times, match=lambda received: received.path == path)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Simulator() as upstream:
        made = Bench(upstream)
        yield made
        await made.endpoints.aclose()


MODELS, COUNT = "/v1/models", "/v1/messages/count_tokens"
BOTH = [f"GET {MODELS}", f"POST {COUNT}"]


def odd(body: bytes, type: str = "text/html") -> Reply:
    async def play(exchange: Exchange) -> None:
        await exchange.give(200, body, type)

    return Reply("odd", play)


# === when


async def test_what_is_closed_is_not_probed(bench: Bench) -> None:
    bench.fail(times=2)
    assert await bench.after(3600) == float("inf")
    assert bench.asked == []


async def test_an_open_circuit_without_traffic_recovers_within_its_schedule_and_nothing_is_billed(bench: Bench) -> None:
    bench.fail()
    assert await bench.after(9.9) == pytest.approx(0.1)
    assert bench.asked == []
    assert await bench.after(0.1) == pytest.approx(30)
    assert (bench.view.state, bench.asked) == (HALF_OPEN, [f"GET {MODELS}"])
    assert await bench.after(30) == float("inf")
    assert (bench.view.state, bench.billed) == (CLOSED, 0)
    assert [change.after for change in bench.changes] == ["open", "half-open", "closed"]


async def test_a_probe_that_fails_opens_it_for_twice_as_long_and_the_later_deadline_wins(bench: Bench) -> None:
    bench.answer(MODELS, status(503))
    bench.answer(COUNT, status(503))
    bench.apply(health={"probe": {"interval": 15}})
    bench.fail()
    waits = []
    wait = 10.0
    for _ in range(2):
        wait = await bench.after(wait)
        waits.append(wait)
    assert waits == pytest.approx([20, 40])
    assert bench.said == "open: 1 x unavailable in half-open"


async def test_probes_are_no_closer_than_the_interval(bench: Bench) -> None:
    bench.answer(MODELS, status(503))
    bench.answer(COUNT, status(503))
    bench.fail()
    assert await bench.after(10) == pytest.approx(30)


@pytest.mark.parametrize(("dice", "least", "most"), [(0.0, 24.0, 24.0), (0.999, 35.9, 36.0)])
async def test_the_interval_is_jittered_by_a_fifth(bench: Bench, dice: float, least: float, most: float) -> None:
    bench.fail()
    bench.clock.dice = dice
    assert least <= await bench.after(10) <= most


async def test_a_dead_credential_is_tested_again_after_fifteen_minutes(bench: Bench) -> None:
    bench.fail(UNAUTHORIZED, 1)
    assert await bench.turn() == pytest.approx(900)
    await bench.after(900)
    await bench.after(30)
    assert bench.view.state is CLOSED


async def test_a_rate_limit_is_waited_for(bench: Bench) -> None:
    bench.fail()
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RATE_LIMITED, retry_after=300), 1)
    assert await bench.turn() == pytest.approx(300)


async def test_a_rate_limit_alone_is_not_probed(bench: Bench) -> None:
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RATE_LIMITED, retry_after=300), 1)
    assert await bench.after(299) == float("inf")


async def test_one_probe_at_a_time_and_none_beside_a_request(bench: Bench) -> None:
    bench.fail()
    bench.clock.advance(10)
    tried = bench.endpoints.candidate(KEY).begin("m")
    assert await bench.turn() == pytest.approx(30)
    tried.settle(Fault(Party.CLIENT, Phase.BODY, Kind.CANCELLED))
    bench.clock.advance(30)
    for _ in range(5):
        bench.probes.begin_due()
    assert bench.said == "half-open: waits for a probe"
    await asyncio.sleep(0)
    assert bench.said == "half-open: 1 try under way"
    await bench.probes.finished()
    assert len(bench.asked) == 1


async def test_candidates_are_probed_beside_each_other(bench: Bench) -> None:
    bench.apply(endpoint("glm", url=bench.upstream.url))
    for name in ("kimi", "glm"):
        for _ in range(3):
            bench.endpoints.candidate(CandidateKey(name, 0)).begin("m").settle(OVERLOADED)
    await bench.after(10)
    assert len(bench.asked) == 2


async def test_failures_three_needs_three(bench: Bench) -> None:
    bench.fail(times=2)
    assert await bench.after(60) == float("inf")
    bench.fail(times=1)
    assert await bench.turn() == pytest.approx(10)


# === what is asked


async def test_a_probe_says_who_it_is_and_takes_no_slot(bench: Bench) -> None:
    bench.apply(limits={"concurrency": 1}, auth={"type": "api_key", "values": ["secret-a"]})
    running = bench.endpoints.candidate(KEY).begin("m")
    bench.fail(times=0)
    for _ in range(3):
        bench.endpoints.candidate(KEY).begin("m", slot=False).settle(OVERLOADED)
    await bench.after(10)
    (entry,) = bench.upstream.ledger
    assert entry.header("user-agent") == f"claude-code-companion/{__version__} probe"
    assert entry.header("x-api-key") == "secret-a"
    assert bench.endpoints.states()[0].in_flight == 1
    running.settle(None)


@pytest.mark.parametrize("reply", [status(404), status(405), status(501), odd(b"<!doctype html>"), odd(b"{}")])
async def test_where_there_is_no_models_list_tokens_are_counted_and_that_is_remembered(
    bench: Bench, reply: Reply
) -> None:
    bench.answer(MODELS, reply)
    bench.fail()
    await bench.after(10)
    assert bench.asked == BOTH
    await bench.after(30)
    assert bench.asked == [*BOTH, f"POST {COUNT}"]
    assert (bench.view.state, bench.billed) == (CLOSED, 0)
    assert bench.upstream.ledger[-1].model == "k2"


async def test_a_models_list_that_always_fails_does_not_keep_it_open_where_counting_works(bench: Bench) -> None:
    bench.answer(MODELS, status(500))
    bench.fail()
    await bench.after(10)
    await bench.after(30)
    assert bench.view.state is CLOSED
    assert bench.asked == [*BOTH, f"POST {COUNT}"]


async def test_a_models_circuit_is_probed_by_counting_tokens_for_that_model(bench: Bench) -> None:
    fault = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, model="big")
    bench.apply(models={})
    bench.fail(fault, model="big")
    await bench.after(10)
    await bench.after(30)
    assert [entry.model for entry in bench.upstream.ledger] == ["big", "big"]
    assert bench.endpoints.views("big")[0].state is CLOSED


async def test_a_message_is_sent_only_where_the_user_wrote_it(bench: Bench) -> None:
    bench.apply(health={"probe": {"with": "message"}}, models={}, probe={"model": "tiny"})
    bench.fail()
    await bench.after(10)
    await bench.after(30)
    assert (bench.view.state, bench.billed, len(bench.asked)) == (CLOSED, 2, 2)
    assert bench.upstream.ledger[0].json["max_tokens"] == 1
    assert bench.upstream.ledger[0].model == "tiny"


@pytest.mark.parametrize("reply", [odd(b""), odd(b"<html>"), odd(b'{"ok":true}', "application/json"), status(529)])
async def test_a_message_that_is_none_is_a_fault(bench: Bench, reply: Reply) -> None:
    bench.apply(probe={"with": "message"})
    bench.answer("/v1/messages", reply)
    bench.fail()
    await bench.after(10)
    assert bench.view.state is OPEN


async def test_none_is_none_and_then_a_request_may_try(bench: Bench) -> None:
    bench.apply(probe={"with": "none"})
    bench.fail(REFUSED)
    assert await bench.after(10) == float("inf")
    assert (bench.asked, bench.said, bench.view.ready) == ([], "half-open: 0 of 2 successes", True)


async def test_what_has_worked_before_is_asked_for_again_though_it_was_not_there_once(bench: Bench) -> None:
    bench.fail()
    await bench.after(10)
    for path in (MODELS, COUNT):
        bench.answer(path, status(404), times=1)
    await bench.after(30)
    assert bench.view.ready
    bench.fail(times=1)
    await bench.after(40)
    assert bench.asked[-1] == f"GET {MODELS}"


async def test_where_nothing_was_there_all_is_asked_for_again_at_the_next_outage(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(404), times=1)
    bench.fail()
    await bench.after(10)
    for _ in range(2):
        bench.endpoints.candidate(KEY).begin("m").settle(None)
    assert bench.view.state is CLOSED
    bench.fail()
    await bench.after(20)
    assert bench.asked == [*BOTH, f"GET {MODELS}"]


# === who may try first


async def test_no_request_is_the_guinea_pig_where_a_probe_can_tell(bench: Bench) -> None:
    bench.fail()
    bench.clock.advance(10)
    assert (bench.view.ready, bench.said) == (False, "half-open: waits for a probe")
    await bench.turn()
    assert (bench.view.ready, bench.said) == (True, "half-open: 1 of 2 successes")


async def test_a_live_request_may_be_wanted_as_the_first(bench: Bench) -> None:
    bench.apply(health={"trial": "request"})
    bench.fail()
    bench.clock.advance(10)
    assert bench.view.ready


@pytest.mark.parametrize("code", [400, 403, 404])
async def test_where_probes_prove_nothing_a_request_is_let_through_and_the_reason_says_so(
    bench: Bench, code: int
) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(code))
    bench.fail()
    assert await bench.after(10) == float("inf")
    assert (bench.view.ready, bench.said) == (True, "half-open: 0 of 2 successes, no probe can prove it")


async def test_a_probe_that_is_refused_does_not_bury_a_credential_that_works(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(401))
    bench.fail()
    await bench.after(10)
    assert [change.scope for change in bench.changes if change.scope == "credential"] == []
    assert bench.view.ready


async def test_a_dead_credential_that_is_refused_again_stays_dead(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(401))
    bench.fail(UNAUTHORIZED, 1)
    assert await bench.after(900) == pytest.approx(900)
    assert bench.view.state is OPEN


async def test_an_upstream_that_never_answers_a_probe_gets_a_request_in_the_end(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(500))
    bench.fail()
    wait = 10.0
    for _ in range(HOPELESS):
        wait = await bench.after(wait)
    bench.clock.advance(600)
    assert await bench.turn() == float("inf")
    assert (bench.view.ready, len(bench.asked)) == (True, 2 * HOPELESS)
    for _ in range(2):
        bench.endpoints.candidate(KEY).begin("m").settle(None)
    bench.fail()
    await bench.after(1000)
    assert len(bench.asked) == 2 * HOPELESS + 2


async def test_an_upstream_whose_probes_have_worked_before_is_believed_as_long_as_it_takes(bench: Bench) -> None:
    bench.fail()
    await bench.after(10)
    for path in (MODELS, COUNT):
        bench.answer(path, status(500))
    wait = await bench.after(30)
    for _ in range(HOPELESS + 1):
        wait = await bench.after(wait)
    bench.clock.advance(wait)
    assert not bench.view.ready


# === connecting


async def test_a_passthrough_endpoint_is_only_connected_to_and_only_for_faults_of_connecting(bench: Bench) -> None:
    bench.apply(auth={"type": "passthrough"}, health={"probe": {"with": "message"}})
    bench.fail(REFUSED)
    await bench.after(10)
    await bench.after(30)
    assert (bench.view.state, bench.asked, [each.how for each in bench.probed]) == (CLOSED, [], ["connect"] * 2)
    bench.fail(OVERLOADED)
    assert await bench.after(600) == float("inf")
    assert bench.said == "half-open: 0 of 2 successes, no probe can prove it"


async def test_where_nothing_else_is_there_connecting_proves_that_connecting_works(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(404))
    bench.fail(REFUSED)
    await bench.after(10)
    await bench.after(30)
    assert bench.view.state is CLOSED
    assert [each.how for each in bench.probed] == ["models", "count_tokens", "connect", "connect"]


async def test_nobody_there_is_a_fault_of_the_circuit(bench: Bench) -> None:
    bench.fail(REFUSED)
    await bench.upstream.refuse()
    assert await bench.after(10) == pytest.approx(30)
    assert bench.said == "open: 1 x refused in half-open"
    assert [(each.how, each.status) for each in bench.probed] == [("models", None)]
    await bench.upstream.accept()
    await bench.after(30)
    await bench.after(30)
    assert bench.view.state is CLOSED


# === probes and requests that disagree


async def test_an_upstream_that_lists_its_models_and_answers_nobody_is_asked_ever_more_rarely(bench: Bench) -> None:
    bench.fail()
    opened = []
    for _ in range(8):
        assert bench.view.until is not None
        opened.append(bench.view.until - bench.clock.now)
        await bench.after(opened[-1])
        await bench.after(30)
        assert bench.view.state is CLOSED
        bench.fail(times=1)
    assert opened == pytest.approx([10, 20, 40, 80, 160, 320, 600, 600])
    assert bench.asked == [f"GET {MODELS}"] * 2 + [f"POST {COUNT}"] * 14


async def test_a_models_list_for_everybody_proves_a_dead_key_only_once(bench: Bench) -> None:
    bench.answer(COUNT, status(401))
    bench.fail(UNAUTHORIZED, 1)
    await bench.after(900)
    await bench.after(30)
    assert bench.view.state is CLOSED
    bench.fail(UNAUTHORIZED, 1)
    for _ in range(3):
        await bench.after(900)
        assert bench.view.state is OPEN
    assert bench.asked[2:] == [f"POST {COUNT}"] * 3


async def test_where_only_a_models_list_is_there_it_is_believed_again(bench: Bench) -> None:
    bench.answer(COUNT, status(404))
    bench.answer(MODELS, status(500), times=1)
    bench.fail()
    await bench.after(10)
    await bench.after(30)
    await bench.after(30)
    bench.fail(times=1)
    await bench.after(40)
    assert bench.asked[-1] == f"GET {MODELS}"


# === several circuits of one candidate


async def test_a_model_waits_for_a_probe_of_the_whole_first(bench: Bench) -> None:
    fault = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, model="k2")
    bench.fail(fault)
    bench.fail()
    for wait in (10, 30, 30, 30):
        assert not bench.endpoints.views("m")[0].ready or bench.view.state is CLOSED
        await bench.after(wait)
    assert bench.asked == [f"GET {MODELS}"] * 2 + [f"POST {COUNT}"] * 2
    assert bench.endpoints.views("m")[0].state is CLOSED


async def test_a_model_waits_for_no_probe_where_none_can_prove_the_whole(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(403))
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, model="k2"))
    bench.fail()
    await bench.after(10)
    assert bench.endpoints.views("m")[0].ready


async def test_connecting_does_not_prove_a_credential_and_nobody_waits_for_it(bench: Bench) -> None:
    for path in (MODELS, COUNT):
        bench.answer(path, status(404))
    bench.fail(REFUSED)
    bench.fail(UNAUTHORIZED, 1)
    await bench.after(900)
    assert bench.view.ready


# === the world around


async def test_an_endpoint_that_was_removed_is_no_longer_probed(bench: Bench) -> None:
    bench.fail()
    bench.loaded = loaded()
    bench.endpoints.apply(bench.loaded)
    bench.events.publish(ConfigChanged(bench.clock.now, "config.yaml"))
    assert await bench.after(60) == float("inf")
    assert bench.asked == []


async def test_a_disabled_endpoint_is_not_probed(bench: Bench) -> None:
    bench.fail()
    bench.apply(enabled=False)
    assert await bench.after(60) == float("inf")


async def test_a_reset_forgets_what_was_believed_of_its_probes(bench: Bench) -> None:
    bench.answer(MODELS, status(404), times=1)
    bench.fail()
    await bench.after(10)
    bench.endpoints.reset("kimi")
    assert bench.view.state is CLOSED
    bench.fail()
    await bench.after(30)
    assert bench.asked == [*BOTH, f"GET {MODELS}"]


async def test_each_probe_is_news_without_any_secret(bench: Bench) -> None:
    bench.apply(auth={"type": "api_key", "values": ["sk-secret-0123456789"]})
    for path in (MODELS, COUNT):
        bench.answer(path, status(503, message="no sk-secret-0123456789 here", type="sk-secret-0123456789"))
    bench.fail()
    await bench.after(10)
    assert [(each.endpoint, each.credential, each.how, each.status) for each in bench.probed] == [
        ("kimi", 0, "models", 503),
        ("kimi", 0, "count_tokens", 503),
    ]
    assert all(each.fault is not None and each.fault.kind is Kind.UNAVAILABLE for each in bench.probed)
    assert "secret" not in repr(bench.probed)


async def test_a_silent_upstream_is_waited_for_no_longer_than_the_timeout(bench: Bench) -> None:
    bench.apply(health={"probe": {"timeout": "50ms"}})
    bench.upstream.deaf = True
    bench.fail()
    await bench.after(10)
    assert bench.said == "open: 1 x headers_timeout in half-open"
    bench.upstream.deaf = False


# === running


async def running(upstream: Simulator) -> tuple[Bench, asyncio.Task[None]]:
    bench = Bench(upstream, SystemClock())
    bench.apply(health={"open": "50ms", "probe": {"interval": "20ms"}})
    task = asyncio.create_task(bench.probes.run())
    await asyncio.sleep(0)
    return bench, task


async def until(bench: Bench, found: Callable[[], bool]) -> None:
    """Wait for news of a circuit after which this is so."""
    news = asyncio.Event()
    bench.events.subscribe(CircuitChanged, lambda _: news.set())
    async with asyncio.timeout(10):
        while not found():
            await news.wait()
            news.clear()


async def test_it_recovers_by_itself_and_is_woken_by_news() -> None:
    async with Simulator() as upstream:
        bench, task = await running(upstream)
        bench.fail()
        await until(bench, lambda: bench.view.state is CLOSED)
        assert (bench.billed, len(bench.asked)) == (0, 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bench.endpoints.aclose()


async def test_it_sleeps_while_nothing_is_open() -> None:
    async with Simulator() as upstream:
        bench, task = await running(upstream)
        looked = 0

        class Counted(FakeClock):
            def monotonic(self) -> float:
                nonlocal looked
                looked += 1
                return super().monotonic()

        bench.probes._clock = Counted()
        await asyncio.sleep(0.1)
        assert looked == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bench.endpoints.aclose()


async def test_the_end_ends_a_probe_under_way_and_the_guard() -> None:
    async with Simulator() as upstream:
        bench, task = await running(upstream)
        upstream.deaf = True
        bench.fail()
        await until(bench, lambda: bench.said == "half-open: 1 try under way")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert bench.said == "half-open: 0 of 2 successes"
        upstream.deaf = False
        await bench.endpoints.aclose()
