"""Durations, sizes and rates in words."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion.config import words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("10m", 600),
        ("1.5h", 5400),
        ("30d", 30 * 86400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 5 s ", 5),
        ("5S", 5),
        ("5 seconds", 5),
        ("2 min", 120),
        ("0s", 0),
        ("7", 7),
        (7, 7),
        (0.25, 0.25),
        (1e-05, 1e-05),
    ],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert words.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-5s",
        "5x",
        "1:30",
        "5s5",
        "5 5",
        "1e3s",
        "5s!",
        ".5s",
        "none",
        "9" * 61,
        -1,
        math.inf,
        math.nan,
        True,
        None,
        [5],
        {},
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"a duration such as 500ms, 30s, 10m, 1\.5h or 30d"):
        words.duration(text)


def test_the_longest_duration_is_ten_years():
    assert words.duration("3650d") == words.LONGEST
    with pytest.raises(ValueError, match="longer than 3650d"):
        words.duration("3651d")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64KiB", 65536),
        ("32MiB", 32 * 1024**2),
        ("5GiB", 5 * 1024**3),
        ("1MB", 10**6),
        ("1 kb", 1000),
        ("1.5KiB", 1536),
        (7, 7),
        ("7B", 7),
    ],
)
def test_a_size_is_read_in_bytes(text, count):
    assert words.size(text) == count


@pytest.mark.parametrize(("text", "hint"), [("32M", "write 32MiB"), ("5g", "write 5GiB"), ("1.5Ki", "write 1.5KiB")])
def test_a_unit_without_its_b_is_refused_with_the_right_one(text, hint):
    with pytest.raises(ValueError, match=hint):
        words.size(text)


@pytest.mark.parametrize("text", ["", "MiB", "-1", "3XB", "1KiB 1B", "1KB/s", True, None, [], math.inf])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="a size such as 64KiB, 32MiB or 5GiB"):
        words.size(text)


def test_half_a_byte_is_refused():
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        words.size("0.5B")


@pytest.mark.parametrize(("text", "rate"), [("1KB/s", 1000), ("64KiB/s", 65536), ("1 KB /s", 1000), (500, 500), (0, 0)])
def test_a_rate_is_read_in_bytes_a_second(text, rate):
    assert words.rate(text) == rate


@pytest.mark.parametrize("text", ["1KB", "5", "/s", "1KB/m", "1s/s", None, False])
def test_what_is_no_rate_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="a rate such as 1KB/s or 64KiB/s"):
        words.rate(text)


@given(st.floats(min_value=0, max_value=words.LONGEST, allow_subnormal=False))
def test_a_duration_in_words_is_the_same_duration(seconds):
    said = words.say_duration(seconds)
    if len(said) <= 60:
        assert words.duration(said) == seconds


@given(st.integers(min_value=0, max_value=10**18))
def test_a_size_in_words_is_the_same_size(count):
    assert words.size(words.say_size(count)) == count


@given(st.floats(min_value=1e-3, max_value=1e15))
def test_a_rate_in_words_is_the_same_rate(rate):
    assert words.rate(words.say_rate(rate)) == rate


@given(st.text(max_size=80) | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.integers()))
def test_anything_else_is_a_value_error_and_never_another(value):
    for read in (words.duration, words.size, words.rate):
        with contextlib.suppress(ValueError):
            assert read(value) >= 0


def test_a_long_text_is_not_repeated_whole():
    with pytest.raises(ValueError, match="…") as caught:
        words.duration("x" * 10_000)
    assert len(str(caught.value)) < 200
