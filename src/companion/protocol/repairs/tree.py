"""A JSON body as a tree that is read only where somebody looks, and edits of it that leave every other byte alone.

Offsets are those of the whole body. Of a duplicate key the last one counts, as it does for those who parse it; it is
removed and set in all its places.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from companion.protocol import spans

_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
# Latin-1 has one character a byte, so the judge's offsets are ours; structure is ASCII in any case.
_scan: Final = json.JSONDecoder(strict=False).raw_decode
_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_COMMA: Final = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")


@dataclass(frozen=True)
class Node:
    """The value data[start:end]."""

    data: bytes
    start: int
    end: int

    @classmethod
    def root(cls, data: bytes) -> "Node":
        """The whole body. Raises ValueError when it is no JSON object, or one without members."""
        start = len(data) - len(data.lstrip(b" \t\n\r"))
        node = cls(data, start, len(data.rstrip(b" \t\n\r")))
        if not node.is_object or not node.members:
            raise ValueError("not a JSON object with something in it")
        return node

    @cached_property
    def raw(self) -> bytes:
        return self.data[self.start : self.end]

    @property
    def is_object(self) -> bool:
        return self.data.startswith(b"{", self.start)

    @property
    def is_array(self) -> bool:
        return self.data.startswith(b"[", self.start)

    @property
    def is_string(self) -> bool:
        return self.data.startswith(b'"', self.start)

    @cached_property
    def members(self) -> list[tuple[str, int, "Node"]]:
        """Name, offset of the name's quote, and value, of every member; duplicates too."""
        return [
            (key, self.start + at.key_start, self._part(at.value_start, at.value_end))
            for key, at in spans.members(self.raw)
        ]

    @cached_property
    def items(self) -> list["Node"]:
        """The values of an array; none where it is no array."""
        return list(self._items()) if self.is_array else []

    def get(self, key: str) -> "Node | None":
        """A member's value; None also where this is no object."""
        if not self.is_object:
            return None
        return next((node for name, _, node in reversed(self.members) if name == key), None)

    def at(self, *path: str) -> "Node | None":
        """The value that nested keys lead to."""
        node: Node | None = self
        for key in path:
            if node is None:
                return None
            node = node.get(key)
        return node

    @property
    def value(self) -> Any:
        """The value decoded. Ask only those that are small."""
        return json.loads(self.raw)

    @property
    def type(self) -> str | None:
        """What the member `type` says."""
        return text(self.get("type"))

    def _part(self, start: int, end: int) -> "Node":
        return Node(self.data, self.start + start, self.start + end)

    def _items(self) -> Iterator["Node"]:
        try:
            ends = [(len(raw), bytes(raw)) for raw in _raws(self.raw)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield from self._scanned()
            return
        position = self._after(_SPACE, self.start + 1)
        for number, (length, raw) in enumerate(ends):
            if number:
                position = self._after(_COMMA, position)
            if not self.data.startswith(raw, position):
                raise ValueError("not where it was expected")
            yield Node(self.data, position, position + length)
            position += length

    def _scanned(self) -> Iterator["Node"]:
        told = self.raw.decode("latin-1")
        position = self._after(_SPACE, self.start + 1)
        while not self.data.startswith(b"]", position):
            _, end = _scan(told, position - self.start)
            yield Node(self.data, position, self.start + end)
            position = self._after(_SPACE, self.start + end)
            if self.data.startswith(b",", position):
                position = self._after(_SPACE, position + 1)

    def _after(self, pattern: re.Pattern[bytes], position: int) -> int:
        found = pattern.match(self.data, position)
        if found is None:
            raise ValueError("not a JSON array")
        return found.end()


def text(node: Node | None) -> str | None:
    """The string that a value is, or None."""
    value = node.value if node is not None and node.is_string else None
    return value if isinstance(value, str) else None


def whole(node: Node | None) -> int | None:
    """The whole number that a value is, or None."""
    value = node.value if node is not None and node.end - node.start < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Edits:
    """Changes of one body, collected and then made at once. No two may overlap."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._changes: list[tuple[int, int, bytes]] = []
        self._dropped: dict[int, tuple[list[tuple[int, int]], set[int]]] = {}

    def replace(self, node: Node, value: bytes) -> None:
        """Another value in a value's place."""
        if node.raw != value:
            self._changes.append((node.start, node.end, value))

    def put(self, node: Node, key: str, value: bytes) -> None:
        """A member of an object; a new one goes to the end."""
        there = [each for name, _, each in node.members if name == key]
        for each in there:
            self.replace(each, value)
        if not there:
            self._insert(node, [(at, each.end) for _, at, each in node.members], spans.encode(key) + b":" + value)

    def append(self, array: Node, value: bytes) -> None:
        """One more value at the end of an array, or several with commas between them."""
        self._insert(array, [(item.start, item.end) for item in array.items], value)

    def prepend(self, array: Node, value: bytes) -> None:
        """One more value at the beginning of an array that has some."""
        start = array.items[0].start
        self._changes.append((start, start, value + b","))

    def drop(self, array: Node, number: int) -> None:
        """Without the value of that number."""
        self._drop(array, [(item.start, item.end) for item in array.items], {number})

    def drop_key(self, node: Node, key: str) -> None:
        """Without a member, should it be there."""
        numbers = {number for number, (name, _, _) in enumerate(node.members) if name == key}
        self._drop(node, [(at, each.end) for _, at, each in node.members], numbers)

    def dropped(self, container: Node) -> int:
        """How many values or members a container loses."""
        return len(self._dropped[container.start][1]) if container.start in self._dropped else 0

    def refill(self, array: Node, value: bytes) -> None:
        """One value in place of all those of an array."""
        self._dropped.pop(array.start, None)
        self._changes.append((array.items[0].start, array.items[-1].end, value))

    @property
    def any(self) -> bool:
        return bool(self._changes or any(numbers for _, numbers in self._dropped.values()))

    def made(self) -> bytes:
        """The body with all changes."""
        changes = list(self._changes)
        for parts, numbers in self._dropped.values():
            changes += _cuts(parts, numbers)
        pieces: list[bytes] = []
        position = 0
        for start, end, value in sorted(changes):
            pieces += (self._data[position:start], value)
            position = end
        return b"".join((*pieces, self._data[position:]))

    def _insert(self, container: Node, parts: list[tuple[int, int]], value: bytes) -> None:
        if parts:
            end = parts[-1][1]
            self._changes.append((end, end, b"," + value))
        else:
            self._changes.append((container.start + 1, container.start + 1, value))

    def _drop(self, container: Node, parts: list[tuple[int, int]], numbers: set[int]) -> None:
        self._dropped.setdefault(container.start, (parts, set()))[1].update(numbers)


def _cuts(parts: list[tuple[int, int]], numbers: set[int]) -> Iterator[tuple[int, int, bytes]]:
    """Cuts out parts, each with one comma: the one before it where a part stays before it, else the one after."""
    stays = False
    for number, (start, end) in enumerate(parts):
        if number not in numbers:
            stays = True
        elif stays:
            yield parts[number - 1][1], end, b""
        else:
            yield start, parts[number + 1][0] if number + 1 < len(parts) else end, b""
