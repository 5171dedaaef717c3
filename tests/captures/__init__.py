"""Real requests of Claude Code 2.1.330 (prompts replaced by filler of the same length), as data."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Captured:
    """One request as it went over the wire; `body` is serialised the way the client does it (compact, UTF-8)."""

    name: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def captured() -> Iterator[Captured]:
    """All of them, in the order of their files."""
    for path in sorted(Path(__file__).parent.glob("*.json")):
        scenario: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for number, request in enumerate(scenario["requests"], 1):
            body = request["body"]
            raw = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            headers = tuple((name, value) for name, value in request["headers"])
            yield Captured(f"{path.stem}-{number}", request["method"], request["target"], headers, raw)
