"""Where the fields of a JSON object are in its bytes, and how to change some without touching any other byte.

Bytes are sacred: key order, white space and escapes of everything that no rule changes stay as they came. Offsets come
from msgspec, which skips values fast but tells only their bytes: walking over the members in order and comparing each
with the bytes at hand proves every offset (a JSON value that matches ends where the original does). What msgspec
refuses (lone surrogates) or the walk does not fit (duplicate keys, escaped names) goes to a tokenizer.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_SPACE: Final = rb"[ \t\n\r]*"
_COLON: Final = re.compile(_SPACE + rb":" + _SPACE)
_COMMA: Final = re.compile(_SPACE + rb"," + _SPACE)
_OPEN: Final = re.compile(_SPACE + rb"\{" + _SPACE)
_CLOSE: Final = re.compile(_SPACE + rb"\}" + _SPACE)
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^ \t\n\r,\]}]+")
_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


class Span(NamedTuple):
    """Offsets of one member: data[key_start] is the quote before its name, its value data[value_start:value_end]."""

    key_start: int
    value_start: int
    value_end: int


class Member(NamedTuple):
    """A member of an object, its name decoded."""

    key: str
    span: Span


def top_level(data: bytes) -> dict[str, Span]:
    """The members of a JSON object, of a duplicate key the last one. Raises ValueError for what is no JSON object."""
    return dict(members(data))


def members(data: bytes) -> list[Member]:
    """Every member in its order, duplicates too. Raises ValueError for what is no JSON object."""
    try:
        return _walk(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _WalkError):
        return _tokenize(data)


def find(data: bytes, *path: str) -> tuple[int, int] | None:
    """Where the value is that nested keys lead to, or None where there is none."""
    start, end = 0, len(data)
    for key in path:
        try:
            span = top_level(data[start:end]).get(key)
        except ValueError:
            return None
        if span is None:
            return None
        start, end = start + span.value_start, start + span.value_end
    return start, end


def splice(data: bytes, edits: Mapping[str, bytes | None]) -> tuple[bytes, ...]:
    """Set or (None) remove fields of an object: the pieces of the new one, in order; `(data,)` where nothing changes.

    The values are JSON. All occurrences of a duplicate key are changed; a new field goes to the end.
    """
    found = members(data)
    changes = _removals(found, {key for key, value in edits.items() if value is None})
    seen = set()
    for key, span in found:
        value = edits.get(key)
        seen.add(key)
        if value is not None and data[span.value_start : span.value_end] != value:
            changes.append((span.value_start, span.value_end, value))
    new = [encode(key) + b":" + value for key, value in edits.items() if value is not None and key not in seen]
    if new:
        changes.append(_insertion(data, found, edits, new))
    return _apply(data, sorted(changes)) if changes else (data,)


def edit(data: bytes, edits: Mapping[tuple[str, ...], bytes]) -> bytes:
    """Set fields by their path; objects on the way are made where they are missing or are none."""
    nested: dict[str, dict[tuple[str, ...], bytes]] = {}
    direct: dict[str, bytes | None] = {}
    for path, value in edits.items():
        if len(path) == 1:
            direct[path[0]] = value
        else:
            nested.setdefault(path[0], {})[path[1:]] = value
    for key, inner in nested.items():
        where = find(data, key)
        before = data[where[0] : where[1]] if where else b"{}"
        direct[key] = edit(before if before.startswith(b"{") else b"{}", inner)
    return b"".join(splice(data, direct))


def encode(value: Any) -> bytes:
    """A value as JSON, lone surrogates too."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def _removals(found: list[Member], keys: set[str]) -> list[tuple[int, int, bytes]]:
    """Cuts out members, each with one comma: the one before it where a member stays before it, else the one after."""
    cuts = []
    stays = False
    for number, (key, span) in enumerate(found):
        if key not in keys:
            stays = True
        elif stays:
            cuts.append((found[number - 1].span.value_end, span.value_end, b""))
        else:
            following = found[number + 1 : number + 2]
            cuts.append((span.key_start, following[0].span.key_start if following else span.value_end, b""))
    return cuts


def _insertion(
    data: bytes, found: list[Member], edits: Mapping[str, bytes | None], new: list[bytes]
) -> tuple[int, int, bytes]:
    """Behind the last member; in an object that is empty, or becomes it, right behind its brace."""
    text = b",".join(new)
    if any(edits.get(key, b"") is not None for key, _ in found):
        end = found[-1].span.value_end
        return end, end, b"," + text
    start = found[0].span.key_start if found else data.index(b"{") + 1
    return start, start, text


def _apply(data: bytes, changes: list[tuple[int, int, bytes]]) -> tuple[bytes, ...]:
    pieces: list[bytes] = []
    position = 0
    for start, end, value in changes:
        pieces += (data[position:start], value)
        position = end
    pieces.append(data[position:])
    return tuple(filter(None, pieces))


# === finding the members


class _WalkError(Exception):
    """The walk does not fit the bytes."""


def _walk(data: bytes) -> list[Member]:
    found: list[Member] = []
    position = _after(_OPEN, data, 0)
    for key, raw in _members(data).items():
        if found:
            position = _after(_COMMA, data, position)
        name, value = b'"%b"' % key.encode(), bytes(raw)
        start = _after(_COLON, data, position + len(name))
        if not data.startswith(name, position) or not data.startswith(value, start):
            raise _WalkError
        found.append(Member(key, Span(position, start, start + len(value))))
        position = start + len(value)
    _after(_CLOSE, data, position)
    return found


def _after(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    found = pattern.match(data, position)
    if found is None:
        raise _WalkError
    return found.end()


def _tokenize(data: bytes) -> list[Member]:
    """The slow way, for an object that is JSON but for what msgspec thinks of its strings."""
    found: list[Member] = []
    try:
        position = _after(_OPEN, data, 0)
        while _CLOSE.match(data, position) is None:
            if found:
                position = _after(_COMMA, data, position)
            name_end = _after(_STRING, data, position)
            start = _after(_COLON, data, name_end)
            end = _value_end(data, start)
            found.append(Member(json.loads(data[position:name_end]), Span(position, start, end)))
            position = end
        if _after(_CLOSE, data, position) != len(data):
            raise _WalkError
    except _WalkError:
        raise ValueError("not a JSON object") from None
    return found


def _value_end(data: bytes, start: int) -> int:
    if data[start : start + 1] not in {b"{", b"["}:
        return _after(_STRING if data[start : start + 1] == b'"' else _SCALAR, data, start)
    depth = 0
    for token in _BRACKET.finditer(data, start):
        if token[0] in {b"{", b"["}:
            depth += 1
        elif token[0] in {b"}", b"]"}:
            depth -= 1
            if depth == 0:
                return token.end()
    raise _WalkError
