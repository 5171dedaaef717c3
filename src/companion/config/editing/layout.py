"""Which lines belong to an entry of a block: comments above it, behind it and below it move with it.

Between two entries there are, in this order: comments that are indented more than the entry before, which are its own;
blank lines; paragraphs of comments that stand alone; and the comment directly above the entry after, which is its own.
A paragraph directly below the one entry and apart from the other belongs to the former. Above the first item, what is
apart from it, indented less, or speaks of all and not of it, belongs to the list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from companion.config.editing.nodes import Entry, Node, line_end, line_start

_OF_ALL: Final = re.compile(r"\b(all|each|every|these|those|order|list|following|they)\b", re.IGNORECASE)
_ITEM: Final = re.compile(r"#+\s*-(\s|$)")


@dataclass(frozen=True, slots=True)
class Slot:
    """An entry and what belongs to it, as offsets: [lead, head) stands alone before it, [head, stop) is its own.

    `start` is where its first line begins; where something else begins that line, it is the entry itself (`inline`).
    """

    entry: Entry
    lead: int
    head: int
    start: int
    stop: int
    inline: bool


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    stop: int
    column: int
    words: str

    @property
    def blank(self) -> bool:
        return not self.words


def slots(text: str, node: Node, name: str = "") -> list[Slot]:
    """The slots of a block. `name` is what a list is called in the file."""
    entries = node.entries
    column = entries[0].start - line_start(text, entries[0].start)
    found: list[Slot] = []
    lead, head = _above_first(text, node, column, name)
    for index, entry in enumerate(entries):
        begin = line_start(text, entry.start)
        inline = bool(text[begin : entry.start].strip())
        start = entry.start if inline else begin
        after = line_end(text, entry.end)
        follows = line_start(text, entries[index + 1].start) if index + 1 < len(entries) else None
        gap = list(_lines(text, after, follows))
        own, apart = _split(gap, column, last=follows is None)
        stop = gap[own - 1].stop if own else after
        found.append(Slot(entry, start if inline else lead, start if inline else head, start, stop, inline))
        if follows is not None:
            lead = gap[apart].start if apart < len(gap) else follows
            head = _head(gap[apart:], follows)
    return found


def _lines(text: str, start: int, stop: int | None) -> Iterator[_Line]:
    """The lines of blanks and comments from `start`, up to `stop` or to what is neither."""
    while start < (len(text) if stop is None else stop):
        after = line_end(text, start)
        line = text[start:after]
        words = line.strip()
        if words and not words.startswith("#"):
            return
        yield _Line(start, after, len(line) - len(line.lstrip()), words)
        start = after


def _split(gap: list[_Line], column: int, *, last: bool) -> tuple[int, int]:
    """How many lines of a gap belong to the entry before it, and where the blank lines after those end."""
    own = 0
    for index, line in enumerate(gap):
        if line.blank:
            continue
        if line.column <= column:
            break
        own = index + 1
    if not last and own == 0:
        own = _paragraph_below(gap)
    apart = own
    while apart < len(gap) and gap[apart].blank:
        apart += 1
    return own, apart


def _paragraph_below(gap: list[_Line]) -> int:
    """The length of a paragraph that follows at once and is apart from what comes after."""
    length = next((index for index, line in enumerate(gap) if line.blank), 0)
    return 0 if length and _ITEM.match(gap[0].words) else length


def _head(lines: list[_Line], entry: int) -> int:
    """Where the comment directly above an entry begins."""
    head = entry
    paragraph: list[_Line] = []
    for line in reversed(lines):
        if line.blank:
            break
        paragraph.append(line)
        head = line.start
    return entry if paragraph and _ITEM.match(paragraph[-1].words) else head


def _above_first(text: str, node: Node, column: int, name: str) -> tuple[int, int]:
    """Where the first entry's own comment begins, as (lead, head): what stands above that belongs to the whole."""
    start = line_start(text, node.entries[0].start)
    lines: list[_Line] = []
    position = start
    while position > 0:
        before = line_start(text, position - 1)
        line = next(_lines(text, before, position), None)
        if line is None or line.blank or line.column < column:
            break
        lines.insert(0, line)
        position = before
    if node.kind == "mapping" or not lines or _ITEM.match(lines[0].words):
        return start, start
    own = _of_item(lines, node.entries[0].value, name)
    return (own[0].start,) * 2 if own else (start, start)


def _of_item(lines: list[_Line], item: Node, name: str) -> list[_Line]:
    """The lines of a comment above the first item that are about this and not about the whole list."""
    of_all = [_OF_ALL.search(line.words) is not None or bool(name and name in line.words.lower()) for line in lines]
    if not any(_names(item, line.words.lower()) for line in lines):
        return [] if any(of_all) else lines
    own = 0
    while of_all[own] and not _names(item, lines[own].words.lower()):
        own += 1
    return lines[own:]


def _names(item: Node, words: str) -> bool:
    """Whether the words have the item's name in them."""
    called = (entry.value.value.lower() for entry in item.entries if entry.key in {"name", "id"})
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) for name in called if name)
