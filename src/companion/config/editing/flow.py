"""The entries of a flow collection, `[a, b]` or `{a: b}`, in a new order. Comments within it move with their entry."""

from dataclasses import dataclass

from companion.config.editing.nodes import Entry, Node
from companion.config.editing.splices import Splices


@dataclass(frozen=True, slots=True)
class _Piece:
    """An entry: what stands before it, itself with all up to its comma, and what stands behind that on its line."""

    before: str
    text: str
    behind: str = ""


def arrange(text: str, splices: Splices, node: Node, wanted: list[Entry | str]) -> None:
    """Splice in the entries as they are wanted: those that were there, or the text of a new one."""
    entries, start, stop = node.entries, node.inner, node.end - 1
    if not entries:
        comment = text[start:stop] if "#" in text[start:stop] else ""
        splices.add(start, stop, ", ".join(map(str, wanted)) + comment)
        return
    stops = [*(entry.start for entry in entries[1:]), stop]
    gaps = [text[entry.end : after] for entry, after in zip(entries, stops, strict=True)]
    opening = text[start : entries[0].start]
    texts = [splices.piece(entry.start, entry.end) for entry in entries]
    if "#" in opening or any("#" in gap for gap in gaps):
        made = _commented(opening, texts, gaps, node, wanted)
    else:
        made = _plain(opening, texts, gaps, node, wanted)
    splices.piece(start, stop)
    splices.add(start, stop, made)


def _plain(opening: str, texts: list[str], gaps: list[str], node: Node, wanted: list[Entry | str]) -> str:
    """Between two that were neighbours stands what stood there, between others what stands between the first two."""
    usual = gaps[0] if len(gaps) > 1 else "," + (opening if "\n" in opening else " ")
    parts = [opening]
    before: int | None = None
    for index, each in enumerate(wanted):
        place = node.entries.index(each) if isinstance(each, Entry) else None
        if index:
            neighbours = before is not None and place == before + 1
            parts.append(gaps[before] if neighbours and before is not None else usual)
        parts.append(texts[place] if place is not None else str(each))
        before = place
    return "".join([*parts, gaps[-1]])


def _commented(opening: str, texts: list[str], gaps: list[str], node: Node, wanted: list[Entry | str]) -> str:
    """Each with the comment behind it on its line, and with the comments above it."""
    of_list, before = _first_line(opening)
    pieces, comma = [], True
    for entry_text, gap in zip(texts, gaps, strict=True):
        up_to, comma, after = _at_comma(gap)
        behind, following = _first_line(after)
        pieces.append(_Piece(before, entry_text + up_to, behind))
        before = following
    indent = next((_new_line(each.before) for each in pieces if "\n" in each.before), "\n" + " " * 4)
    made = of_list
    for index, each in enumerate(wanted):
        piece = pieces[node.entries.index(each)] if isinstance(each, Entry) else _Piece(indent, each)
        between = piece.before if not _open(made) or "\n" in piece.before else indent
        last = index == len(wanted) - 1
        made += between + piece.text + ("," if comma or not last else "") + piece.behind
    return made + (indent if _open(made) and not before.startswith(("\n", "\r\n")) else "") + before


def _at_comma(gap: str) -> tuple[str, bool, str]:
    """What stands before the comma, whether there is one, and what stands after it; comments hold none that count."""
    position, comment = 0, False
    while position < len(gap):
        each = gap[position]
        comment = each == "#" or (comment and each != "\n")
        if each == "," and not comment:
            return gap[:position], True, gap[position + 1 :]
        position += 1
    return "", False, gap


def _first_line(text: str) -> tuple[str, str]:
    """A comment on the first line, and the rest, which begins with the line break; or no comment."""
    line = text.partition("\n")[0].removesuffix("\r")
    return (line, text[len(line) :]) if "#" in line else ("", text)


def _open(text: str) -> bool:
    """Whether the text ends within a comment."""
    return "#" in text.rpartition("\n")[2]


def _new_line(before: str) -> str:
    head, newline, indent = before.rpartition("\n")
    return ("\r" if head.endswith("\r") else "") + newline + indent
