"""What a fault does to which circuit or clock of a candidate, and what its view says of it."""

import pytest

from companion.clock import FakeClock
from companion.errors import FAULTS, Fault, Kind, OnCircuit, Party, Phase
from companion.events import CircuitChanged, Events
from companion.upstream.circuit import Policy
from companion.upstream.endpoint import Try
from companion.upstream.health import MODEL_NAME, MODELS, Health, Suspect
from companion.upstream.limits import Slots
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

KEY = CandidateKey("kimi", 1)
CALM = CandidateView(KEY, "kimi", 0, 1, 1.0, frozenset())
COUNTED = [kind for kind, row in FAULTS.items() if row.circuit is OnCircuit.COUNT]
CREDENTIAL = [kind for kind, row in FAULTS.items() if row.circuit is OnCircuit.CREDENTIAL]
HARMLESS = [kind for kind, row in FAULTS.items() if row.circuit is OnCircuit.NOTHING]


def fault(kind: Kind, *, retry_after: float | None = None, model: str | None = None) -> Fault:
    return Fault(Party.UPSTREAM, Phase.HEADERS, kind, retry_after=retry_after, model=model)


class Bench:
    def __init__(self, *, owned: bool = True) -> None:
        self.clock = FakeClock()
        events = Events()
        self.changes: list[CircuitChanged] = []
        events.subscribe(CircuitChanged, self.changes.append)
        self.health = Health(KEY, Policy(3, 60.0, 10.0, 600.0), self.clock, events, owned=owned)

    def begin(self, model: str | None = None, slots: Slots | None = None) -> Try:
        return Try(self.health, self.clock.now, model, slots)

    def settle(self, outcome: Fault | None, times: int = 1, *, model: str | None = None) -> None:
        for _ in range(times):
            self.begin(model).settle(outcome)

    def view(self, model: str | None = None) -> CandidateView:
        return self.health.seen(CALM, model)


def said(view: CandidateView) -> str | None:
    return None if view.reason is None else view.reason.text()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_healthy_candidate_is_seen_as_it_is_configured(bench: Bench) -> None:
    bench.settle(None, 10)
    assert bench.view("m") is CALM


@pytest.mark.parametrize("kind", COUNTED)
def test_hard_faults_open_the_circuit_at_the_third(bench: Bench, kind: Kind) -> None:
    bench.settle(fault(kind), 2)
    assert bench.view() is CALM
    bench.settle(fault(kind))
    view = bench.view()
    assert (view.state, view.ready, view.limited) == (CircuitState.OPEN, False, False)
    assert said(view) == f"open: 3 x {kind}"
    assert view.until == pytest.approx(bench.clock.now + 10.0)


@pytest.mark.parametrize("kind", CREDENTIAL)
def test_a_refused_or_unpaid_credential_is_open_at_once_for_fifteen_minutes(bench: Bench, kind: Kind) -> None:
    bench.settle(fault(kind))
    view = bench.view()
    assert (view.state, view.ready) == (CircuitState.OPEN, False)
    assert said(view) == f"credential open: 1 x {kind}"
    bench.clock.advance(899)
    assert not bench.view().ready
    bench.clock.advance(1)
    assert (bench.view().state, bench.view().ready) == (CircuitState.HALF_OPEN, True)


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_no_fault_of_the_candidate_changes_nothing(bench: Bench, kind: Kind) -> None:
    bench.settle(fault(kind, retry_after=60.0), 20)
    assert bench.view() is CALM


def test_what_is_no_fault_does_not_break_a_row_of_faults(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 2)
    bench.settle(fault(Kind.BAD_REQUEST), 10)
    bench.settle(fault(Kind.RESET))
    assert bench.view().state is CircuitState.OPEN


def test_a_429_is_a_clock_and_not_a_fault(bench: Bench) -> None:
    bench.settle(fault(Kind.RATE_LIMITED, retry_after=30.0), 10)
    view = bench.view()
    assert (view.state, view.ready, view.limited, said(view)) == (CircuitState.CLOSED, False, True, "rate limited")
    assert view.until == pytest.approx(bench.clock.now + 30.0)
    bench.clock.advance(31)
    assert bench.view() is CALM


def test_a_429_without_a_time_waits_a_little(bench: Bench) -> None:
    bench.settle(fault(Kind.RATE_LIMITED))
    assert bench.view().until == pytest.approx(bench.clock.now + 2.0)


