"""The tree finds what JSON finds, and edits change nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.protocol.repairs.tree import Edits, Node, text, whole
from tests.protocol.test_spans import SPACE, VALUES


@st.composite
def arrays(draw: st.DrawFn) -> tuple[bytes, list[object]]:
    """An array with white space, escapes and lone surrogates, in an object, and what it says."""
    values = draw(st.lists(VALUES, max_size=5))
    parts = []
    for value in values:
        ascii = draw(st.booleans()) or any(
            "\ud800" <= char <= "\udfff" for char in json.dumps(value, ensure_ascii=False)
        )
        parts.append(f"{draw(SPACE)}{json.dumps(value, ensure_ascii=ascii)}{draw(SPACE)}")
    return f'{{"ü":1, "a" :[{",".join(parts) or draw(SPACE)}] }}'.encode(), json.loads(json.dumps(values))


def array(data: bytes) -> Node:
    found = Node.root(data).get("a")
    assert found is not None
    return found


@given(arrays())
@settings(max_examples=150, deadline=None)
def test_items_are_those_of_the_array(made):
    data, values = made

    assert [item.value for item in array(data).items] == values


@given(arrays(), st.sets(st.integers(0, 4)))
@settings(max_examples=150, deadline=None)
def test_dropped_items_are_gone_and_nothing_else(made, numbers):
    data, values = made
    edits = Edits(data)
    numbers = {number for number in numbers if number < len(values)}
    for number in numbers:
        edits.drop(array(data), number)

    assert edits.any == bool(numbers)
    left = [value for number, value in enumerate(values) if number not in numbers]
    assert json.loads(edits.made()) == {"ü": 1, "a": left}


@given(arrays(), VALUES)
@settings(max_examples=60, deadline=None)
def test_an_item_is_appended(made, value):
    data, values = made
    edits = Edits(data)
    edits.append(array(data), json.dumps(value).encode())

    assert json.loads(edits.made()) == {"ü": 1, "a": [*values, json.loads(json.dumps(value))]}


def test_of_a_duplicate_key_the_last_counts_and_all_change():
    data = b'{"a":1,"b":{"a":0},"a":2}'
    root = Node.root(data)
    assert whole(root.get("a")) == 2

    edits = Edits(data)
    edits.put(root, "a", b"3")
    assert edits.made() == b'{"a":3,"b":{"a":0},"a":3}'
    edits = Edits(data)
    edits.drop_key(root, "a")
    assert edits.made() == b'{"b":{"a":0}}'


def test_several_edits_of_one_object_share_its_commas():
    data = b' { "a": 1 , "b": {} , "c": [ 1 ] } '
    root = Node.root(data)
    edits = Edits(data)
    edits.drop_key(root, "a")
    edits.drop_key(root, "c")
    inner = root.get("b")
    assert inner is not None
    edits.put(inner, "x", b"1")
    edits.put(root, "d", b"2")

    assert edits.made() == b' { "b": {"x":1},"d":2 } '


def test_what_is_put_as_it_was_changes_nothing():
    data = b'{"a": 1}'
    edits = Edits(data)
    edits.put(Node.root(data), "a", b"1")
    edits.drop_key(Node.root(data), "b")

    assert not edits.any


@pytest.mark.parametrize("data", [b"", b"[1]", b"{}", b"nonsense", b'{"a":', b'"a"'])
def test_what_is_no_object_with_something_in_it_is_refused(data):
    with pytest.raises(ValueError):
        Node.root(data)


def test_values_are_read_for_what_they_are():
    root = Node.root(b'{"n":5,"t":true,"f":1.5,"s":"x","l":[],"o":{"type":"y"},"big":123456789012345678901234567890}')

    assert [whole(root.get(key)) for key in ("n", "t", "f", "s", "big", "none")] == [5, None, None, None, None, None]
    assert [text(root.get(key)) for key in ("s", "n", "none")] == ["x", None, None]
    assert root.at("o", "type", "deeper") is None
    found = root.get("o")
    assert found is not None
    assert found.type == "y"
