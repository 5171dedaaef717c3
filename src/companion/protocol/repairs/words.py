"""What an upstream says in an error, wherever it puts it: every text of the body, with the path that goes with it.

Upstreams wrap each other's errors as JSON in a string in JSON; validators give a list of paths and messages. Repairs
look for wordings in the lines that come of it: `messages.1.role: Input should be 'user' or 'assistant'`.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

MAX: Final = 3000
_DEPTH: Final = 6
_PATHS: Final = ("loc", "path")
_TEXTS: Final = ("msg", "message")


def words(body: bytes) -> str:
    """The lines of an error's body, at most MAX characters."""
    told = body[: 8 * MAX].decode("utf-8", "replace")
    return "\n".join(dict.fromkeys(_lines(_json(told), 0)))[:MAX]


def _lines(told: Any, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        return
    if isinstance(told, str):
        if (inner := _json(told)) != told:
            yield from _lines(inner, depth + 1)
        else:
            yield told
    elif isinstance(told, list):
        for each in told:
            yield from _lines(each, depth + 1)
    elif isinstance(told, dict):
        path = next((told[key] for key in _PATHS if isinstance(told.get(key), list)), None)
        said = next((told[key] for key in _TEXTS if isinstance(told.get(key), str)), None)
        if path is not None and said is not None:
            yield f"{'.'.join(str(each) for each in path if each != 'body')}: {said}"
        yield from _lines(list(told.values()), depth + 1)


def _json(text: str) -> Any:
    """What a text that is JSON says; one that is not stays as it is."""
    if text.lstrip()[:1] not in {"{", "["}:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
