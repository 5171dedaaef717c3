"""From what the models refuse to sentences for people: each with its place, its line, and the way out.

No sentence repeats a value that may be a secret: what stands under `auth`, `headers` and `body`, and URLs.
"""

import difflib
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from companion.config import schema
from companion.config.source import Place, Source, shown
from companion.config.words import shown as quoted
from companion.errors import Problem

_KINDS: Final = {
    "model_type": "must be a section: lines of key: value",
    "model_attributes_type": "must be a section: lines of key: value",
    "dict_type": "must be a mapping: lines of key: value",
    "mapping_type": "must be a mapping: lines of key: value",
    "tuple_type": "must be a list, such as [one, another]",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "path_type": "must be the path of a file",
    "string_too_short": "must not be empty",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "string_too_long": "must not be longer than {max_length} characters",
    "finite_number": "must be a number that has an end",
}
_NAMES: Final = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
}


def found(error: ValidationError, source: Source) -> Iterator[Problem]:
    """All that the models say about what is in `source`."""
    for each in error.errors(include_url=False):
        if each["type"] == "default_factory_not_called":
            continue
        written = each.get("ctx", {}).get("at", each["loc"])
        place = tuple(part for part in written if part != "[key]")
        yield Problem(
            shown(place),
            _sentence(each, place, source),
            source.line(place),
            code=each["type"],
            parameters={
                key: value for key, value in each.get("ctx", {}).items() if isinstance(value, str | int | float)
            },
            path=place,
        )


def _sentence(error: ErrorDetails, place: Place, source: Source) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "missing":
        return _missing(place)
    if kind == "literal_error":
        return _not_a_choice(place, error["input"])
    if kind == "clash":
        other: Place = context["other"]
        line = source.line(other)
        return f"{quoted(context['value'])} is the {other[-1]} of {shown(other[:-1])} in line {line}; give each its own"
    if kind in _KINDS:
        return _KINDS[kind].format(**context) + _instead_of(kind, error["input"])
    return error["msg"]


def _unknown(place: Place) -> str:
    name, model = str(place[-1]), schema.model_at(place[:-1])
    known = list(schema.keys(model)) if model is not None else []
    if near := difflib.get_close_matches(name.lower(), known, n=1):
        return f'unknown key; did you mean "{near[0]}"?'
    if home := next(schema.homes(name), None):
        return f'unknown key; did you mean "{home}"?'
    return f"unknown key; here can be {', '.join(known)}"


def _missing(place: Place) -> str:
    model = schema.model_at(place[:-1])
    assert model is not None
    info = schema.keys(model)[str(place[-1])]
    example = schema.written(info.examples[0]) if info.examples else "…"
    return f"is missing; write for example {place[-1]}: {example}"


def _not_a_choice(place: Place, value: Any) -> str:
    model = schema.model_at(place[:-1])
    assert model is not None
    words = schema.choices(schema.keys(model)[str(place[-1])])
    said = f"must be {' or '.join(words)}" if len(words) <= 2 else f"must be one of {', '.join(words)}"
    if isinstance(value, str) and (near := difflib.get_close_matches(value.lower(), words, n=1)):
        return f'{said}; did you mean "{near[0]}"?'
    return said


def _instead_of(kind: str, value: Any) -> str:
    """What is there instead, and how to mend the commonest of it."""
    if not kind.endswith("_type"):
        return ""
    if kind == "string_type" and isinstance(value, int | float):
        return ", and this is a number or true/false; put it in quotes"
    if isinstance(value, str) and kind in {"int_type", "float_type"} and value.strip().isdigit():
        return "; leave out the quotes"
    return f", not {_NAMES.get(type(value), 'nothing')}"
