"""Every transition of a circuit, with time and dice in the hand."""

import pytest

from companion.clock import FakeClock
from companion.errors import Kind
from companion.upstream.circuit import CALM, CREDENTIAL, RAMP, WINDOW_LENGTH, Circuit, Guard, Look, Policy
from companion.upstream.limits import LONGEST_WAIT
from companion.upstream.reasons import Reason
from companion.upstream.views import CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
POLICY = Policy(failures=3, window=60.0, open=10.0, open_max=600.0)


class Bench:
    """A circuit under a fake clock. The dice lie at 0.5: no jitter."""

    def __init__(self, policy: Policy = POLICY, guard: Guard = Guard.REQUEST) -> None:
        self.clock = FakeClock()
        self.changes: list[tuple[CircuitState, CircuitState, str, float | None]] = []
        self.circuit = Circuit(self.clock, policy, self.heard, lambda _: guard)

    def heard(self, before: CircuitState, after: CircuitState, reason: Reason, until: float | None) -> None:
        self.changes.append((before, after, reason.text(), until))

    def succeed(self, times: int = 1, *, began: float | None = None) -> None:
        for _ in range(times):
            self.circuit.succeeded(self.clock.now if began is None else began)

    def fail(
        self,
        times: int = 1,
        kind: Kind = Kind.OVERLOADED,
        *,
        retry_after: float | None = None,
        began: float | None = None,
    ) -> None:
        for _ in range(times):
            self.circuit.failed(self.clock.now if began is None else began, kind, retry_after)

    def prove(self, times: int = 1) -> None:
        """Cheap probes that succeed."""
        for _ in range(times):
            self.circuit.begin(self)
            self.circuit.release(self)
            self.circuit.succeeded(self.clock.now, cheap=True)

    def probe(self, *, well: bool) -> None:
        """One whole try, as live traffic makes it."""
        self.circuit.begin(self)
        self.circuit.release(self)
        if well:
            self.succeed()
        else:
            self.fail()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def open_and_wait(self, seconds: float = 10.0) -> None:
        self.fail(3)
        self.wait(seconds)

    @property
    def state(self) -> CircuitState:
        return self.circuit.look().state

    @property
    def open_for(self) -> float:
        until = self.circuit.look().until
        assert until is not None
        return until - self.clock.now


def said(look: Look) -> str | None:
    return None if look.reason is None else look.reason.text()


@pytest.fixture
def bench() -> Bench:
    return Bench()


# === closed -> open


def test_a_new_circuit_is_closed_and_has_nothing_to_say(bench: Bench) -> None:
    look = bench.circuit.look()
    assert (look.state, look.ready, look.until, look.reason, look.ramp) == (CLOSED, True, None, None, 1.0)


def test_three_faults_in_a_row_open_it(bench: Bench) -> None:
    bench.fail(2)
    assert bench.circuit.look().ready
    bench.fail()
    look = bench.circuit.look()
    assert (look.state, look.ready, look.until) == (OPEN, False, bench.clock.now + 10.0)


def test_a_success_between_begins_the_count_again(bench: Bench) -> None:
    bench.fail(2)
    bench.succeed(5)
    bench.fail(2)
    assert bench.state is CLOSED


def test_the_reason_counts_what_was_seen(bench: Bench) -> None:
    bench.fail(2, Kind.RESET)
    bench.fail(1, Kind.OVERLOADED)
    assert said(bench.circuit.look()) == "open: 2 x reset, 1 x overloaded"


def test_half_of_five_opens_it(bench: Bench) -> None:
    for outcome in (bench.fail, bench.succeed, bench.fail, bench.succeed):
        outcome()
    assert bench.state is CLOSED
    bench.fail()
    assert said(bench.circuit.look()) == "open: 3 of 5 failed"


def test_fewer_than_half_do_not_open_it(bench: Bench) -> None:
    for _ in range(20):
        bench.succeed(3)
        bench.fail(2)
        bench.wait(1)
    assert bench.state is CLOSED