def test_a_clock_that_runs_says_more_than_an_open_circuit(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3)
    bench.settle(fault(Kind.RATE_LIMITED, retry_after=5.0))
    view = bench.view()
    assert (view.state, view.limited, said(view)) == (CircuitState.OPEN, True, "rate limited")
    assert view.until == pytest.approx(bench.clock.now + 5.0)


# === credentials that are not ours


@pytest.mark.parametrize("kind", [*CREDENTIAL, Kind.RATE_LIMITED])
def test_a_users_own_credential_opens_nothing(kind: Kind) -> None:
    bench = Bench(owned=False)
    bench.settle(fault(kind, retry_after=60.0), 20)
    bench.settle(fault(kind, retry_after=60.0, model="m"), 20, model="m")
    assert bench.view("m") is CALM


def test_an_endpoint_that_is_down_is_down_for_a_users_own_credential_too() -> None:
    bench = Bench(owned=False)
    bench.settle(fault(Kind.REFUSED), 3)
    assert bench.view().state is CircuitState.OPEN


# === models


def test_a_fault_that_names_a_model_opens_that_model_only(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="big"), 3, model="big")
    view = bench.view("big")
    assert (view.state, view.ready, said(view)) == (CircuitState.OPEN, False, "model open: 3 x overloaded")
    assert bench.view("small") is CALM
    assert bench.view() is CALM
    assert [(change.scope, change.model) for change in bench.changes] == [("model", "big")]


def test_a_429_that_names_a_model_stops_that_model_only(bench: Bench) -> None:
    bench.settle(fault(Kind.RATE_LIMITED, retry_after=30.0, model="big"), model="big")
    assert bench.view("big").limited
    assert bench.view("small") is CALM


def test_the_model_is_the_one_that_was_sent_whatever_the_upstream_calls_it(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="vendor/big-2026"), 3, model="big")
    assert not bench.view("big").ready


def test_an_open_candidate_is_open_for_every_model(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3, model="big")
    assert not bench.view("small").ready


def test_a_success_on_a_model_resets_that_model_and_the_candidate(bench: Bench) -> None:
    for _ in range(5):
        bench.settle(fault(Kind.OVERLOADED, model="big"), 2, model="big")
        bench.settle(fault(Kind.RESET), 2, model="big")
        bench.settle(None, 5, model="big")
    assert bench.view("big") is CALM


def test_a_success_on_another_model_resets_the_candidate_but_not_that_model(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="big"), 2, model="big")
    bench.settle(fault(Kind.RESET), 2)
    bench.settle(None, 5, model="small")
    bench.settle(fault(Kind.RESET), 2)
    assert bench.view("small") is CALM
    bench.settle(fault(Kind.OVERLOADED, model="big"), model="big")
    assert not bench.view("big").ready


def test_models_that_faults_have_named_are_bounded(bench: Bench) -> None:
    for number in range(10 * MODELS):
        bench.settle(fault(Kind.OVERLOADED, model=f"m{number}"), 3, model=f"m{number}")
    assert len(bench.health._models) == MODELS
    assert bench.view("m0") is CALM
    assert not bench.view(f"m{10 * MODELS - 1}").ready


def test_a_model_in_use_is_remembered_longer(bench: Bench) -> None:
    for number in range(10 * MODELS):
        bench.settle(fault(Kind.OVERLOADED, model="used"), model="used")
        bench.settle(fault(Kind.OVERLOADED, model=f"m{number}"), model=f"m{number}")
    assert not bench.view("used").ready


def test_an_endless_model_name_is_remembered_by_its_beginning(bench: Bench) -> None:
    name = "x" * 1_000_000
    bench.settle(fault(Kind.OVERLOADED, model=name), 3, model=name)
    assert not bench.view(name).ready
    assert [len(model) for model in bench.health._models] == [MODEL_NAME]


def test_a_fault_may_name_a_model_that_was_never_sent(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="big"), 3)
    assert not bench.view("big").ready


def test_the_weaker_of_candidate_and_model_is_what_is_seen(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="big"), 3, model="big")
    bench.settle(fault(Kind.RESET, retry_after=100.0), 3)
    view = bench.view("big")
    assert (said(view), view.until) == ("open: 3 x reset", bench.clock.now + 100.0)
    bench.clock.advance(50)
    assert bench.view("big").state is CircuitState.OPEN
    bench.clock.advance(50)
    bench.settle(None, model="big")
    bench.settle(None, model="big")
    assert bench.view("big").ramp == pytest.approx(0.1)


# === tries


def half_open(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3)
    bench.clock.advance(10)


