"""From a text and the data that it shall mean to the new text: what did not change keeps its bytes.

The tree of the text is walked beside what it means and what it shall mean; where these differ, a splice is made. Items
of lists are moved as blocks of lines, with the comments that belong to them. What comes out is read again: it means
what was asked for, or nothing comes out. Where an alias or a merge stands in the way, all are written out first.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from companion.config.editing import flow, lists, writing
from companion.config.editing.layout import Slot, slots
from companion.config.editing.matching import matched, same
from companion.config.editing.nodes import Entry, Node, line_end, line_start, tree
from companion.config.editing.splices import Splices
from companion.config.source import source_of
from companion.errors import ConfigError, Problem

_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)+")


class _InTheWay(Exception):
    """An alias or a merge has to be written out first."""


def rewritten(text: str, want: Mapping[str, Any], name: str) -> str:
    """The text that means `want`, made from `text`, a file called `name`. Raises ConfigError if there is none."""
    have = _meaning(text, name)
    if same(have, want):
        return text
    for prepare in (str, _without_aliases):
        try:
            prepared = prepare(text)
            found = _Rewriter(prepared).run(_meaning(prepared, name), want)
        except _InTheWay:
            continue
        if _means(found, want, name):
            return found
    said = "cannot be changed so by this program without losing something; change it by hand"
    raise ConfigError((Problem(name, said),))


def _meaning(text: str, name: str) -> dict[str, Any]:
    source = source_of(text, name)
    if source.problems:
        raise ConfigError(tuple(source.problems))
    if source.data is not None and not isinstance(source.data, dict):
        raise ConfigError((Problem(name, "must hold sections, such as server: and endpoints:", 1),))
    return source.data or {}


def _means(text: str, want: Mapping[str, Any], name: str) -> bool:
    try:
        return same(_meaning(text, name), want)
    except ConfigError:
        return False


def _without_aliases(text: str) -> str:
    """The text with all aliases and merges written out."""
    root = tree(text)
    splices = Splices(text)
    if root is not None:
        _Expander(text, splices).expand(root, _meaning(text, ""))
    if not splices:
        raise _InTheWay
    return splices.applied()


class _Expander:
    def __init__(self, text: str, splices: Splices) -> None:
        self._text = text
        self._splices = splices

    def expand(self, node: Node, have: Any) -> None:
        if node.kind == "alias":
            self._splices.add(node.start, node.end, writing.inline(have))
        elif node.kind == "list":
            for entry, each in zip(node.entries, have, strict=True):
                self.expand(entry.value, each)
        else:
            own = {entry.key for entry in node.entries if not entry.merge}
            for entry in node.entries:
                if entry.merge:
                    merged = {key: each for key, each in have.items() if key not in own}
                    self._splices.add(entry.start, entry.end, self._written_out(node, entry, merged))
                elif entry.key in have:
                    self.expand(entry.value, have[entry.key])
                else:
                    raise _InTheWay

    def _written_out(self, node: Node, entry: Entry, merged: dict[str, Any]) -> str:
        if node.flow:
            return writing.inline(merged)[1:-1] if merged else "null: null"
        column = entry.start - line_start(self._text, entry.start)
        lines = writing.block(merged, column)
        return newline_of(self._text).join(lines).lstrip()


class _Rewriter:
    """Makes the splices. `within` is whether a value stands in a flow collection: there, all is on one line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newline = newline_of(text)
        self._splices = Splices(text)

    def run(self, have: dict[str, Any], want: Mapping[str, Any]) -> str:
        root = tree(self._text)
        if root is None:
            self._insert(len(self._text), writing.block(want, 0))
        else:
            self._change_mapping(root, have, want, within=False)
        return self._splices.applied()

    def _change(self, entry: Entry, have: Any, want: Any, *, within: bool) -> None:
        node = entry.value
        if same(have, want):
            return
        if node.kind == "mapping" and isinstance(want, Mapping) and self._stays(node, entry, want, within=within):
            self._change_mapping(node, have, want, within=within)
        elif node.kind == "list" and isinstance(want, list) and self._stays(node, entry, want, within=within):
            self._change_list(node, have, want, entry.key or "", within=within)
        elif node.kind == "scalar" and not isinstance(want, Mapping | list):
            self._put(node, writing.scalar(want, node.style))
        elif within or not self._needs_lines(entry, want):
            self._replace(entry, writing.inline(want))
        else:
            self._replace_by_lines(entry, want)

    def _stays(self, node: Node, entry: Entry, want: Mapping[str, Any] | list[Any], *, within: bool) -> bool:
        """Whether a collection is changed entry by entry, and not replaced as a whole."""
        if node.flow and not node.entries:
            return isinstance(want, Mapping) and (within or not self._needs_lines(entry, want))
        if not want:
            return False
        first = node.entries[0]
        kept = not isinstance(want, Mapping) or any(each.merge or each.key in want for each in node.entries)
        return kept or node.flow or not self._text[line_start(self._text, first.start) : first.start].strip()

    def _needs_lines(self, entry: Entry, want: Any) -> bool:
        column = entry.start - line_start(self._text, entry.start)
        return entry.key is not None and writing.is_block(want, column + len(entry.key))

    def _change_mapping(self, node: Node, have: Mapping[str, Any], want: Mapping[str, Any], *, within: bool) -> None:
        own = {entry.key: entry for entry in node.entries if not entry.merge and entry.key is not None}
        if own.keys() - have.keys():
            raise _InTheWay  # a key that is an alias
        for key, entry in own.items():
            if key in want:
                self._change(entry, have[key], want[key], within=within or node.flow)
        new = {
            key: value for key, value in want.items() if key not in own and not (key in have and same(have[key], value))
        }
        kept: list[Entry | str] = [each for each in node.entries if each.merge or each.key in want]
        if not new and len(kept) == len(node.entries):
            return
        if node.flow:
            texts = [writing.inline({key: value})[1:-1] for key, value in new.items()]
            flow.arrange(self._text, self._splices, node, [*kept, *texts])
        else:
            self._change_lines(node, want, new)

    def _change_lines(self, node: Node, want: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Pairs of a block mapping that go, and those that come."""
        found = slots(self._text, node)
        gone = [index for index, slot in enumerate(found) if not slot.entry.merge and slot.entry.key not in want]
        first = self._delete_first(found, gone)
        for index in gone[first:]:
            self._delete(found, index)
        column = node.entries[0].start - line_start(self._text, node.entries[0].start)
        apart = [""] if lists.are_apart(self._text, found) else []
        keys = list(want)
        staying = {slot.entry.key: slot for index, slot in enumerate(found) if index not in gone}
        for key, value in new.items():
            before = next((each for each in reversed(keys[: keys.index(key)]) if each in staying), None)
            slot = found[-1] if before is None else staying[before]
            self._insert(slot.stop, [*apart, *writing.pair(key, value, column)])

    def _delete_first(self, found: list[Slot], gone: list[int]) -> int:
        """Take out several pairs at once of which the first stands behind a dash; returns how many, often none."""
        count = next((number for number, index in enumerate(gone) if number != index), len(gone))
        if count < 2 or count == len(found) or not found[0].inline:
            return 0
        if any(one.stop != other.start or one.stop != other.lead for one, other in pairwise(found[: count + 1])):
            return 0
        self._splices.add(found[0].start, found[count].entry.start, "")
        return count

    def _delete(self, found: list[Slot], index: int) -> None:
        """Take out a pair with its comments and the blank lines before the next one, or the last."""
        slot = found[index]
        following = found[index + 1] if index + 1 < len(found) else None
        if slot.inline:
            self._delete_inline(slot, following)
        elif slot.lead < slot.head:
            self._splices.add(slot.head, slot.stop, "")
        elif following is not None:
            self._splices.add(slot.head, following.lead, "")
        else:
            self._splices.add(found[index - 1].stop if index else slot.head, slot.stop, "")

    def _delete_inline(self, slot: Slot, following: Slot | None) -> None:
        """The pair that stands behind a dash: the next one takes its place, unless there are comments between."""
        if following is not None and slot.stop == following.lead == following.start:
            self._splices.add(slot.start, following.entry.start, "")
        else:
            self._splices.add(len(self._text[: slot.start].rstrip(" ")), slot.stop, self._newline)

    def _change_list(self, node: Node, have: list[Any], want: list[Any], name: str, *, within: bool) -> None:
        places = matched(have, want)
        for place, value in zip(places, want, strict=True):
            if place is not None:
                self._change(node.entries[place], have[place], value, within=within or node.flow)
        if places == list(range(len(have))):
            return
        if node.flow:
            kept = [None if place is None else node.entries[place] for place in places]
            flow.arrange(
                self._text,
                self._splices,
                node,
                [entry or writing.inline(value) for entry, value in zip(kept, want, strict=True)],
            )
        else:
            lists.arrange(self._text, self._splices, node, name, places, want, self._newline)

    def _replace(self, entry: Entry, value: str) -> None:
        """Put a value on the line of its key or dash, whatever there was."""
        node = entry.value
        begin = line_start(self._text, node.entries[0].start) if node.block else -1
        if begin <= entry.start:
            self._put(node, value)
            return
        properties = _PROPERTIES.match(self._text, node.start)
        anchor = len(properties[0].rstrip()) if properties is not None else 0
        self._splices.add(entry.colon, node.start + anchor if anchor else entry.colon, f" {value}")
        found = slots(self._text, node, entry.key or "")
        alone = "".join(self._text[slot.lead : slot.head] for slot in found)
        self._splices.add(found[0].lead, found[-1].stop, alone)

    def _replace_by_lines(self, entry: Entry, want: Any) -> None:
        """Put a value below its key, whatever there was."""
        node = entry.value
        column = entry.start - line_start(self._text, entry.start)
        lines = writing.block(want, column + writing.STEP)
        if node.block:
            begin = line_start(self._text, node.entries[0].start)
            self._splices.add(begin, line_end(self._text, node.end), writing.lines_of(lines, self._newline))
            return
        commented = self._text[node.end :].lstrip(" ").startswith("#")
        start = node.start if commented else entry.colon
        self._splices.add(start, node.end, " " * (node.end - node.start) if commented else "")
        self._insert(line_end(self._text, entry.end), lines)

    def _put(self, node: Node, value: str) -> None:
        """Put a value in place of one on a line; a comment behind it stays in its column, as far as that can be."""
        start, end = node.start, node.end
        if start and self._text[start - 1] not in " \t[{\n":
            value = f" {value}"
        behind = self._text[end:]
        room = len(behind) - len(behind.lstrip(" "))
        if behind[room : room + 1] == "#" and room != 1:
            self._splices.add(end, end + room, " " * max(1, room + (end - start) - len(value)))
        self._splices.add(start, end, value)

    def _insert(self, position: int, lines: list[str]) -> None:
        text = writing.lines_of(lines, self._newline)
        if position and self._text[position - 1] != "\n":
            text = self._newline + text
        self._splices.add(position, position, text)


def newline_of(text: str) -> str:
    """The line break that most lines of the text end with."""
    windows = text.count("\r\n")
    return "\r\n" if windows * 2 > text.count("\n") else "\n"
