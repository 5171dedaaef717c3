"""How endpoints stand, as the API and `companion status` show it: codes, seconds from now, and JSON as they are."""

from typing import Any

import msgspec
import pytest

from companion.errors import Fault, Kind, Party, Phase
from companion.upstream.reasons import ReasonCode
from companion.upstream.states import CredentialState, EndpointState
from companion.upstream.views import CandidateKey, CircuitState
from tests.upstream.test_endpoint import KIMI, REFUSED_KEY, RESET, Bench, endpoint


@pytest.fixture
def bench() -> Bench:
    return Bench()


def state(bench: Bench) -> EndpointState:
    return bench.endpoints.states()[0]


def credential(bench: Bench, number: int = 0) -> CredentialState:
    return state(bench).credentials[number]


def test_a_healthy_endpoint_has_nothing_to_say(bench: Bench) -> None:
    bench.apply(endpoint(limits={"concurrency": 4}), endpoint("glm", priority=2))
    assert [each.name for each in bench.endpoints.states()] == ["kimi", "glm"]
    assert (state(bench).ready, state(bench).slots, state(bench).slots_used) == (True, 4, 0)
    assert (credential(bench).state, credential(bench).reason, credential(bench).circuits) == ("closed", None, ())


def test_each_credential_says_why_and_how_long(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b"))
    bench.fail(REFUSED_KEY, 1)
    bench.clock.advance(100)
    dead, well = state(bench).credentials
    assert (dead.number, dead.state, dead.ready, dead.until) == (0, CircuitState.OPEN, False, 800.0)
    assert dead.reason is not None
    assert (dead.reason.code, dead.reason.parameters, dead.reason.scope) == (
        ReasonCode.FAULTS_IN_A_ROW,
        {"faults": {"unauthorized": 1}},
        "credential",
    )
    assert (well.number, well.ready) == (1, True)
    assert state(bench).ready


def test_models_have_circuits_of_their_own(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, model="k2"), model="k2")
    (circuit,) = credential(bench).circuits
    assert (circuit.scope, circuit.model, circuit.state, circuit.until) == ("model", "k2", CircuitState.OPEN, 10.0)
    assert credential(bench).ready


def test_a_rate_limit_is_told_with_its_time(bench: Bench) -> None:
    bench.apply(endpoint())
    bench.fail(Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RATE_LIMITED, retry_after=30), 1)
    (circuit,) = credential(bench).circuits
    assert (circuit.limited, circuit.until, credential(bench).limited) == (True, 30.0, True)


@pytest.mark.parametrize(
    ("fields", "unresolved", "code"),
    [({"enabled": False}, frozenset(), "disabled"), ({}, frozenset({"secret-a"}), "unresolved")],
)
def test_what_cannot_be_used_says_why(
    bench: Bench, fields: dict[str, Any], unresolved: frozenset[str], code: str
) -> None:
    bench.apply(endpoint(**fields), unresolved=unresolved)
    reason = credential(bench).unusable
    assert reason is not None
    assert (reason.code, state(bench).ready) == (code, False)


def test_what_is_under_way_and_what_was_seen_is_counted(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b"))
    bench.endpoints.candidate(KIMI).begin("m").settle(None)
    bench.clock.advance(7)
    bench.fail(RESET, 1)
    bench.endpoints.candidate(KIMI).begin("m")
    bench.endpoints.candidate(CandidateKey("kimi", 1)).begin("m", slot=False)
    seen = credential(bench)
    assert (state(bench).in_flight, state(bench).slots_used, seen.in_flight) == (2, 1, 1)
    assert (seen.successes, seen.failures, seen.last_success, seen.last_failure) == (1, 1, 7.0, 0.0)
    assert seen.last_fault is Kind.RESET


def test_it_is_json_as_it_is_and_holds_no_secret(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "secret-a"))
    bench.fail()
    text = msgspec.json.encode(bench.endpoints.states())
    assert b'"code":"faults_in_a_row","parameters":{"faults":{"reset":3}}' in text
    assert b"secret-a" not in text


def test_a_reset_is_by_name_or_id_and_for_every_credential(bench: Bench) -> None:
    bench.apply(endpoint("kimi", "a", "b", id="k-1"), endpoint("glm"))
    for number in (0, 1):
        bench.fail(key=CandidateKey("k-1", number))
    bench.fail(key=CandidateKey("glm", 0))
    assert bench.endpoints.reset("kimi")
    assert [each.ready for each in bench.endpoints.states()] == [True, False]
    assert [change.reason for change in bench.changes[-2:]] == ["reset", "reset"]
    bench.fail(key=CandidateKey("k-1", 0))
    assert bench.endpoints.reset("k-1")
    assert not bench.endpoints.reset("nobody")