def test_a_half_open_candidate_takes_one_try_at_a_time(bench: Bench) -> None:
    half_open(bench)
    tried = bench.begin()
    assert not bench.view().ready
    tried.settle(None)
    assert bench.view().ready


def test_a_try_that_has_proved_itself_lets_the_next_one_through(bench: Bench) -> None:
    half_open(bench)
    streaming = bench.begin()
    streaming.proved()
    assert said(bench.view()) == "half-open: 0 of 2 successes"
    second = bench.begin()
    streaming.settle(None)
    assert not bench.view().ready
    second.settle(None)
    assert bench.view().state is CircuitState.CLOSED


def test_a_stream_cut_after_it_has_proved_itself_opens_the_circuit_again(bench: Bench) -> None:
    half_open(bench)
    streaming = bench.begin()
    streaming.proved()
    streaming.settle(fault(Kind.CUT))
    assert said(bench.view()) == "open: 1 x cut in half-open"


@pytest.mark.parametrize("kind", [Kind.CANCELLED, Kind.BAD_REQUEST, Kind.INTERNAL, Kind.RATE_LIMITED])
def test_a_try_without_a_verdict_frees_its_permit(bench: Bench, kind: Kind) -> None:
    half_open(bench)
    bench.begin().settle(fault(kind, retry_after=0.0))
    view = bench.view()
    assert (view.state, view.ready, said(view)) == (CircuitState.HALF_OPEN, True, "half-open: 0 of 2 successes")


def test_a_try_that_is_not_to_be_counted_frees_its_permit_and_slot(bench: Bench) -> None:
    half_open(bench)
    slots = Slots(1)
    for outcome in (None, fault(Kind.RESET)):
        slots.take()
        bench.begin(slots=slots).settle(outcome, count=False)
        assert (slots.used, said(bench.view())) == (0, "half-open: 0 of 2 successes")


def test_a_try_settles_once(bench: Bench) -> None:
    slots = Slots(2)
    slots.take()
    tried = bench.begin(slots=slots)
    for _ in range(10):
        tried.settle(fault(Kind.RESET))
    assert slots.used == 0
    assert bench.view() is CALM


def test_a_row_missing_from_the_table_still_frees_the_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(FAULTS, Kind.RESET)
    slots = Slots(1)
    slots.take()
    with pytest.raises(KeyError):
        bench.begin(slots=slots).settle(fault(Kind.RESET))
    assert slots.used == 0


# === news


def test_each_transition_is_published(bench: Bench) -> None:
    bench.settle(fault(Kind.UNAUTHORIZED))
    now = bench.clock.now
    assert bench.changes == [
        CircuitChanged(
            at=now,
            endpoint="kimi",
            credential=1,
            scope="credential",
            model=None,
            before="closed",
            after="open",
            reason="open: 1 x unauthorized",
            until=now + 900,
            code="faults_in_a_row",
            parameters={"faults": {"unauthorized": 1}},
            id="kimi",
        )
    ]


def test_nothing_is_published_of_a_candidate_that_is_gone(bench: Bench) -> None:
    tried = bench.begin()
    bench.health.live = False
    tried.settle(fault(Kind.UNAUTHORIZED))
    assert bench.changes == []


def test_a_new_policy_holds_for_every_circuit_but_the_credentials(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="m"), model="m")
    bench.health.follow(Policy(failures=2, window=60.0, open=1.0, open_max=1.0))
    bench.settle(fault(Kind.OVERLOADED, model="m"), model="m")
    bench.settle(fault(Kind.OVERLOADED, model="n"), 2, model="n")
    bench.settle(fault(Kind.UNAUTHORIZED))
    assert [change.until for change in bench.changes] == pytest.approx([1001.0, 1001.0, 1900.0])


# === probes


def suspect(bench: Bench) -> Suspect:
    (found,) = bench.health.suspects()
    return found


def test_a_healthy_candidate_is_no_suspect(bench: Bench) -> None:
    bench.settle(None, 5)
    bench.settle(fault(Kind.RESET), 2)
    assert bench.health.suspects() == []


def test_an_open_circuit_is_a_suspect_from_its_deadline_on(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3)
    assert suspect(bench) == Suspect(None, bench.clock.now + 10.0, False, frozenset({Kind.RESET}))


def test_the_later_deadline_counts_also_that_of_a_rate_limit(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3)
    bench.settle(fault(Kind.UNAUTHORIZED))
    assert suspect(bench).due == pytest.approx(bench.clock.now + 900)
    bench.settle(fault(Kind.RATE_LIMITED, retry_after=1000.0))
    assert suspect(bench).due == pytest.approx(bench.clock.now + 1000)


