"""The items of a block list in a new order: each with its own comments, between the same blank lines as before."""

from collections import Counter
from itertools import pairwise
from typing import Any

from companion.config.editing import writing
from companion.config.editing.layout import Slot, slots
from companion.config.editing.nodes import Node, line_start
from companion.config.editing.splices import Splices


def arrange(
    text: str, splices: Splices, node: Node, name: str, places: list[int | None], want: list[Any], newline: str
) -> None:
    """Splice in the items as `places` tells: where each was, or None for one that is new and is in `want`."""
    found = slots(text, node, name)
    column = node.entries[0].start - line_start(text, node.entries[0].start)
    if found[0].inline:
        return _arrange_inline(splices, found, places, want, newline, column)
    alone = _left_alone(text, found, places)
    parts: list[str] = []
    for index, (place, value) in enumerate(zip(places, want, strict=True)):
        if index:
            parts.append(_between(text, found, places[index - 1], place))
        if place is None:
            parts.append(writing.lines_of(writing.item(value, column, _inner(node, column)), newline))
        else:
            parts += [alone.pop(place, ""), text[found[place].lead : found[place].head]]
            parts.append(_whole(splices.piece(found[place].head, found[place].stop), newline))
    parts += alone.values()
    start, stop = found[0].lead, found[-1].stop
    splices.piece(start, stop)  # what was to be changed within items that are gone
    splices.add(start, stop, "".join(parts))
    return None


def are_apart(text: str, found: list[Slot]) -> bool:
    """Whether blank lines stand between most of these."""
    gaps = [not text[one.stop : other.lead].strip() and one.stop < other.lead for one, other in _pairs(found)]
    return sum(gaps) * 2 > len(gaps)


def _pairs(found: list[Slot]) -> list[tuple[Slot, Slot]]:
    return list(pairwise(found))


def _between(text: str, found: list[Slot], before: int | None, after: int | None) -> str:
    """The blank lines between two items: theirs if they were neighbours, else as most have them."""
    if before is not None and after == before + 1:
        return text[found[before].stop : found[after].lead]
    usual = Counter(text[one.stop : other.lead] for one, other in _pairs(found))
    return usual.most_common(1)[0][0] if usual else ""


def _left_alone(text: str, found: list[Slot], places: list[int | None]) -> dict[int, str]:
    """Comments that stood alone above items that are gone, by the place of the item that comes next (or the end)."""
    alone: dict[int, str] = {}
    for index, slot in enumerate(found):
        if index not in places and slot.lead < slot.head:
            following = next((each for each in range(index + 1, len(found)) if each in places), len(found))
            start = found[index - 1].stop if index and following == len(found) else slot.lead
            alone[following] = alone.get(following, "") + text[start : slot.head]
    return alone


def _inner(node: Node, column: int) -> int:
    """The column of the items' keys."""
    first = node.entries[0]
    return (
        column + 2
        if first.value.kind != "mapping" or first.value.flow
        else column + max(2, first.value.inner - first.start)
    )


def _whole(piece: str, newline: str) -> str:
    return piece if piece.endswith("\n") else piece + newline


def _arrange_inline(
    splices: Splices,
    found: list[Slot],
    places: list[int | None],
    want: list[Any],
    newline: str,
    column: int,
) -> None:
    """A list that begins on the line of another's dash: its first line has no place of its own for comments."""
    parts = []
    for index, (place, value) in enumerate(zip(places, want, strict=True)):
        if place is None:
            lines = writing.lines_of(writing.item(value, column), newline)
        else:
            slot = found[place]
            lead = " " * column if slot.inline else ""
            lines = lead + _whole(splices.piece(slot.start, slot.stop), newline)
        parts.append(lines if index else lines[column:])
    start, stop = found[0].start, found[-1].stop
    splices.piece(start, stop)
    splices.add(start, stop, "".join(parts))
