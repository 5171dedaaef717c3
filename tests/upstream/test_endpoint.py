"""The registry: candidates from a configuration, and what stays of their state when the configuration changes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from companion.clock import FakeClock, SystemClock
from companion.config.file import Loaded
from companion.config.models import Settings
from companion.config.secrets import Credential
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import CircuitChanged, Events
from companion.upstream.endpoint import Endpoints
from companion.upstream.transport import Outgoing
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

RESET = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RESET)
REFUSED_KEY = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.UNAUTHORIZED)
KIMI = CandidateKey("kimi", 0)


def endpoint(name: str = "kimi", *values: str, **fields: Any) -> dict[str, Any]:
    auth = {"type": "auth_token", "values": list(values or ("secret-a",))}
    return {"name": name, "url": f"https://{name}.test/anthropic", "auth": auth} | fields


def loaded(*endpoints: dict[str, Any], unresolved: frozenset[str] = frozenset(), **sections: Any) -> Loaded:
    settings = Settings.model_validate({"endpoints": endpoints, **sections})
    credentials = {}
    for made in settings.endpoints:
        references = made.auth.values or (None,)
        credentials[made.id] = tuple(_credential(reference, unresolved) for reference in references)
    return Loaded(Path("config.yaml"), settings, credentials)


def _credential(reference: str | None, unresolved: frozenset[str]) -> Credential:
    if reference is None:
        return Credential("", None, None)
    if reference in unresolved:
        return Credential(reference, None, f"{reference} is not set")
    return Credential(reference, reference, None)


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        events = Events()
        self.changes: list[CircuitChanged] = []
        events.subscribe(CircuitChanged, self.changes.append)
        self.endpoints = Endpoints(self.clock, events)

    def apply(self, *endpoints: dict[str, Any], **others: Any) -> None:
        self.endpoints.apply(loaded(*endpoints, **others))

    def fail(self, fault: Fault = RESET, times: int = 3, *, key: CandidateKey = KIMI, model: str | None = None) -> None:
        for _ in range(times):
            self.endpoints.candidate(key).begin(model).settle(fault)

    def view(self, key: CandidateKey = KIMI, model: str | None = None) -> CandidateView:
        return next(view for view in self.endpoints.views(model) if view.key == key)


def said(view: CandidateView) -> str | None:
    return None if view.reason is None else view.reason.text()


@pytest.fixture
def bench() -> Bench:
    return Bench()


# === candidates


def test_there_is_one_candidate_for_each_credential_in_the_files_order(bench: Bench) -> None:
    bench.apply(endpoint("b", "x", "y", priority=2), endpoint("a", priority=1, weight=3, labels=["cheap"]))
    views = bench.endpoints.views()
    assert [(view.key, view.name, view.index, view.priority) for view in views] == [
        (CandidateKey("b", 0), "b", 0, 2),
        (CandidateKey("b", 1), "b", 0, 2),
        (CandidateKey("a", 0), "a", 1, 1),
    ]
    assert views[2].weight == 3
    assert views[2].labels == {"cheap"}
    assert all(view.ready and view.unusable is None for view in views)


def test_a_candidate_is_what_a_try_needs(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "secret-a", "secret-b", timeouts={"connect": 1.5}))
    candidate = bench.endpoints.candidate(CandidateKey("kimi", 1))
    assert candidate.credential == "secret-b"
    assert candidate.timeouts.connect == 1.5
    assert candidate.settings.url == "https://kimi.test/anthropic"
    assert candidate.transport is bench.endpoints.candidate(KIMI).transport


def test_a_candidate_does_not_show_its_secret(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "secret-a"))
    assert "secret-a" not in repr(bench.endpoints.candidate(KIMI))


def test_endpoints_of_one_origin_have_their_own_connections(bench: Bench) -> None:
    bench.apply(endpoint("a", url="https://same.test"), endpoint("b", url="https://same.test"))
    a, b = (bench.endpoints.candidate(CandidateKey(name, 0)).transport for name in "ab")
    assert a is not b


def test_who_is_gone_is_a_key_error(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.apply()
    with pytest.raises(KeyError):
        bench.endpoints.candidate(KIMI)
    assert bench.endpoints.views() == ()


def test_no_endpoint_is_no_candidate(bench: Bench) -> None:
    assert bench.endpoints.views() == ()
    bench.apply()
    assert bench.endpoints.views() == ()


def test_a_disabled_endpoint_is_seen_and_cannot_be_tried(bench: Bench) -> None:
    bench.apply(endpoint(enabled=False))
    assert bench.view().unusable == "disabled"
    with pytest.raises(UpstreamError) as caught:
        bench.endpoints.candidate(KIMI).begin(None)
    assert caught.value.fault.kind is Kind.UNRESOLVED


def test_a_secret_that_cannot_be_resolved_takes_its_candidate_out_and_the_rest_serves(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "${A}", "secret-b"), unresolved=frozenset({"${A}"}))
    assert bench.view().unusable == "${A} is not set"
    assert bench.view(CandidateKey("kimi", 1)).unusable is None
    with pytest.raises(UpstreamError) as caught:
        bench.endpoints.candidate(KIMI).begin(None)
    fault = caught.value.fault
    assert (fault.kind, fault.party, fault.phase) == (Kind.UNRESOLVED, Party.OURS, Phase.CONNECT)
    assert "${A} is not set" in fault.message


def test_passthrough_has_no_credential_and_opens_nothing(bench: Bench) -> None:
    bench.apply(endpoint(auth={"type": "passthrough"}), endpoint("glm"))
    assert bench.endpoints.passthrough(KIMI)
    assert not bench.endpoints.passthrough(CandidateKey("glm", 0))
    assert not bench.endpoints.passthrough(CandidateKey("gone", 0))
    assert bench.endpoints.candidate(KIMI).credential is None
    bench.fail(REFUSED_KEY, 10)
    assert bench.view().ready


# === tries


def test_slots_are_the_endpoints_and_not_the_credentials(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b", limits={"concurrency": 2}))
    first = bench.endpoints.candidate(KIMI).begin("m")
    bench.endpoints.candidate(CandidateKey("kimi", 1)).begin("m")
    with pytest.raises(UpstreamError) as caught:
        bench.endpoints.candidate(KIMI).begin("m")
    fault = caught.value.fault
    assert (fault.kind, fault.party, fault.phase) == (Kind.BUSY, Party.OURS, Phase.CONNECT)
    assert fault.message == "2 of 2 slots are in use (limits.concurrency)"
    first.settle(None)
    bench.endpoints.candidate(KIMI).begin("m")


def test_counting_tokens_takes_no_slot(bench: Bench) -> None:
    bench.apply(endpoint(limits={"concurrency": 1}))
    candidate = bench.endpoints.candidate(KIMI)
    tries = [candidate.begin("m", slot=False) for _ in range(25)]
    message = candidate.begin("m")
    for tried in tries:
        tried.settle(None)
    with pytest.raises(UpstreamError):
        candidate.begin("m")
    message.settle(None)
    candidate.begin("m")


def test_a_busy_endpoint_takes_no_permit(bench: Bench) -> None:
    bench.apply(endpoint(limits={"concurrency": 1}))
    bench.fail()
    bench.clock.advance(10)
    streaming = bench.endpoints.candidate(KIMI).begin("m")
    streaming.proved()
    with pytest.raises(UpstreamError):
        bench.endpoints.candidate(KIMI).begin("m")
    assert bench.view().ready


def test_another_credential_of_the_endpoint_is_untouched(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b"))
    bench.fail(REFUSED_KEY, 1)
    assert bench.view().state is CircuitState.OPEN
    assert bench.view(CandidateKey("kimi", 1)).state is CircuitState.CLOSED


def test_a_models_circuit_is_found_by_the_name_that_the_client_asks_for(bench: Bench) -> None:
    rules = {"default": "k2", "rewrite": [{"from": "*haiku*", "to": "k2-turbo"}]}
    bench.apply(endpoint(models=rules))
    fault = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, model="k2-turbo")
    bench.fail(fault, model="claude-haiku-4-5")
    for _ in range(2):
        assert not bench.view(model="claude-3-haiku").ready
        assert bench.view(model="claude-opus-5-5").ready
    assert bench.changes[0].model == "k2-turbo"


def test_the_retry_budget_is_one_for_all(bench: Bench) -> None:
    assert [bench.endpoints.budget.withdraw() for _ in range(4)] == [True, True, True, False]


# === live reload


@pytest.mark.parametrize(
    "change",
    [
        {"name": "renamed", "url": "https://kimi.test/anthropic"},
        {"priority": 7},
        {"weight": 2},
        {"labels": ["cheap"]},
        {"models": {"default": "other"}},
        {"timeouts": {"connect": 1}},
        {"limits": {"concurrency": 5}},
        {"headers": {"set": {"x-a": "b"}}},
        {"enabled": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_of_anything_else_keeps_circuits_and_connections(bench: Bench, change: dict[str, Any]) -> None:
    bench.apply(endpoint(id="kimi"))
    transport = bench.endpoints.candidate(KIMI).transport
    bench.fail()
    bench.apply(endpoint(**({"id": "kimi"} | change)))
    view = bench.view()
    assert (view.state, said(view)) == (CircuitState.OPEN, "open: 3 x reset")
    assert bench.endpoints.candidate(KIMI).transport is transport
    assert bench.endpoints.candidate(KIMI).settings.name == change.get("name", "kimi")


def test_a_rate_limit_outlives_a_reload(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RATE_LIMITED, retry_after=300), 1)
    bench.apply(endpoint(priority=2))
    assert bench.view().until == pytest.approx(bench.clock.now + 300)


def test_another_url_begins_anew(bench: Bench) -> None:
    bench.apply(endpoint())
    transport = bench.endpoints.candidate(KIMI).transport
    bench.fail()
    bench.apply(endpoint(url="https://other.test"))
    assert bench.view().state is CircuitState.CLOSED
    assert bench.endpoints.candidate(KIMI).transport is not transport


def test_another_credential_begins_anew_on_new_connections(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a"))
    transport = bench.endpoints.candidate(KIMI).transport
    bench.fail(REFUSED_KEY, 1)
    bench.apply(endpoint("kimi", "b"))
    assert bench.view().state is CircuitState.CLOSED
    assert bench.endpoints.candidate(KIMI).transport is not transport


def test_another_way_to_send_the_credential_begins_anew(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail(REFUSED_KEY, 1)
    bench.apply(endpoint(auth={"type": "api_key", "values": ["secret-a"]}))
    assert bench.view().ready


def test_a_circuit_follows_its_credential_to_another_place(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b"))
    bench.fail(REFUSED_KEY, 1)
    bench.apply(endpoint("kimi", "b", "a"))
    moved = CandidateKey("kimi", 1)
    assert bench.view().ready
    assert not bench.view(moved).ready
    bench.clock.advance(900)
    bench.fail(REFUSED_KEY, 1, key=moved)
    assert [change.credential for change in bench.changes] == [0, 1, 1]


def test_a_secret_that_resolves_later_is_used_at_once(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "${A}"), unresolved=frozenset({"${A}"}))
    bench.apply(endpoint("kimi", "${A}"))
    assert bench.view().unusable is None
    bench.endpoints.candidate(KIMI).begin(None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"endpoints": [{"pool": {"idle": 30}}]}, {"endpoints": [{"pool": {"idle": 31}}]}),
        ({"defaults": {"pool": {"idle": 30}}}, {"defaults": {"pool": {"idle": 31}}}),
    ],
    ids=["the endpoint's", "the default"],
)
def test_other_pool_settings_mean_other_connections_and_the_same_circuits(
    bench: Bench, before: dict[str, Any], after: dict[str, Any]
) -> None:
    def apply(sections: dict[str, Any]) -> None:
        fields = sections.get("endpoints", [{}])[0]
        bench.apply(endpoint(**fields), **{key: value for key, value in sections.items() if key != "endpoints"})

    apply(before)
    transport = bench.endpoints.candidate(KIMI).transport
    bench.fail()
    apply(after)
    assert bench.endpoints.candidate(KIMI).transport is not transport
    assert bench.view().state is CircuitState.OPEN


def test_an_endpoint_that_was_away_begins_anew(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail()
    bench.apply()
    bench.apply(endpoint())
    assert bench.view().state is CircuitState.CLOSED


def test_a_try_that_outlives_its_endpoint_settles_and_nobody_hears_of_it(bench: Bench) -> None:
    bench.apply(endpoint(limits={"concurrency": 1}))
    tried = bench.endpoints.candidate(KIMI).begin("m")
    bench.apply(endpoint(url="https://other.test", limits={"concurrency": 1}))
    tried.proved()
    tried.settle(REFUSED_KEY)
    assert bench.changes == []
    assert bench.view().ready
    bench.endpoints.candidate(KIMI).begin("m")


def test_a_try_that_began_before_a_reload_counts_after_it(bench: Bench) -> None:
    bench.apply(endpoint())
    tries = [bench.endpoints.candidate(KIMI).begin("m") for _ in range(3)]
    bench.apply(endpoint(priority=2))
    for tried in tries:
        tried.settle(RESET)
    assert bench.view().state is CircuitState.OPEN


def test_a_new_limit_of_slots_is_live_for_tries_that_run(bench: Bench) -> None:
    bench.apply(endpoint(limits={"concurrency": 1}))
    running = bench.endpoints.candidate(KIMI).begin("m")
    bench.apply(endpoint(limits={"concurrency": 2}))
    bench.endpoints.candidate(KIMI).begin("m")
    bench.apply(endpoint(limits={"concurrency": 1}))
    running.settle(None)
    with pytest.raises(UpstreamError):
        bench.endpoints.candidate(KIMI).begin("m")


def test_a_new_health_section_is_live(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail(times=2)
    bench.apply(endpoint(), health={"failures": 5, "open": 30})
    bench.fail(times=2)
    assert bench.view().ready
    bench.fail(times=1)
    assert bench.view().until == pytest.approx(bench.clock.now + 30)


def test_a_configuration_that_cannot_be_taken_over_leaves_the_old_one_in_force(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail()
    broken = loaded(endpoint(priority=5), endpoint("glm"))
    del broken.credentials["glm"]  # type: ignore[attr-defined]  # a dict behind a read-only type
    with pytest.raises(KeyError):
        bench.endpoints.apply(broken)
    assert [view.key for view in bench.endpoints.views()] == [KIMI]
    assert (bench.view().priority, bench.view().state) == (1, CircuitState.OPEN)


class Keeper:
    """An upstream that keeps its connections, and knows when they end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        self.ended.set()


