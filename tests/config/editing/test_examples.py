"""Small files and what becomes of them: what is kept, what moves along, and what goes."""

import pytest

from companion.config.editing.rewriting import rewritten
from companion.config.source import Source
from companion.errors import ConfigError


def edited(text: str, change: str) -> str:
    """The text after the statement `change` on what it means, `d`."""
    data = Source(text, "x").data or {}
    exec(change, {}, {"d": data})
    new = rewritten(text, data, "x")
    assert rewritten(new, data, "x") == new
    return new


A = "  - name: a\n    url: x\n"
B = "  - name: b\n    url: y\n"
NEW = "{'name': 'c', 'url': 'z'}"
C = "  - name: c\n    url: z\n"


@pytest.mark.parametrize("empty", ["endpoints:", "endpoints: null", "endpoints: ~", "endpoints: []", "endpoints: [ ]"])
@pytest.mark.parametrize("rest", ["", "\n", "   # who\n", "\n\ngate: {}\n", "\n#  - name: example\n\ngate: {}\n"])
def test_the_first_item_stands_below_its_key(empty, rest):
    new = edited(empty + rest, f"d['endpoints'] = [{NEW}]")
    head, _, below = rest.partition("\n")
    assert new.splitlines()[0].rstrip() == f"endpoints:{' ' * len(empty[10:]) if head else ''}{head}"
    assert new.split("\n", 1)[1] == C + below


@pytest.mark.parametrize("text", ["", "# only a comment\n", "# only a comment", "---\n", "gate: {}\n"])
def test_a_list_that_is_not_there_is_put_at_the_end(text):
    new = edited(text, f"d['endpoints'] = [{NEW}]")
    assert new == (text.removesuffix("\n") + "\n" if text else "") + "endpoints:\n" + C


