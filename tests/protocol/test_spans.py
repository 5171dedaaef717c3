"""Splices: equal to what JSON says, and no other byte changes."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.protocol import spans
from companion.protocol.spans import Span, edit, encode, find, members, splice, top_level

TEXTS = st.text(st.characters(exclude_categories=[]), max_size=6)  # lone surrogates too
KEYS = st.one_of(st.sampled_from(["model", "a", "b", 'quo"te', "", "ü"]), TEXTS)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
SPACE = st.sampled_from(["", "", " ", "\n\t ", "\r\n"])


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """An object with white space, escapes of every kind, and keys that come twice."""
    parts = []
    for key, value in draw(st.lists(st.tuples(KEYS, VALUES), max_size=5)):
        ascii = draw(st.booleans()) or any(
            "\ud800" <= char <= "\udfff" for char in json.dumps([key, value], ensure_ascii=False)
        )
        name, text = (
            json.dumps(key, ensure_ascii=ascii),
            json.dumps(value, ensure_ascii=ascii, indent=draw(st.sampled_from([None, 1]))),
        )
        if draw(st.booleans()):
            name = name.replace("model", "\\u006dodel").replace("/", "\\/")
        parts.append(f"{draw(SPACE)}{name}{draw(SPACE)}:{draw(SPACE)}{text}{draw(SPACE)}")
    return f"{draw(SPACE)}{{{','.join(parts) or draw(SPACE)}}}{draw(SPACE)}".encode()


EDITS = st.dictionaries(
    KEYS, st.one_of(st.none(), st.just(None), VALUES.map(lambda value: json.dumps(value).encode())), max_size=4
)


@given(objects())
@settings(max_examples=150, deadline=None)
def test_spans_are_where_the_fields_are(data):
    told = json.loads(data)
    found = top_level(data)

    assert found.keys() == told.keys()
    for key, span in found.items():
        assert json.loads(data[span.value_start : span.value_end]) == told[key]
        assert data[span.key_start : span.key_start + 1] == b'"'


@given(objects(), EDITS)
@settings(max_examples=150, deadline=None)
def test_a_splice_says_what_json_would(data, edits):
    expected = json.loads(data)
    for key, value in edits.items():
        if value is None:
            expected.pop(key, None)
        else:
            expected[key] = json.loads(value)

    pieces = splice(data, edits)

    assert json.loads(b"".join(pieces)) == expected
    if not edits.keys() & json.loads(data).keys() and not any(edits.values()):
        assert pieces == (data,)


@given(objects())
@settings(max_examples=60, deadline=None)
def test_both_ways_of_finding_agree(data):
    try:
        walked = spans._walk(data)
    except (spans._WalkError, msgspec.MsgspecError):
        return
    assert walked == spans._tokenize(data)


def test_only_the_value_changes():
    data = b'{ "a" : 1.50 ,\n"model":"x" , "b":[ 1,2 ] }'

    assert b"".join(splice(data, {"model": b'"y"'})) == b'{ "a" : 1.50 ,\n"model":"y" , "b":[ 1,2 ] }'
    assert splice(data, {"model": b'"x"'}) == (data,)
    assert splice(data, {"model": b'"x"'})[0] is data


def test_a_new_field_goes_to_the_end():
    assert b"".join(splice(b'{"a":1 }', {"b": b"2", "c": b"3"})) == b'{"a":1,"b":2,"c":3 }'
    assert b"".join(splice(b" { } ", {"b": b"2"})) == b' {"b":2 } '


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        ({"a"}, b'{ "b": 2, "c": 3}'),
        ({"b"}, b'{ "a": 1, "c": 3}'),
        ({"c"}, b'{ "a": 1, "b": 2}'),
        ({"a", "b"}, b'{ "c": 3}'),
        ({"b", "c"}, b'{ "a": 1}'),
        ({"a", "c"}, b'{ "b": 2}'),
        ({"a", "b", "c"}, b"{ }"),
    ],
)
def test_a_removed_field_takes_one_comma_with_it(removed, left):
    assert b"".join(splice(b'{ "a": 1, "b": 2, "c": 3}', dict.fromkeys(removed))) == left


def test_every_occurrence_of_a_duplicate_key_changes():
    data = b'{"model":"x","a":1,"model":"y"}'

    assert b"".join(splice(data, {"model": b'"z"'})) == b'{"model":"z","a":1,"model":"z"}'
    assert b"".join(splice(data, {"model": None})) == b'{"a":1}'
    assert top_level(data)["model"] == Span(19, 27, 30)
    assert [key for key, _ in members(data)] == ["model", "a", "model"]


def test_a_key_is_found_however_it_is_written():
    data = b'{"\\u006dodel":"x","a\\/b":1}'

    assert b"".join(splice(data, {"model": b'"y"', "a/b": b"2"})) == b'{"\\u006dodel":"y","a\\/b":2}'


def test_duplicates_do_not_fool_the_walk():
    data = b'{"a":[1],"b":{"x":1,"b":2},"a":{"y":[1]}}'

    assert {
        key: json.loads(data[span.value_start : span.value_end]) for key, span in top_level(data).items()
    } == json.loads(data)


def test_lone_surrogates_and_deep_nesting_are_carried():
    deep = b"[" * 100 + b'"\\ud83d"' + b"]" * 100
    data = b'{"messages":%b,"model":"x"}' % deep

    assert b"".join(splice(data, {"model": b'"y"'})) == b'{"messages":%b,"model":"y"}' % deep


def test_a_nested_value_is_found():
    data = b'{"delta": {"a": {"b": [1, 2]}}}'
    start, end = find(data, "delta", "a", "b") or (0, 0)

    assert data[start:end] == b"[1, 2]"
    assert find(data, "delta", "x") is None
    assert find(data, "delta", "a", "b", "c") is None
    assert find(data) == (0, len(data))


def test_nested_fields_are_set_and_their_objects_made():
    data = b'{"message": {"model": "x", "usage": null}, "n": 1.0}'
    edits = {
        ("message", "model"): b'"y"',
        ("message", "usage", "output_tokens"): b"0",
        ("new", "a"): b"1",
        ("n",): b"2",
    }

    assert edit(data, edits) == b'{"message": {"model": "y", "usage": {"output_tokens":0}}, "n": 2,"new":{"a":1}}'


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"5", b'{"a":1', b'{"a" 1}', b'{"a":}', b'{"a":[1}', b'{"a":[1', b"{} {}", b"{'a':1}", b"\xff"]
)
def test_what_is_no_object_is_refused(data):
    with pytest.raises(ValueError):
        top_level(data)


def test_values_are_encoded_whatever_is_in_them():
    assert encode({"a": "ü"}) == '{"a":"ü"}'.encode()
    assert json.loads(encode("\ud83d")) == "\ud83d"


def test_a_large_body_is_walked_not_tokenized():
    body = json.dumps({"model": "x", "messages": [{"role": "user", "content": "y" * 1000}] * 150}).encode()

    assert spans._walk(body) == members(body)
