"""Slots, the retry budget and rate-limit clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.clock import FakeClock
from companion.upstream.limits import BUDGET_FLOOR, BUDGET_WINDOW, LONGEST_WAIT, RateClock, RetryBudget, Slots

# === slots


def test_slots_are_taken_up_to_the_limit_and_freed() -> None:
    slots = Slots(2)
    assert [slots.take(), slots.take(), slots.take()] == [True, True, False]
    slots.free()
    assert slots.take()


def test_no_limit_is_no_limit() -> None:
    slots = Slots(None)
    assert all(slots.take() for _ in range(10_000))


def test_a_lower_limit_waits_for_those_that_run() -> None:
    slots = Slots(3)
    for _ in range(3):
        slots.take()
    slots.limit = 1
    slots.free()
    slots.free()
    assert not slots.take()
    slots.free()
    assert slots.take()


def test_a_higher_limit_is_there_at_once() -> None:
    slots = Slots(1)
    slots.take()
    slots.limit = 2
    assert slots.take()


# === retry budget


def withdrawn(budget: RetryBudget, tries: int) -> int:
    return sum(budget.withdraw() for _ in range(tries))


def test_three_repetitions_are_free() -> None:
    assert withdrawn(RetryBudget(FakeClock()), 10) == 3


def test_a_fifth_of_the_requests_may_be_repeated_besides() -> None:
    budget = RetryBudget(FakeClock())
    for _ in range(50):
        budget.deposit()
    assert withdrawn(budget, 100) == 13


def test_the_budget_comes_back_with_time() -> None:
    clock = FakeClock()
    budget = RetryBudget(clock)
    assert withdrawn(budget, 5) == 3
    clock.advance(5)
    assert withdrawn(budget, 5) == 0
    clock.advance(6)
    assert withdrawn(budget, 5) == 3


def test_old_requests_earn_nothing() -> None:
    clock = FakeClock()
    budget = RetryBudget(clock)
    for _ in range(500):
        budget.deposit()
    clock.advance(12)
    assert withdrawn(budget, 100) == 3


steps = st.lists(st.tuples(st.floats(min_value=0, max_value=4), st.booleans()), max_size=200)


@given(steps)
def test_no_ten_seconds_hold_more_than_the_budget(steps: list[tuple[float, bool]]) -> None:
    clock = FakeClock()
    budget = RetryBudget(clock)
    deposits: list[float] = []
    withdrawals: list[float] = []
    for seconds, deposits_now in steps:
        clock.advance(seconds)
        if deposits_now:
            budget.deposit()
            deposits.append(clock.now)
        elif budget.withdraw():
            withdrawals.append(clock.now)
            spent = sum(at > clock.now - BUDGET_WINDOW for at in withdrawals)
            earned = sum(at > clock.now - BUDGET_WINDOW - 1 for at in deposits)
            assert spent <= BUDGET_FLOOR + earned / 5


def test_the_budget_remembers_seconds_not_requests() -> None:
    clock = FakeClock()
    budget = RetryBudget(clock)
    for _ in range(5_000):
        budget.deposit()
        clock.advance(0.05)
    assert len(budget._seconds) <= BUDGET_WINDOW + 1


# === rate-limit clock


class Bench:
    def __init__(self) -> None:
        self.time = FakeClock()
        self.clock = RateClock(self.time)

    def hit(self, retry_after: float | None = None) -> None:
        self.clock.hit(self.time.now, retry_after)

    def left(self) -> float | None:
        until = self.clock.until
        return None if until is None else round(until - self.time.now, 3)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_429_sets_the_clock_until_retry_after(bench: Bench) -> None:
    assert bench.left() is None
    bench.hit(30.0)
    bench.time.advance(29)
    assert bench.left() == 1.0
    bench.time.advance(1)
    assert bench.left() is None


def test_the_later_deadline_wins(bench: Bench) -> None:
    bench.hit(30.0)
    bench.hit(10.0)
    assert bench.left() == 30.0
    bench.hit(40.0)
    assert bench.left() == 40.0


def test_an_unknown_time_is_short_and_grows(bench: Bench) -> None:
    seen = []
    for _ in range(8):
        bench.hit()
        seen.append(bench.left())
        bench.time.advance(61)
    assert seen == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


@pytest.mark.parametrize(("dice", "left"), [(0.0, 1.6), (0.999, 2.399)])
def test_an_unknown_time_is_jittered(bench: Bench, dice: float, left: float) -> None:
    bench.time.dice = dice
    bench.hit()
    assert bench.left() == left


def test_a_success_makes_the_unknown_time_short_again(bench: Bench) -> None:
    for _ in range(5):
        bench.hit()
        bench.time.advance(61)
    bench.clock.succeeded(bench.time.now)
    bench.hit()
    assert bench.left() == 2.0


def test_a_success_that_began_before_the_429_changes_nothing(bench: Bench) -> None:
    began = bench.time.now
    bench.time.advance(1)
    bench.hit()
    bench.clock.succeeded(began)
    bench.time.advance(3)
    bench.hit()
    assert bench.left() == 4.0


def test_a_burst_of_429s_makes_it_grow_once(bench: Bench) -> None:
    began = bench.time.now
    bench.time.advance(1)
    for _ in range(25):
        bench.clock.hit(began, None)
    assert bench.left() == 2.0


def test_a_success_does_not_stop_a_running_clock(bench: Bench) -> None:
    bench.hit(30.0)
    bench.clock.succeeded(bench.time.now)
    assert bench.left() == 30.0


@pytest.mark.parametrize("odd", [0.0, -7.0, float("nan")])
def test_no_time_at_all_stops_nothing(bench: Bench, odd: float) -> None:
    bench.hit(odd)
    assert bench.left() is None


def test_for_ever_is_bounded(bench: Bench) -> None:
    bench.hit(float("inf"))
    assert bench.left() == LONGEST_WAIT


class Laptop(FakeClock):
    """Sleeps: the wall clock goes on, monotonic time does not."""

    slept = 0.0

    def wall(self) -> float:
        return super().wall() + self.slept


def test_a_limit_runs_off_while_the_machine_sleeps() -> None:
    laptop = Laptop()
    clock = RateClock(laptop)
    clock.hit(laptop.now, 5 * 3600.0)
    laptop.slept = 4 * 3600.0
    assert clock.until == pytest.approx(laptop.now + 3600.0)
    laptop.slept = 6 * 3600.0
    assert clock.until is None
    clock.hit(laptop.now, 60.0)
    assert clock.until == pytest.approx(laptop.now + 60.0)


def test_a_wall_clock_that_is_put_back_makes_nobody_wait_longer() -> None:
    laptop = Laptop()
    clock = RateClock(laptop)
    clock.hit(laptop.now, 60.0)
    laptop.slept = -86_400.0
    assert clock.until == pytest.approx(laptop.now + 60.0)


def test_a_reset_stops_the_clock_and_forgets_the_row_of_429s() -> None:
    clock = FakeClock()
    rate = RateClock(clock)
    for _ in range(3):
        rate.hit(clock.now, None)
        clock.advance(100)
    rate.hit(clock.now, 500.0)
    rate.reset()
    assert rate.until is None
    rate.hit(clock.now, None)
    assert rate.until == clock.now + 2.0