def test_what_left_the_window_does_not_count(bench: Bench) -> None:
    bench.fail(2)
    bench.succeed()
    bench.wait(61)
    bench.succeed()
    bench.fail()
    assert bench.state is CLOSED


def test_faults_in_a_row_count_however_far_apart(bench: Bench) -> None:
    for _ in range(3):
        bench.fail()
        bench.wait(3600)
    assert bench.changes[0][1] is OPEN


def test_the_window_is_bounded(bench: Bench) -> None:
    bench.succeed(10 * WINDOW_LENGTH)
    for _ in range(WINDOW_LENGTH // 2 - 1):
        bench.fail()
        bench.succeed()
    assert bench.state is CLOSED
    bench.fail()
    assert said(bench.circuit.look()) == f"open: {WINDOW_LENGTH // 2} of {WINDOW_LENGTH} failed"


def test_the_policy_is_live(bench: Bench) -> None:
    bench.fail(2)
    bench.circuit.policy = Policy(failures=5, window=60.0, open=1.0, open_max=2.0)
    bench.fail(2)
    assert bench.state is CLOSED
    bench.fail()
    assert bench.open_for == pytest.approx(1.0)


# === how long


@pytest.mark.parametrize(("dice", "least", "most"), [(0.0, 8.0, 8.0), (0.5, 10.0, 10.0), (0.999, 11.9, 12.0)])
def test_jitter_is_a_fifth_either_way(bench: Bench, dice: float, least: float, most: float) -> None:
    bench.clock.dice = dice
    bench.fail(3)
    assert least - 1e-9 <= bench.open_for <= most


def test_each_failed_return_doubles_the_time_up_to_open_max(bench: Bench) -> None:
    bench.fail(3)
    seen = [bench.open_for]
    for _ in range(40):
        bench.wait(bench.open_for)
        bench.probe(well=False)
        seen.append(bench.open_for)
    assert seen[:7] == pytest.approx([10, 20, 40, 80, 160, 320, 600])
    assert seen[7:] == pytest.approx([600] * 34)


def test_the_longest_time_is_jittered_too(bench: Bench) -> None:
    bench.open_and_wait()
    for _ in range(8):
        bench.probe(well=False)
        bench.wait(bench.open_for)
    bench.clock.dice = 0.999
    bench.probe(well=False)
    assert 719 < bench.open_for <= 720


def test_a_later_retry_after_wins(bench: Bench) -> None:
    bench.fail(2)
    bench.fail(retry_after=45.0)
    assert bench.open_for == pytest.approx(45.0)


def test_an_earlier_retry_after_loses(bench: Bench) -> None:
    bench.fail(2)
    bench.fail(retry_after=1.0)
    assert bench.open_for == pytest.approx(10.0)


def test_a_retry_after_alone_opens_nothing(bench: Bench) -> None:
    bench.fail(retry_after=600.0)
    assert bench.state is CLOSED


def test_a_retry_after_of_the_first_fault_is_remembered_until_it_opens(bench: Bench) -> None:
    bench.fail(retry_after=100.0)
    bench.wait(1)
    bench.fail(2)
    assert bench.open_for == pytest.approx(99.0)


def test_a_success_makes_an_older_retry_after_void(bench: Bench) -> None:
    bench.fail(retry_after=100.0)
    bench.succeed(6)
    bench.fail(3)
    assert bench.open_for == pytest.approx(10.0)


def test_a_later_deadline_wins_when_it_is_open_already(bench: Bench) -> None:
    began = bench.clock.now - 5
    bench.fail(3)
    bench.wait(1)
    bench.fail(retry_after=30.0, began=began)
    assert bench.open_for == pytest.approx(30.0)
    bench.fail(retry_after=2.0, began=began)
    assert bench.open_for == pytest.approx(30.0)


@pytest.mark.parametrize("odd", [-5.0, float("nan"), 0.0])
def test_a_senseless_retry_after_is_none(bench: Bench, odd: float) -> None:
    bench.fail(3, retry_after=odd)
    assert bench.open_for == pytest.approx(10.0)


def test_for_ever_is_eight_days(bench: Bench) -> None:
    bench.fail(3, retry_after=float("inf"))
    assert bench.open_for == pytest.approx(LONGEST_WAIT)


def test_a_burst_that_fails_together_opens_it_once(bench: Bench) -> None:
    began = bench.clock.now
    bench.wait(1)
    bench.fail(30, began=began)
    assert bench.open_for == pytest.approx(10.0)
    assert len(bench.changes) == 1


# === open -> half-open -> closed or open


def test_it_is_not_ready_before_its_time_and_half_open_after(bench: Bench) -> None:
    bench.fail(3)
    bench.wait(9.99)
    assert (bench.state, bench.circuit.look().ready) == (OPEN, False)
    bench.wait(0.01)
    look = bench.circuit.look()
    assert (look.state, look.ready, look.until, said(look)) == (HALF_OPEN, True, None, "half-open: 0 of 2 successes")


def test_half_open_lets_one_try_through_at_a_time(bench: Bench) -> None:
    bench.open_and_wait()
    bench.circuit.begin("first")
    look = bench.circuit.look()
    assert (look.ready, said(look)) == (False, "half-open: 1 try under way")
    bench.circuit.begin("second")
    bench.circuit.release("second")
    assert not bench.circuit.look().ready
    bench.circuit.release("first")
    assert bench.circuit.look().ready


def test_two_successes_close_it(bench: Bench) -> None:
    bench.open_and_wait()
    bench.probe(well=True)
    assert said(bench.circuit.look()) == "half-open: 1 of 2 successes"
    bench.probe(well=True)
    assert bench.state is CLOSED
    assert bench.changes[-1] == (HALF_OPEN, CLOSED, "closed: 2 successes", None)


def test_one_failure_opens_it_again(bench: Bench) -> None:
    bench.open_and_wait()
    bench.probe(well=True)
    bench.probe(well=False)
    assert (bench.open_for, said(bench.circuit.look())) == (20.0, "open: 1 x overloaded in half-open")
    bench.wait(20)
    assert said(bench.circuit.look()) == "half-open: 0 of 2 successes"


def test_a_permit_that_is_freed_without_a_verdict_leaves_it_half_open(bench: Bench) -> None:
    bench.open_and_wait()
    bench.circuit.begin("cancelled")
    bench.circuit.release("cancelled")
    look = bench.circuit.look()
    assert (look.state, look.ready, said(look)) == (HALF_OPEN, True, "half-open: 0 of 2 successes")


def test_a_permit_does_not_outlive_a_reopening(bench: Bench) -> None:
    bench.open_and_wait()
    bench.circuit.begin("streams")
    bench.fail()
    bench.wait(20)
    bench.circuit.begin("next")
    bench.circuit.release("streams")
    assert not bench.circuit.look().ready


def test_what_began_before_it_opened_is_no_verdict_in_half_open(bench: Bench) -> None:
    began = bench.clock.now - 1
    bench.open_and_wait()
    bench.circuit.begin("probe")
    bench.fail(began=began)
    bench.succeed(2, began=began)
    assert bench.state is HALF_OPEN


def test_what_began_before_it_closed_does_not_open_it_again(bench: Bench) -> None:
    bench.open_and_wait()
    began = bench.clock.now
    bench.wait(1)
    bench.probe(well=True)
    bench.probe(well=True)
    bench.fail(10, began=began)
    assert bench.state is CLOSED


# === forced tries


def test_forced_successes_close_an_open_circuit(bench: Bench) -> None:
    bench.fail(3)
    bench.probe(well=True)
    assert bench.state is OPEN
    bench.probe(well=True)
    assert bench.changes[-1] == (OPEN, CLOSED, "closed: 2 successes", None)


def test_a_forced_success_counts_in_half_open_too(bench: Bench) -> None:
    bench.fail(3)
    bench.probe(well=True)
    bench.wait(10)
    bench.probe(well=True)
    assert bench.state is CLOSED


def test_forced_failures_do_not_make_the_opening_longer(bench: Bench) -> None:
    bench.fail(3)
    for _ in range(50):
        bench.probe(well=False)
    assert bench.open_for == pytest.approx(10.0)


def test_a_forced_failure_takes_a_forced_success_back(bench: Bench) -> None:
    bench.fail(3)
    bench.probe(well=True)
    bench.probe(well=False)
    bench.probe(well=True)
    assert bench.state is OPEN


def test_a_forced_try_holds_no_permit(bench: Bench) -> None:
    bench.fail(3)
    bench.circuit.begin("forced")
    bench.wait(10)
    assert bench.circuit.look().ready


# === after closing


def recovered() -> Bench:
    bench = Bench()
    bench.open_and_wait()
    bench.probe(well=True)
    bench.probe(well=True)
    return bench


def test_weight_comes_back_from_a_tenth_within_a_minute() -> None:
    bench = recovered()
    seen = []
    for _ in range(5):
        look = bench.circuit.look()
        seen.append((round(look.ramp, 3), said(look)))
        bench.wait(RAMP / 4)
    assert seen == [
        (0.1, "ramp: 10%"),
        (0.325, "ramp: 32%"),
        (0.55, "ramp: 55%"),
        (0.775, "ramp: 78%"),
        (1.0, None),
    ]


def test_it_is_ready_while_its_weight_comes_back() -> None:
    assert recovered().circuit.look().ready


def test_old_faults_are_forgotten_when_it_closes() -> None:
    bench = recovered()
    bench.fail(2)
    assert bench.state is CLOSED


def test_opening_again_on_the_way_up_doubles_the_time() -> None:
    bench = recovered()
    bench.wait(59)
    bench.fail(3)
    assert bench.open_for == pytest.approx(20.0)


def test_opening_again_after_the_way_up_begins_at_the_shortest_time() -> None:
    bench = recovered()
    bench.wait(60)
    bench.fail(3)
    assert bench.open_for == pytest.approx(10.0)


def test_every_transition_is_told(bench: Bench) -> None:
    bench.open_and_wait()
    opened = bench.clock.now
    bench.probe(well=False)
    bench.wait(20)
    bench.probe(well=True)
    bench.probe(well=True)
    assert bench.changes == [
        (CLOSED, OPEN, "open: 3 x overloaded", opened),
        (OPEN, HALF_OPEN, "half-open: 0 of 2 successes", None),
        (HALF_OPEN, OPEN, "open: 1 x overloaded in half-open", opened + 20),
        (OPEN, HALF_OPEN, "half-open: 0 of 2 successes", None),
        (HALF_OPEN, CLOSED, "closed: 2 successes", None),
    ]


# === a credential's circuit


@pytest.mark.parametrize("dice", [0.0, 0.999])
def test_a_credential_opens_at_once_and_for_fifteen_minutes(dice: float) -> None:
    bench = Bench(CREDENTIAL)
    bench.clock.dice = dice
    bench.fail(1, Kind.UNAUTHORIZED)
    look = bench.circuit.look()
    assert (look.state, bench.open_for, said(look)) == (OPEN, 900.0, "open: 1 x unauthorized")


def test_a_credential_is_tested_again_after_fifteen_minutes_each_time() -> None:
    bench = Bench(CREDENTIAL)
    bench.fail(1, Kind.UNAUTHORIZED)
    for _ in range(5):
        bench.wait(900)
        assert bench.circuit.look().ready
        bench.probe(well=False)
        assert bench.open_for == pytest.approx(900.0)
    bench.wait(900)
    bench.probe(well=True)
    bench.probe(well=True)
    assert bench.state is CLOSED


# === cheap proofs


def closed_by_probes(seconds: float = 10.0) -> Bench:
    bench = Bench()
    bench.open_and_wait(seconds)
    bench.prove(2)
    return bench


def test_two_probes_close_it() -> None:
    assert closed_by_probes().changes[-1] == (HALF_OPEN, CLOSED, "closed: 2 successes", None)


def test_what_only_probes_have_closed_opens_at_the_first_live_fault_with_its_time_doubled() -> None:
    bench = closed_by_probes()
    bench.wait(3600)
    bench.fail()
    assert (said(bench.circuit.look()), bench.open_for) == ("open: 1 x overloaded after probes had closed it", 20.0)


def test_the_time_goes_on_doubling_while_probes_and_requests_disagree() -> None:
    bench = Bench()
    bench.fail(3)
    seen = []
    for _ in range(9):
        seen.append(bench.open_for)
        bench.wait(bench.open_for)
        bench.prove(2)
        bench.wait(3600)
        bench.fail()
    assert seen == pytest.approx([10, 20, 40, 80, 160, 320, 600, 600, 600])


def test_a_live_success_makes_it_trusted_again() -> None:
    bench = closed_by_probes()
    bench.succeed()
    bench.wait(60)
    bench.fail(2)
    assert bench.state is CLOSED
    bench.fail()
    assert bench.open_for == pytest.approx(10.0)


def test_a_probe_and_a_request_together_close_it_and_it_is_trusted() -> None:
    bench = Bench()
    bench.open_and_wait()
    bench.prove()
    bench.probe(well=True)
    bench.fail(2)
    assert bench.state is CLOSED


def test_a_forced_success_that_was_taken_back_is_no_trust() -> None:
    bench = Bench()
    bench.fail(3)
    bench.probe(well=True)
    bench.probe(well=False)
    bench.wait(10)
    bench.prove(2)
    bench.fail()
    assert bench.state is OPEN


def test_a_probe_proves_nothing_of_a_closed_circuit(bench: Bench) -> None:
    bench.fail(2)
    bench.prove(10)
    bench.fail()
    assert bench.state is OPEN


def test_it_knows_the_faults_that_opened_it(bench: Bench) -> None:
    bench.fail(2, Kind.RESET)
    bench.fail(1, Kind.REFUSED)
    assert bench.circuit.kinds == {Kind.RESET, Kind.REFUSED}
    bench.wait(10)
    bench.probe(well=False)
    assert bench.circuit.kinds == {Kind.OVERLOADED}


def test_half_of_a_window_knows_its_faults_too(bench: Bench) -> None:
    for kind in (Kind.RESET, Kind.CUT, Kind.OVERLOADED):
        bench.fail(1, kind)
        bench.succeed()
    assert bench.circuit.kinds == {Kind.RESET, Kind.CUT, Kind.OVERLOADED}


# === who may try first


def test_a_guarded_circuit_waits_for_a_probe_and_one_is_enough_for_a_request_to_follow() -> None:
    bench = Bench(guard=Guard.PROBE)
    bench.open_and_wait()
    look = bench.circuit.look()
    assert (look.state, look.ready, said(look)) == (HALF_OPEN, False, "half-open: waits for a probe")
    bench.prove()
    assert (bench.circuit.look().ready, said(bench.circuit.look())) == (True, "half-open: 1 of 2 successes")


def test_where_no_probe_proves_anything_a_request_may_and_the_reason_says_so() -> None:
    bench = Bench(guard=Guard.NO_PROBE)
    bench.open_and_wait()
    look = bench.circuit.look()
    assert (look.ready, said(look)) == (True, "half-open: 0 of 2 successes, no probe can prove it")


# === reset


@pytest.mark.parametrize("wait", [0, 10], ids=["open", "half-open"])
def test_a_reset_closes_it_with_its_whole_weight_and_forgets_everything(bench: Bench, wait: float) -> None:
    bench.open_and_wait()
    bench.probe(well=False)
    bench.wait(2 * wait)
    began = bench.clock.now
    bench.wait(1)
    bench.circuit.reset()
    assert bench.circuit.look() is CALM
    assert bench.changes[-1][1:3] == (CLOSED, "reset")
    bench.fail(9, began=began)
    assert bench.state is CLOSED
    bench.fail(3)
    assert bench.open_for == pytest.approx(10.0)


def test_a_reset_of_a_closed_one_forgets_its_faults_and_is_no_news(bench: Bench) -> None:
    bench.fail(2)
    bench.circuit.reset()
    bench.fail(2)
    assert (bench.state, bench.changes) == (CLOSED, [])
