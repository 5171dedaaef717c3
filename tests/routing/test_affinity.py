"""Endpoints that have cut a session off."""

from companion.clock import FakeClock
from companion.routing.affinity import SESSIONS, SHUNNED_FOR, Shunned


def test_a_session_shuns_who_cut_it_off_and_no_other_session_does() -> None:
    shunned = Shunned(FakeClock())
    shunned.add("s", "kimi")
    assert shunned.of("s") == {"kimi"}
    assert shunned.of("other") == frozenset()


def test_it_lasts_a_minute_from_the_last_cut() -> None:
    clock = FakeClock()
    shunned = Shunned(clock)
    shunned.add("s", "kimi")
    clock.advance(SHUNNED_FOR - 1)
    shunned.add("s", "glm")
    assert shunned.of("s") == {"kimi", "glm"}
    clock.advance(1)
    assert shunned.of("s") == {"glm"}
    shunned.add("s", "glm")
    clock.advance(SHUNNED_FOR - 1)
    assert shunned.of("s") == {"glm"}
    clock.advance(1)
    assert shunned.of("s") == frozenset()


def test_a_request_without_a_session_shuns_nobody() -> None:
    shunned = Shunned(FakeClock())
    shunned.add("s", "kimi")
    assert shunned.of(None) == frozenset()


def test_sessions_are_bounded_and_the_oldest_is_forgotten() -> None:
    shunned = Shunned(FakeClock())
    for number in range(SESSIONS + 1):
        shunned.add(f"s{number}", "kimi")
    assert shunned.of("s0") == frozenset()
    assert shunned.of("s1") == {"kimi"}
    assert len(shunned._sessions) == SESSIONS


def test_a_session_that_is_cut_again_is_not_the_oldest() -> None:
    shunned = Shunned(FakeClock())
    shunned.add("busy", "kimi")
    for number in range(SESSIONS - 1):
        shunned.add(f"s{number}", "kimi")
    shunned.add("busy", "kimi")
    shunned.add("one more", "kimi")
    assert shunned.of("busy") == {"kimi"}


def test_endpoints_of_one_session_are_bounded_by_time() -> None:
    clock = FakeClock()
    shunned = Shunned(clock)
    for number in range(1_000):
        shunned.add("s", f"e{number}")
        clock.advance(1)
    assert len(shunned._sessions["s"]) <= SHUNNED_FOR + 1


def test_an_endless_session_name_is_kept_by_its_beginning() -> None:
    shunned = Shunned(FakeClock())
    shunned.add("x" * 60_000, "kimi")
    assert shunned.of("x" * 60_000) == {"kimi"}
    assert max(map(len, shunned._sessions)) < 1_000


def test_what_ran_off_is_dropped_when_it_is_asked_for() -> None:
    clock = FakeClock()
    shunned = Shunned(clock)
    shunned.add("s", "kimi")
    clock.advance(SHUNNED_FOR)
    shunned.of("s")
    assert not shunned._sessions