@pytest.mark.parametrize(
    ("text", "change", "new"),
    [
        # a comment above goes with its item; what is apart from it, or about all, stays
        (f"l:\n  # one\n{A}  # two\n{B}", "d['l'].reverse()", f"l:\n  # two\n{B}  # one\n{A}"),
        (f"l:\n  # one\n{A}", f"d['l'].insert(0, {NEW})", f"l:\n{C}  # one\n{A}"),
        (f"l:\n  # The list.\n\n  # one\n{A}{B}", "d['l'].reverse()", f"l:\n  # The list.\n\n{B}  # one\n{A}"),
        (f"l:\n  # Each of these.\n{A}{B}", "d['l'].reverse()", f"l:\n  # Each of these.\n{B}{A}"),
        (f"l:\n# At the edge.\n{A}{B}", "d['l'].reverse()", f"l:\n# At the edge.\n{B}{A}"),
        (f"l:\n  # one\n{A}  # two\n{B}", "d['l'].pop(0)", f"l:\n  # two\n{B}"),
        (f"l:\n{A}\n  # --- those below ---\n\n  # two\n{B}", "d['l'].pop()", f"l:\n{A}\n  # --- those below ---\n\n"),
        # below an item: indented more, or apart from the next
        (f"l:\n{A}    # more\n{B}", "d['l'].reverse()", f"l:\n{B}{A}    # more\n"),
        (f"l:\n{A}  # of a\n\n{B}", "d['l'].reverse()", f"l:\n{B}\n{A}  # of a\n"),
        (f"l:\n{A}  # the end\n", "d['l'].reverse()", f"l:\n{A}  # the end\n"),
        (f"l:\n{A}{B}  # the end\n", "d['l'].reverse()", f"l:\n{B}{A}  # the end\n"),
        (f"l:\n{A}{B}  # the end\n", f"d['l'].append({NEW})", f"l:\n{A}{B}{C}  # the end\n"),
        # what an item gets at its end goes with it, and not with its neighbour
        (
            f"l:\n{A}{B}",
            "[each.update(m=1) for each in d['l'][:1]]; d['l'].reverse()",
            f"l:\n{B}{A}    m: 1\n",
        ),
        (
            f"l:\n{A}{B}",
            "[each.update(m=number) for number, each in enumerate(d['l'])]; d['l'].reverse()",
            f"l:\n{B}    m: 1\n{A}    m: 0\n",
        ),
        # an item that is commented out is nobody's
        (f"l:\n{A}  # - name: old\n{B}", "d['l'].pop()", f"l:\n{A}  # - name: old\n"),
        (f"l:\n{A}  # - name: old\n{B}", "d['l'].pop(0)", f"l:\n  # - name: old\n{B}"),
        (f"l:\n{A}  # - name: old\n\n{B}", "d['l'].pop(0)", f"l:\n  # - name: old\n\n{B}"),
        # blank lines stay between items
        ("l:\n  - a\n\n\n  - b\n  - c\n  - d\n", "d['l'].pop()", "l:\n  - a\n\n\n  - b\n  - c\n"),
        (f"l:\n\n{A}\n{B}", f"d['l'].insert(1, {NEW})", f"l:\n\n{A}\n{C}\n{B}"),
        (f"l:\n{A}\n{B}\nm: 1\n", "d['l'].reverse()", f"l:\n{B}\n{A}\nm: 1\n"),
        (f"l:\n{A}\n{B}\nm: 1\n", f"d['l'].append({NEW})", f"l:\n{A}\n{B}\n{C}\nm: 1\n"),
        (f"l:\n{A}\n{B}", "d['l'].pop(0)", f"l:\n{B}"),
        (f"l: # all\n{A}\n{B}\nm: 1\n", "d['l'].clear()", "l: [] # all\n\nm: 1\n"),
        # a file without a last line break, and a list at the left edge
        (f"l:\n{A}{B}".rstrip(), "d['l'].reverse()", f"l:\n{B}{A}"),
        ("l:\n- a # 1\n- b # 2\nm: 1\n", "d['l'].reverse()", "l:\n- b # 2\n- a # 1\nm: 1\n"),
        ("l:\n- a # 1\n- b # 2\n# m\nm: 1\n", "d['l'].pop()", "l:\n- a # 1\n# m\nm: 1\n"),
        # a renamed item is still the same, a new one beside it is not
        (f"l:\n  # one\n{A}", "d['l'][0]['name'] = 'z'", f"l:\n  # one\n{A}".replace("name: a", "name: z")),
        (f"l:\n  # one\n{A}", f"d['l'][0] = {NEW}", f"l:\n{C}"),
        (
            "l:\n  - id: i\n    name: a # n\n    url: x\n",
            "d['l'][0].update(name='b', url='q')",
            "l:\n  - id: i\n    name: b # n\n    url: q\n",
        ),
        # how it is written stays: quotes, columns, numbers
        ("a: 'x'   # c\n", "d['a'] = 'y'", "a: 'y'   # c\n"),
        ('a: "x" # c\n', "d['a'] = 'y'", 'a: "y" # c\n'),
        ("a: 'x'\n", "d['a'] = 'it\\'s'", "a: 'it''s'\n"),
        ("a: 'x'\n", "d['a'] = 'two\\nlines'", 'a: "two\\nlines"\n'),
        ("a: x     # c\nb: x\n", "d['a'] = 'longer'", "a: longer # c\nb: x\n"),
        ("a: 10    # c\n", "d['a'] = 7", "a: 7     # c\n"),
        ("a:\n", "d['a'] = 1", "a: 1\n"),
        ("a: 1\n", "d['a'] = True", "a: true\n"),
        ("a:  # c\n", "d['a'] = 1", "a: 1 # c\n"),
        ("a: |\n  one\n  two\nb: 1\n", "d['a'] = 'x'", 'a: "x"\nb: 1\n'),
        ("a: 1\n", "d['a'] = {'b': 1}", "a: {b: 1}\n"),
        ("a: # c\n  b: 1 # d\nc: 1\n", "d['a'] = None", "a: null # c\nc: 1\n"),
        ("? a\n: 1\nb: 1\n", "d['b'] = 2", "? a\n: 1\nb: 2\n"),
        ("'a': 1\n\"b\": 2\n", "d.update(a=3, b=4)", "'a': 3\n\"b\": 4\n"),
        # keys: new ones after the one before them, gone ones with their comments
        (
            "s:\n  # about a\n  a: 1\n  # about b\n  b: 2 # b\n  c: 3\n",
            "del d['s']['b']",
            "s:\n  # about a\n  a: 1\n  c: 3\n",
        ),
        ("a: 1\n\n# b\nb: 2\n\nc: 3\n", "del d['b']", "a: 1\n\nc: 3\n"),
        ("a: 1\n\n# b\nb: 2\n", "del d['b']", "a: 1\n"),
        ("# file\na: 1\nb: 2\n", "del d['a']", "# file\nb: 2\n"),
        ("l:\n  - a: 1 # a\n    b: 2\n", "del d['l'][0]['a']", "l:\n  - b: 2\n"),
        ("l:\n  - a: 1\n    # b\n    b: 2\n", "del d['l'][0]['a']", "l:\n  -\n    # b\n    b: 2\n"),
        ("l:\n  - a: 1\n    b: 2\n", "d['l'][0] = {'b': 2, 'c': 3, 'd': 4}", "l:\n  - b: 2\n    c: 3\n    d: 4\n"),
        ("s: {a: 1, b: 2} # c\n", "d['s'] = {'b': 2, 'c': 3}", "s: {b: 2, c: 3} # c\n"),
        ("s: {a: 1, b: 2} # c\n", "d['s'] = {}", "s: {} # c\n"),
        ("s: {} # c\n", "d['s'] = {'a': [1, {'b': None}]}", "s: {a: [1, {b: null}]} # c\n"),
        # a list on the line of another's dash, and text that keeps its last line breaks
        ("l:\n  - - a # 1\n    - b # 2\n", "d['l'][0].reverse()", "l:\n  - - b # 2\n    - a # 1\n"),
        ("l:\n  - - a # 1\n    - b\n", "d['l'][0].insert(0, 'c')", "l:\n  - - c\n    - a # 1\n    - b\n"),
        ("l:\n  - - a # 1\n    - b\n", "d['l'][0].pop(0)", "l:\n  - - b\n"),
        ("a: |+\n  x\n\nb: 1\n", "d['c'] = 2", "a: |+\n  x\n\nb: 1\nc: 2\n"),
        ("a: |+\n  x\n\nb: 1\n", "d['a'] = 'x'", 'a: "x"\nb: 1\n'),
        ("l: []\n", "d['l'] = [['a' * 90], ['b' * 90]]", f"l:\n  - [{'a' * 90}]\n  - [{'b' * 90}]\n"),
        ("a: 1\n", "d['a'] = [float('inf'), -1e-9]", "a: [.inf, -1e-09]\n"),
        # flow lists, with and without comments
        ("l: [{name: a}, {name: b, x: 1}]\n", "d['l'].reverse()", "l: [{name: b, x: 1}, {name: a}]\n"),
        ("l: [a, b, c]\n", "d['l'].pop(1)", "l: [a, c]\n"),
        ("l: [a,b,c,]\n", "d['l'].append('d')", "l: [a,b,c,d,]\n"),
        (
            "l: [ # who\n  # one\n  {name: a},  # 1\n  # two\n  {name: b}   # 2\n]\n",
            "d['l'].reverse()",
            "l: [ # who\n  # two\n  {name: b},   # 2\n  # one\n  {name: a}  # 1\n]\n",
        ),
        (
            "l: [\n  {name: a},  # 1\n  {name: b},  # 2\n]\n",
            f"d['l'].insert(1, {NEW})",
            "l: [\n  {name: a},  # 1\n  {name: c, url: z},\n  {name: b},  # 2\n]\n",
        ),
        (
            "m: {\n  a: 1,\n  b: true   # b\n}\n",
            "d['m'] = {'b': 'changed'}",
            "m: {\n  b: changed   # b\n}\n",
        ),
        ("{a: 1, l: []}\n", f"d['l'] = [{NEW}]", "{a: 1, l: [{name: c, url: z}]}\n"),
        ("--- # d\na: 1\n...\n", "d['b'] = 2", "--- # d\na: 1\nb: 2\n...\n"),
    ],
)
def test_what_becomes_of_a_small_file(text, change, new):
    assert edited(text, change) == new
    windows = text.replace("\n", "\r\n")
    assert edited(windows, change) == new.replace("\n", "\r\n")


