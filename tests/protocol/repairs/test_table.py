"""Which words call for which repair, and which pass on to the client."""

import pytest

from companion.protocol.repairs import NAMES
from companion.protocol.repairs.record import Made
from companion.protocol.repairs.table import REPAIRS, always, apply, find
from tests.protocol.repairs.wordings import CASES, PASSED


@pytest.mark.parametrize("case", CASES, ids=[f"{case.repair} {case.upstream}" for case in CASES])
def test_what_upstreams_answer_calls_for_a_repair_that_changes_the_request(case):
    made = find(case.status, case.answer, case.sent)

    assert made is not None
    assert str(made) == case.repair
    assert Made.of(case.repair) == made
    repaired = apply((made,), case.sent)
    assert repaired.made == (made,)
    assert find(case.status, case.answer, repaired.body) != made


@pytest.mark.parametrize("case", PASSED, ids=[case.answer.decode()[:120] for case in PASSED])
def test_what_the_client_heals_or_nobody_can_passes(case):
    assert find(case.status, case.answer, case.sent) is None


def test_every_repair_is_called_for_by_somebody():
    assert {Made.of(case.repair).name for case in CASES} == set(NAMES)
    assert tuple(REPAIRS) == NAMES


@pytest.mark.parametrize("case", CASES, ids=[f"{case.repair} {case.upstream}" for case in CASES])
def test_a_repair_that_is_not_wanted_or_was_tried_is_not_found_again(case):
    name = Made.of(case.repair).name

    assert getattr(find(case.status, case.answer, case.sent, never={name}), "name", None) != name
    assert getattr(find(case.status, case.answer, case.sent, tried={name}), "name", None) != name


def test_a_body_that_is_no_object_is_left_alone():
    for body in (b"", b"[]", b"nonsense", b"{}"):
        assert find(400, CASES[0].answer, body) is None
        assert apply(always(NAMES), body) == (body, (), ())
