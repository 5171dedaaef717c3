"""Reasons are codes; their English is complete, and they are JSON as they are."""

import msgspec
import pytest

from companion.upstream.reasons import RATE_LIMITED, Reason, ReasonCode

PARAMETERS = {
    ReasonCode.FAULTS_IN_A_ROW: {"faults": {"reset": 2, "overloaded": 1}},
    ReasonCode.SHARE_FAILED: {"failed": 3, "total": 5},
    ReasonCode.FAILED_IN_HALF_OPEN: {"fault": "cut"},
    ReasonCode.FAILED_AFTER_PROBE: {"fault": "cut"},
    ReasonCode.HALF_OPEN: {"successes": 1, "needed": 2},
    ReasonCode.NO_PROBE_PROVES: {"successes": 0, "needed": 2},
    ReasonCode.RAMP: {"percent": 32},
    ReasonCode.RECOVERED: {"successes": 2},
    ReasonCode.UNRESOLVED: {"problem": "the environment variable K is not set"},
    ReasonCode.PRIORITY: {"priority": 1},
    ReasonCode.STATE: {"state": "open"},
    ReasonCode.LABELS_FIT: {"labels": "fast"},
    ReasonCode.LABELS_ONLY: {"labels": "fast, cheap"},
    ReasonCode.LABELS_LACKING: {"labels": "fast"},
}


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_has_a_text_made_of_its_parameters(code: ReasonCode) -> None:
    text = Reason(code, PARAMETERS.get(code, {})).text()  # type: ignore[arg-type]  # mypy joins the values too widely
    assert text
    assert "{" not in text


def test_the_scope_stands_before_it() -> None:
    reason = Reason(ReasonCode.FAULTS_IN_A_ROW, {"faults": {"unauthorized": 1}}).of("credential")
    assert reason.text() == "credential open: 1 x unauthorized"
    assert reason.of("endpoint").text() == "open: 1 x unauthorized"


def test_it_is_json_as_it_is() -> None:
    assert msgspec.json.encode(RATE_LIMITED) == b'{"code":"rate_limited","parameters":{},"scope":"endpoint"}'