BASE = "base: &b {x: 1, q: 2}  # base\n"


@pytest.mark.parametrize(
    ("text", "change", "new"),
    [
        (f"{BASE}s: *b  # s\nz: 1\n", "d['z'] = 2", f"{BASE}s: *b  # s\nz: 2\n"),
        (f"{BASE}s: *b  # s\n", "d['s'] = 3", f"{BASE}s: 3   # s\n"),
        (f"{BASE}s: *b\n", "d['s']['x'] = 9", f"{BASE}s: {{x: 9, q: 2}}\n"),
        (
            f"{BASE}s: *b\n",
            "d['base']['x'] = 9; d['s'] = {'x': 1, 'q': 2}",
            "base: &b {x: 9, q: 2}  # base\ns: {x: 1, q: 2}\n",
        ),
        (f"{BASE}s:\n  <<: *b\n  z: 3\n", "d['s']['z'] = 4", f"{BASE}s:\n  <<: *b\n  z: 4\n"),
        (f"{BASE}s:\n  <<: *b\n  z: 3\n", "d['s']['x'] = 9", f"{BASE}s:\n  <<: *b\n  z: 3\n  x: 9\n"),
        (f"{BASE}s:\n  <<: *b\n  z: 3\n", "del d['s']['x']", f"{BASE}s:\n  q: 2\n  z: 3\n"),
        (f"{BASE}s: {{<<: *b, z: 3}}\n", "del d['s']['x']", f"{BASE}s: {{q: 2, z: 3}}\n"),
        ("k: &k secret\nl: [*k, other]\n", "d['k'] = 'new'", "k: new\nl: [secret, other]\n"),
        ("l:\n  - &a\n    name: a # n\n  - *a\n", "d['l'].pop(0)", "l:\n  - &a\n    name: a # n\n"),
    ],
)
def test_anchors_and_merges_stay_unless_they_stand_in_the_way(text, change, new):
    assert edited(text, change) == new


def test_what_cannot_be_edited_safely_is_refused():
    with pytest.raises(ConfigError, match="cannot be changed so by this program without losing something"):
        edited("k: &a x\n*a : 1\n", "d['k'] = 2")
    with pytest.raises(ConfigError, match="is written twice"):
        rewritten("a: 1\na: 2\n", {}, "x")
    with pytest.raises(ConfigError, match="must hold sections"):
        rewritten("- a\n", {}, "x")
