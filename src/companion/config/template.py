"""The file of the first run: every key with its default and a comment, made from the models.

Comments stand behind what they explain: there they stay with it when lines are moved.
"""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel

from companion.config import schema
from companion.config.models import EndpointSettings, Settings

_COLUMN: Final = 32
_HEAD: Final = """\
# The configuration of Claude Code Companion. Every key is shown with its default; a key that is left out has it, too.
# A change is live within a second. One with a mistake in it changes nothing; `companion check` tells what is wrong.
#
# Durations are written as 500ms, 30s, 10m, 1.5h or 1h30m, sizes as 64KiB or 32MiB. Relative paths start at this file.
# Better than a key itself is ${NAME} (an environment variable of the proxy), file:/path or keyring:name.
"""
_NONE_YET: Final = "None yet: take the # from these lines, and change what differs."


def text() -> str:
    """The file's text."""
    written: set[type[BaseModel]] = set()
    return _HEAD + "".join(f"{line}\n" for line in _section(Settings, "", written))


def _section(model: type[BaseModel], indent: str, written: set[type[BaseModel]]) -> Iterator[str]:
    """The lines of a section. What has been `written` before is not written out again: `{}`."""
    for key, info in schema.keys(model).items():
        inner = schema.section(info)
        comment = info.description or ""
        if not indent and (inner is not None or key == "validation"):
            yield ""
        if inner is EndpointSettings:
            yield _line(f"{key}:", f"{comment} {_NONE_YET}")
            yield from _example(written)
        elif inner is not None and not schema.is_list(info) and inner not in written:
            written.add(inner)
            yield _line(f"{indent}{key}:", comment)
            yield from _section(inner, f"{indent}  ", written)
        else:
            value = schema.written(info.examples[0]) if info.examples else schema.default(info)
            yield _line(f"{indent}{key}: {value}", comment)


def _example(written: set[type[BaseModel]]) -> Iterator[str]:
    """One endpoint with all that it can have, commented out."""
    first, *others = _section(EndpointSettings, "    ", written)
    yield f"#   - {first.lstrip()}"
    yield from (f"# {line}" for line in others)


def _line(code: str, comment: str) -> str:
    return f"{code:<{_COLUMN}}# {comment}" if len(code) < _COLUMN else f"{code}  # {comment}"
