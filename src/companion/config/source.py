"""YAML text as plain data, together with the line in which each value stands.

YAML is composed into nodes, which know where they are, and the data is made from these by YAML 1.2's rules: mappings,
lists, text, numbers, true, false, null. Dates stay text, because a header's version looks like one. Anchors, aliases
and merge keys (`<<`) work; a key that is written twice does not.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from companion.errors import ConfigError, Problem

Place = tuple[str | int, ...]

MAX_VALUES: Final = 100_000

_MAX_KEY: Final = 100

# What the scanner of round trips puts where a folded text goes on in the next line.
_FOLD: Final = "\a"

_TAG: Final = "tag:yaml.org,2002:"
_NUMBERS: Final = frozenset({f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool", f"{_TAG}null"})
_TEXTS: Final = frozenset({f"{_TAG}str", f"{_TAG}timestamp"})


class Source:
    """What a text holds. `problems` are those that leave the rest readable."""

    def __init__(self, text: str, name: str) -> None:
        """`name` is what the file is called in problems that concern all of it. Raises ConfigError if it is no YAML."""
        self.problems: list[Problem] = []
        self._name = name
        self._lines: dict[Place, int] = {}
        self._values = 0
        try:
            node, self._constructor = _composed(text, name)
            self.data: Any = None if node is None else self._data(node, ())
        except RecursionError:
            raise ConfigError((Problem(name, "is nested too deeply"),)) from None

    def line(self, place: Place) -> int | None:
        """The line (from 1) of `place`, or of the nearest part of it that the file has."""
        while place not in self._lines and place:
            place = place[:-1]
        return self._lines.get(place)

    def _data(self, node: Any, place: Place) -> Any:
        self._lines.setdefault(place, node.start_mark.line + 1)
        self._count(node)
        if node.id == "mapping":
            return self._mapping(node, place)
        if node.id == "sequence":
            return [self._data(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value, own in self._pairs(node, place):
            inner = (*place, key.value)
            if key.value not in found:
                self._lines[inner] = key.start_mark.line + 1
                found[key.value] = self._data(value, inner)
            elif own:
                first = self._lines[inner]
                self._wrong(inner, f"is written twice, first in line {first}; keep one of them", key)
        return found

    def _pairs(self, node: Any, place: Place) -> Iterator[tuple[Any, Any, bool]]:
        """Key, value, and whether it stands here: what is merged in (`<<: *anchor`) comes last, so that ours count."""
        merged: list[Any] = []
        for key, value in node.value:
            if key.id != "scalar":
                self._wrong(place, "has a key that is no text", key)
            elif key.tag == f"{_TAG}merge":
                merged += value.value if value.id == "sequence" else [value]
            else:
                self._count(key)
                yield key, value, True
        for other in merged:
            if other.id != "mapping" or other is node:
                self._wrong(place, "merges (<<) something that is no mapping", other)
                continue
            yield from ((key, value, False) for key, value, _ in self._pairs(other, place))

    def _scalar(self, node: Any, place: Place) -> Any:
        if node.tag in _TEXTS:
            return node.value.replace(_FOLD, "") if node.style == ">" else node.value
        if node.tag in _NUMBERS:
            try:
                return getattr(self._constructor, f"construct_yaml_{node.tag.removeprefix(_TAG)}")(node)
            except (ValueError, KeyError):  # !!bool looks its words up
                self._wrong(place, f"cannot be read as {node.tag.removeprefix(_TAG)}", node)
                return None
        self._wrong(place, f"has the tag {node.tag}, which is not used here; leave it out", node)
        return None

    def _count(self, node: Any) -> None:
        """A few lines of aliases can stand for more values than a memory holds."""
        self._values += 1
        if self._values > MAX_VALUES:
            problem = Problem(self._name, f"holds more than {MAX_VALUES} values", node.start_mark.line + 1)
            raise ConfigError((problem,))

    def _wrong(self, place: Place, said: str, node: Any) -> None:
        self.problems.append(Problem(shown(place) or self._name, said, node.start_mark.line + 1))


def shown(place: Place) -> str:
    """A place as people read it: `endpoints[0].url`."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            part = part if len(part) <= _MAX_KEY else f"{part[:_MAX_KEY]}…"
            plain = part.replace("_", "").replace("-", "").isalnum()
            text += ("." if text else "") + (part if plain else json.dumps(part, ensure_ascii=not part.isprintable()))
    return text


@lru_cache(maxsize=4)
def source_of(text: str, name: str) -> Source:
    """A Source, which is the same for the same text for a while: it is for reading only, and took a while to make."""
    return Source(text, name)


def _composed(text: str, name: str) -> tuple[Any, Any]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and `companion version` needs none
    from ruamel.yaml.error import MarkedYAMLError  # noqa: PLC0415 - as above
    from ruamel.yaml.reader import ReaderError  # noqa: PLC0415 - as above

    # The scanner of round trips takes {host: ::1}, which the safe one does not; its numbers are no plain ones, though.
    yaml = YAML(typ="rt")
    yaml.composer.warn_double_anchors = False
    try:
        return yaml.compose(text), YAML(typ="safe", pure=True).constructor
    except MarkedYAMLError as error:
        line, said = _explained(error, text)
    except ReaderError as error:
        line, said = text.count("\n", 0, error.position) + 1, "holds a control character, which YAML cannot hold"
    raise ConfigError((Problem(name, said, line),))


def _explained(error: Any, text: str) -> tuple[int, str]:
    """Line and sentence for text that is no YAML. Nothing of the text is in it but single characters."""
    mark = error.problem_mark
    line, said = mark.line + 1, error.problem
    if text[max(0, mark.index - 1) : mark.index + 1] == "${":
        said = 'between [ ] or { } a reference needs quotes: "${NAME}"'
    elif "'\\t'" in said:
        said = "there is a tab; use spaces to indent"
    elif "undefined alias" in said:
        said = "an * begins an alias, and there is no such anchor; text that begins with * needs quotes"
    elif "cannot start any token" in said:
        said = f"text that begins with {text[mark.index]} needs quotes"
    elif "mapping values are not allowed" in said:
        said = "a colon where none can be: look at the indentation of this line, and put text with a colon in quotes"
    elif "<block end>" in said:
        said = "this line is not indented like those before it"
    elif error.context_mark is not None and error.context_mark.line + 1 < line:
        said = f"{error.context} that begins in line {error.context_mark.line + 1}, {said}"
    return line, f"is not YAML: {said}"


def sections(data: Any, name: str) -> Mapping[str, Any]:
    """The top level, which must be a mapping; an empty file is an empty one. Raises ConfigError."""
    if data is None:
        return {}
    if isinstance(data, dict):
        return data
    kind = "a list" if isinstance(data, list) else "a single value"
    raise ConfigError((Problem(name, f"must hold sections, such as server: and endpoints:, and not {kind}", 1),))