async def kept_connection(keeper: Keeper) -> tuple[Endpoints, str, asyncio.Server]:
    """A registry with one idle connection to `keeper`, its url, and the server behind it."""
    server = await asyncio.start_server(keeper.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    endpoints = Endpoints(SystemClock(), Events())
    endpoints.apply(loaded(endpoint(url=url)))
    candidate = endpoints.candidate(KIMI)
    response = await candidate.transport.send(Outgoing(b"GET", b"/", ()), candidate.timeouts, headers=10)
    assert await response.read_all(100, idle=10) == b""
    return endpoints, url, server


@pytest.mark.parametrize("after", [{"auth": {"type": "none"}}, {"pool": {"idle": 77}}, None], ids=str)
async def test_connections_that_nobody_needs_any_more_are_closed(after: dict[str, Any] | None) -> None:
    keeper = Keeper()
    endpoints, url, server = await kept_connection(keeper)
    endpoints.apply(loaded(endpoint(url=url, priority=2)))
    await asyncio.sleep(0.05)
    assert not keeper.ended.is_set()
    endpoints.apply(loaded() if after is None else loaded(endpoint(**{"url": url} | after)))
    await asyncio.wait_for(keeper.ended.wait(), 10)
    await endpoints.aclose()
    server.close()


async def test_closing_closes_every_connection() -> None:
    keeper = Keeper()
    endpoints, _, server = await kept_connection(keeper)
    await endpoints.aclose()
    await asyncio.wait_for(keeper.ended.wait(), 10)
    server.close()
