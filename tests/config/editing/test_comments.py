"""Comments stay with what they describe, however the items of a list are reordered, added, taken away and changed."""

import re
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from companion.config.editing.matching import same
from companion.config.editing.rewriting import rewritten
from companion.config.source import Source

BRIEF = settings(deadline=None, derandomize=True, max_examples=60, phases=[Phase.generate])
NAMES = "abcdefgh"
MARK = re.compile(r"# (above|beside|within|below) (\w)$")


@dataclass(frozen=True)
class Item:
    """How an endpoint is written, and which comments it has."""

    above: int
    beside: bool
    within: bool
    below: bool
    flow: bool

    def lines(self, name: str, column: int) -> list[str]:
        pad, inner = " " * column, " " * (column + 2)
        lines = [f"{pad}# above {name}"] * self.above
        beside = f"   # beside {name}" if self.beside else ""
        if self.flow:
            return [*lines, f"{pad}- {{name: {name}, weight: 1, labels: [x, {name}]}}{beside}"]
        lines += [f"{pad}- name: {name}{beside}", f"{inner}weight: 1{beside}"]
        lines += [f"{inner}# within {name}"] if self.within else []
        lines += [f"{inner}labels: [x, {name}]"]
        return [*lines, f"{inner}# below {name}"] if self.below else lines


items = st.builds(Item, st.integers(0, 2), st.booleans(), st.booleans(), st.booleans(), st.booleans())


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A file with a list of endpoints, and their names."""
    found = draw(st.lists(items, min_size=1, max_size=5))
    column, apart = draw(st.sampled_from((0, 2, 4))), draw(st.booleans())
    lines = ["# the file", "validation: strict  # a word", "endpoints:  # who can answer"]
    lines += draw(st.sampled_from(([], [" " * column + "# All of them, in this order."], ["# All of them.", ""])))
    for name, item in zip(NAMES, found, strict=False):
        lines += item.lines(name, column) + ([""] if apart else [])
    lines += draw(st.sampled_from(([], [" " * column + "# the end"])))
    lines += draw(st.sampled_from(([], ["# about the gate", "gate: {ping: 1s}"])))
    newline = draw(st.sampled_from(("\n", "\r\n")))
    return newline.join(lines) + draw(st.sampled_from(("", newline))), list(NAMES[: len(found)])


@st.composite
def wishes(draw: st.DrawFn, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some of the endpoints in another order, some of them changed, and perhaps new ones."""
    kept = draw(st.permutations([each for each in endpoints if draw(st.integers(0, 4))]))
    wanted = [each | {"weight": draw(st.integers(1, 3))} if draw(st.booleans()) else each for each in kept]
    for name in draw(st.sampled_from(("", "", "x", "xy"))):
        wanted.insert(draw(st.integers(0, len(wanted))), {"name": name, "url": f"https://{name}"})
    return wanted


def owner(lines: list[str], index: int, mark: str) -> str | None:
    """The item that a comment stands with, for a reader."""
    step = 1 if mark == "above" else -1
    while 0 <= index < len(lines):
        found = re.match(r"\s*- \{?name: (\w)", lines[index])
        if found:
            return found[1]
        passed = lines[index].strip()
        if mark == "above" and passed and not passed.startswith("#"):
            return None
        index += step
    return None


@BRIEF
@given(files(), st.data())
def test_every_comment_still_stands_with_its_item(file, more):
    text, _ = file
    data = Source(text, "x").data
    want = data | {"endpoints": more.draw(wishes(data["endpoints"]))}
    new = rewritten(text, want, "x")
    assert same(Source(new, "x").data, want)

    lines = new.splitlines()
    marks = [(index, found[1], found[2]) for index, line in enumerate(lines) if (found := MARK.search(line))]
    assert [(lines[index], owner(lines, index, mark)) for index, mark, _ in marks] == [
        (lines[index], name) for index, _, name in marks
    ]
    left = {each["name"] for each in want["endpoints"]}
    had = [(found[1], found[2]) for line in text.splitlines() if (found := MARK.search(line)) and found[2] in left]
    assert sorted((mark, name) for _, mark, name in marks) == sorted(had)


@BRIEF
@given(files(), st.data())
def test_lines_that_are_not_concerned_stay_as_they_are(file, more):
    text, _ = file
    data = Source(text, "x").data
    want = data | {"endpoints": more.draw(wishes(data["endpoints"]))}
    new = rewritten(text, want, "x")
    lines = new.splitlines()

    for name in (each["name"] for each in want["endpoints"] if each in data["endpoints"]):
        assert [each for each in text.splitlines() if concerns(each, name)] == [
            each for each in lines if concerns(each, name)
        ]
    for general in ("the file", "a word", "who can", "All of them", "the end", "about the gate", "ping"):
        assert [each for each in text.splitlines() if general in each and "[]" not in each] == [
            each.replace(": []", ":") for each in lines if general in each
        ]
    first = next((index for index, line in enumerate(lines) if re.match(r"\s*- ", line)), len(lines))
    assert all(index < first for index, line in enumerate(lines) if "All of them" in line)
    assert first == len(lines) or all(index > first for index, line in enumerate(lines) if "the end" in line)
    assert ("\r\n" in text) == ("\r\n" in new)


def concerns(line: str, name: str) -> bool:
    return re.search(rf"\b{name}(\]\}}?)?$|name: {name}\b|, {name}\]", line) is not None
