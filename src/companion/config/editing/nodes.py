"""YAML text as a tree of nodes that know where they stand: from which character to which.

Unlike what is made of it in `source`, this keeps aliases as aliases, and tells flow style from block style.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True, eq=False)
class Node:
    """One value. `start` is its first character, or its anchor's; `end` comes after its own last character.

    Of an empty value both are where it could stand. `inner` is where a collection's entries begin.
    """

    kind: Literal["mapping", "list", "scalar", "alias"]
    start: int
    end: int
    inner: int
    flow: bool = False
    style: str = ""
    value: str = ""
    entries: list["Entry"] = field(default_factory=list)

    @property
    def block(self) -> bool:
        """Whether it is a collection of lines."""
        return self.kind in {"mapping", "list"} and not self.flow


@dataclass(slots=True, eq=False)
class Entry:
    """A pair of a mapping, or an item of a list (without `key`). `start` is its key, or its dash in block style.

    `colon` comes after the colon or the dash.
    """

    start: int
    colon: int
    key: str | None
    merge: bool
    value: Node

    @property
    def end(self) -> int:
        """After its last character."""
        return max(self.colon, self.value.end)


def tree(text: str) -> Node | None:
    """The tree of a text that is known to be YAML; None where there is no value at all."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and only those who edit need it

    events = iter(YAML(typ="rt").parse(text))
    for event in events:
        if type(event).__name__ == "DocumentStartEvent":
            found = _node(next(events), events, text)
            empty = found.kind == "scalar" and found.start == found.end
            return None if empty else found
    return None


def _node(event: Any, events: Iterator[Any], text: str) -> Node:
    kind, start, end = type(event).__name__, event.start_mark.index, event.end_mark.index
    if kind == "MappingStartEvent":
        return _mapping(event, events, text)
    if kind == "SequenceStartEvent":
        return _list(event, events, text)
    if kind == "AliasEvent":
        return Node("alias", start, end, start, value=str(event.anchor))
    style = event.style or ""
    if style in {"|", ">"}:
        end = _last_of_block(text, start, end)
    return Node("scalar", start, end, start, style=style, value=event.value)


def _mapping(event: Any, events: Iterator[Any], text: str) -> Node:
    node = _collection("mapping", event)
    while type(key := next(events)).__name__ != "MappingEndEvent":
        name = _node(key, events, text).value
        plain = not getattr(key, "style", None)
        value = _node(next(events), events, text)
        colon = text.find(":", key.end_mark.index, max(key.end_mark.index, value.start) + 1) + 1 or key.end_mark.index
        _settle(value, colon)
        node.entries.append(Entry(key.start_mark.index, colon, name, plain and name == "<<", value))
    _close(node, key)
    return node


def _list(event: Any, events: Iterator[Any], text: str) -> Node:
    node = _collection("list", event)
    if not node.flow and text[node.inner] != "-":
        node.inner -= 1  # a list as far left as its key is said to begin after its first dash
    column = node.inner - line_start(text, node.inner)
    start = node.inner
    while type(item := next(events)).__name__ != "SequenceEndEvent":
        value = _node(item, events, text)
        if node.flow:
            node.entries.append(Entry(value.start, value.start, None, False, value))
            continue
        if node.entries:
            start = _next_dash(text, node.entries[-1].end, column)
        _settle(value, start + 1)
        node.entries.append(Entry(start, start + 1, None, False, value))
    _close(node, item)
    return node


def _collection(kind: Literal["mapping", "list"], event: Any) -> Node:
    start, inner = event.start_mark.index, event.end_mark.index
    return Node(kind, start, inner, inner, flow=bool(event.flow_style))


def _settle(value: Node, colon: int) -> None:
    """An empty value stands where it could be written, and not where the parser found that there is none."""
    if value.kind == "scalar" and value.start == value.end:
        value.start = value.end = value.inner = colon


def _close(node: Node, event: Any) -> None:
    node.end = event.end_mark.index if node.flow else node.entries[-1].end


def _next_dash(text: str, position: int, column: int) -> int:
    """The dash that begins the next item, after comments and blank lines."""
    begin = line_end(text, position)
    while begin < len(text) and text[begin : begin + column].strip() + text[begin + column : begin + column + 1] != "-":
        begin = line_end(text, begin)
    return begin + column


def _last_of_block(text: str, start: int, end: int) -> int:
    """The end of a literal or folded text: its last line that counts, without the line break."""
    header = text[start : text.find("\n", start)]
    if "+" not in header.partition("#")[0]:
        return start + len(text[start:end].rstrip())
    return end - (1 if text[end - 1 : end] == "\n" else 0) - (1 if text[end - 2 : end] == "\r\n" else 0)


def line_start(text: str, position: int) -> int:
    """Where the line of `position` begins."""
    return text.rfind("\n", 0, position) + 1


def line_end(text: str, position: int) -> int:
    """Where the line after that of `position` begins, or the text ends."""
    found = text.find("\n", position)
    return len(text) if found < 0 else found + 1
