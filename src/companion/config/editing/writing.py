"""Values as YAML text that is read back as they were: flow style where it fits on a line, else block style."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

STEP: Final = 2

_WIDTH: Final = 100
_WORDS: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?:[ :][A-Za-z0-9_./@+-]+)*/?")
_AMOUNT: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|B|[KMGT]i?B(?:/s)?)")
_OTHER: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def inline(value: Any) -> str:
    """A value on one line, as it can stand anywhere."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return scalar(value)


def scalar(value: Any, style: str = "") -> str:
    """A single value, in the quotes of `style` where it can be."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value)
    return _text(value, style)


def pair(key: str, value: Any, column: int) -> list[str]:
    """The lines of a pair of a mapping at `column`."""
    begin = " " * column + _text(key) + ":"
    if is_block(value, column + len(key)):
        return [begin, *block(value, column + STEP)]
    return [f"{begin} {inline(value)}"]


def block(value: Any, column: int) -> list[str]:
    """The lines of a collection that is not empty."""
    if isinstance(value, Mapping):
        return [line for key, each in value.items() for line in pair(key, each, column)]
    return [line for each in value for line in item(each, column)]


def item(value: Any, column: int, inner: int | None = None) -> list[str]:
    """The lines of an item of a list whose dashes are at `column`, and the keys of its mappings at `inner`."""
    inner = column + STEP if inner is None else inner
    begin = (" " * column + "-").ljust(inner)
    if isinstance(value, Mapping) and value:
        lines = block(value, inner)
        return [begin + lines[0].lstrip(), *lines[1:]]
    return [begin + inline(value)]


def is_block(value: Any, used: int = 0) -> bool:
    """Whether it needs lines of its own, when `used` characters stand before it."""
    if not isinstance(value, Mapping | list) or not value:
        return False
    if isinstance(value, list) and any(isinstance(each, Mapping) and each for each in value):
        return True
    return used + len(inline(value)) > _WIDTH


def lines_of(lines: Iterator[str] | list[str], newline: str) -> str:
    """Text of lines."""
    return "".join(line + newline for line in lines)


def _text(text: str, style: str = "") -> str:
    if style == "'" and text.isprintable() and "\n" not in text:
        return "'" + text.replace("'", "''") + "'"
    plain = (_WORDS.fullmatch(text) and text.lower() not in _OTHER) or _AMOUNT.fullmatch(text)
    if plain and not style and len(text) <= _WIDTH:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else _escaped(each) for each in quoted)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _number(value: float) -> str:
    text = repr(value)
    if text in {"inf", "-inf", "nan"}:
        return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}[text]
    return text
