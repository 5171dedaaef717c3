"""Whole answers: checked, mended by splices, and every other byte as it came."""

import json
from typing import Any

import pytest

from companion.protocol.anthropic import Usage
from companion.protocol.message import check_message, set_model
from companion.protocol.validate import Violated
from companion.protocol.violations import Violation

V = Violation
TOOL = {"type": "tool_use", "id": "t", "name": "B", "input": {"a": 1.0}}


def message(**changes: Any) -> bytes:
    told = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 1, "service_tier": "standard"},
        **changes,
    }
    return json.dumps({key: value for key, value in told.items() if value != "absent"}, indent=1).encode()


def test_a_right_answer_stays_the_very_object():
    body = message(content=[{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}, {"type": "mood"}])

    for mode in ("strict", "repair", "observe"):
        checked = check_message(body, mode)
        assert checked.body is body
        assert not checked.violations
    assert checked.content == ("thinking", "text", "mood")
    assert checked.text_length == 2
    assert (checked.stop_reason, checked.model) == ("end_turn", "claude-x")
    assert checked.usage == Usage(input_tokens=7, output_tokens=1)
    assert not checked.empty


@pytest.mark.parametrize(
    ("wrong", "right", "violation"),
    [
        ({"usage": None}, {"usage": {"input_tokens": 0, "output_tokens": 0}}, V.NO_USAGE),
        ({"usage": {"input_tokens": 3}}, {"usage": {"input_tokens": 3, "output_tokens": 0}}, V.NO_USAGE),
        ({"role": "user"}, {"role": "assistant"}, V.WRONG_ROLE),
        ({"stop_reason": "stop"}, {"stop_reason": "end_turn"}, V.FOREIGN_STOP_REASON),
        ({"stop_reason": "length"}, {"stop_reason": "max_tokens"}, V.FOREIGN_STOP_REASON),
        ({"stop_reason": None}, {"stop_reason": "end_turn"}, V.NULL_STOP_REASON),
        ({"stop_reason": None, "content": [TOOL]}, {"stop_reason": "tool_use", "content": [TOOL]}, V.NULL_STOP_REASON),
        ({"type": "absent"}, {"type": "message"}, V.MISSING_TYPE),
    ],
)
def test_what_is_wrong_is_mended(wrong, right, violation):
    checked = check_message(message(**wrong))

    assert json.loads(checked.body) == json.loads(message(**right))
    assert checked.violations == {violation: 1}
    assert checked.repaired
    observed = check_message(message(**wrong), "observe")
    assert observed.body == message(**wrong)
    assert observed.violations == {violation: 1}
    assert not observed.repaired
    with pytest.raises(Violated, match=violation):
        check_message(message(**wrong), "strict")


def test_end_turn_with_a_tool_is_only_noted():
    body = message(content=[TOOL])
    checked = check_message(body, "strict")

    assert checked.body is body
    assert checked.violations == {V.END_TURN_WITH_TOOL: 1}


@pytest.mark.parametrize(
    ("body", "violation"),
    [
        (b"<html>", V.BAD_JSON),
        (b"", V.BAD_JSON),
        (b"[]", V.NOT_A_MESSAGE),
        (b"{}", V.NOT_A_MESSAGE),
        (message(content="Hi"), V.NOT_A_MESSAGE),
        (message(content=None), V.NOT_A_MESSAGE),
        (message(content=[{"text": "x"}]), V.NOT_A_MESSAGE),
        (message(type="completion"), V.NOT_A_MESSAGE),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', V.NOT_A_MESSAGE),
    ],
)
def test_what_is_no_message_is_a_fault_in_every_mode(body, violation):
    for mode in ("strict", "repair", "observe"):
        with pytest.raises(Violated, match=violation):
            check_message(body, mode)


def test_odd_text_and_odd_fields_are_carried():
    body = message(content=[{"type": "text", "text": "\ud83d"}], model=5)

    assert check_message(body, "strict").body is body


def test_an_answer_without_content_is_empty():
    assert check_message(message(content=[])).empty
    assert check_message(message(content=[], stop_reason=None)).empty
    assert check_message(message(content=[{"type": "text", "text": ""}])).empty
    assert not check_message(message(content=[], stop_reason="refusal")).empty
    assert not check_message(message(content=[TOOL])).empty


def test_the_model_is_spliced():
    body = message()

    assert set_model(body, "claude-y") == body.replace(b"claude-x", b"claude-y")
    assert set_model(b"nonsense", "claude-y") == b"nonsense"