def test_a_try_with_the_permit_makes_it_busy(bench: Bench) -> None:
    half_open(bench)
    tried = bench.begin()
    assert suspect(bench).busy
    tried.proved()
    assert not suspect(bench).busy


def test_models_are_suspects_only_where_nothing_is_wrong_with_the_whole(bench: Bench) -> None:
    bench.settle(fault(Kind.OVERLOADED, model="a"), 3, model="a")
    bench.settle(fault(Kind.RESET, model="b"), 3, model="b")
    assert [found.model for found in bench.health.suspects()] == ["a", "b"]
    bench.settle(fault(Kind.RESET), 3)
    assert suspect(bench).model is None


def test_what_was_given_up_is_no_suspect_until_it_opens_again(bench: Bench) -> None:
    half_open(bench)
    bench.health.give_up(None)
    assert bench.health.suspects() == []
    bench.settle(fault(Kind.RESET))
    assert suspect(bench).model is None


def test_two_probes_close_what_was_open_and_say_nothing_of_the_rest(bench: Bench) -> None:
    bench.settle(fault(Kind.UNAUTHORIZED))
    bench.settle(fault(Kind.RESET), 2)
    bench.clock.advance(900)
    for _ in range(2):
        bench.health.begin(bench, None)
        bench.health.release(bench, None)
        assert bench.health.probed(bench.clock.now, None, None, cheap=True)
    assert bench.view().state is CircuitState.CLOSED
    bench.settle(fault(Kind.RESET))
    assert said(bench.view()) == "open: 3 x reset"


def test_a_failed_probe_opens_it_again_for_longer(bench: Bench) -> None:
    half_open(bench)
    bench.health.begin(bench, None)
    assert bench.health.probed(bench.clock.now, fault(Kind.REFUSED), None, cheap=True)
    assert suspect(bench).due == pytest.approx(bench.clock.now + 20)


def test_a_probe_does_not_open_what_is_closed(bench: Bench) -> None:
    half_open(bench)
    assert not bench.health.probed(bench.clock.now, fault(Kind.UNAUTHORIZED), None, cheap=True)
    assert (bench.view().state, bench.view().until) == (CircuitState.HALF_OPEN, None)


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_probe_with_no_verdict_says_that_it_has_none(bench: Bench, kind: Kind) -> None:
    half_open(bench)
    assert not bench.health.probed(bench.clock.now, fault(kind), None, cheap=True)
    assert bench.view().state is CircuitState.HALF_OPEN


def test_a_429_to_a_probe_is_a_clock(bench: Bench) -> None:
    half_open(bench)
    assert bench.health.probed(bench.clock.now, fault(Kind.RATE_LIMITED, retry_after=30.0), None, cheap=True)
    assert bench.view().until == pytest.approx(bench.clock.now + 30)


# === reset


def test_a_reset_closes_all_circuits_and_clocks_and_tells_each(bench: Bench) -> None:
    bench.settle(fault(Kind.RESET), 3)
    bench.settle(fault(Kind.OVERLOADED, model="m"), 3, model="m")
    bench.settle(fault(Kind.RATE_LIMITED, model="m", retry_after=60.0), model="m")
    bench.settle(fault(Kind.RATE_LIMITED, retry_after=60.0))
    bench.settle(fault(Kind.PAYMENT))
    bench.changes.clear()
    bench.health.reset()
    assert bench.view("m") is CALM
    assert {change.scope for change in bench.changes} == {"endpoint", "credential", "model"}
    assert {(change.after, change.reason) for change in bench.changes} == {("closed", "reset")}
    assert bench.health.suspects() == []


# === the tally


def test_the_tally_counts_what_concerns_health(bench: Bench) -> None:
    bench.settle(None, 2, model="m")
    bench.clock.advance(5)
    for kind in (Kind.RESET, Kind.UNAUTHORIZED, Kind.BAD_REQUEST, Kind.CANCELLED):
        bench.settle(fault(kind), model="m")
    running = bench.begin("m")
    tally = bench.health.tally
    assert (tally.running, tally.successes, tally.failures) == (1, 2, 2)
    assert (tally.last_success, tally.last_failure) == (bench.clock.now - 5, bench.clock.now)
    assert (tally.last_fault, tally.model) == (Kind.UNAUTHORIZED, "m")
    running.settle(fault(Kind.CANCELLED))
    assert tally.running == 0
