"""What upstreams really answered, from wordings.json, and the request that they are answers to."""

import json
from pathlib import Path
from typing import Any, NamedTuple

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def body(**changes: Any) -> dict[str, Any]:
    """A request with all that is ever refused; None takes a field out."""
    told = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}, IMAGE]},
            {"role": "system", "content": "Today is Wednesday."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                    {"type": "tool_use", "id": "t1", "name": "Read", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [IMAGE]}]},
        ],
        "system": [{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "Read", "description": "reads", "input_schema": {"type": "object"}}],
        "max_tokens": 128000,
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
    }
    told.update(changes)
    return {key: value for key, value in told.items() if value is not None}


class Case(NamedTuple):
    """An answer to a request, and the repair with its parameter that it calls for; none where it passes on."""

    upstream: str
    status: int
    answer: bytes
    sent: bytes
    repair: str


def _case(told: dict[str, Any]) -> Case:
    answer = json.dumps(told["answer"], ensure_ascii=False).encode()
    sent = json.dumps(body(**told.get("sent", {}))).encode()
    return Case(told.get("upstream", ""), told["status"], answer, sent, told.get("repair", ""))


_TOLD = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
CASES = [_case(told) for told in _TOLD["cases"]]
PASSED = [_case(told) for told in _TOLD["passed"]]
