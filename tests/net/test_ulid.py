"""Ids that sort by the time they were made."""

import re

from companion.clock import FakeClock, SystemClock
from companion.net import ulid


def test_an_id_is_26_letters_of_crockfords_alphabet():
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", ulid.new(SystemClock()))


def test_the_first_ten_letters_are_the_milliseconds_since_1970():
    clock = FakeClock(now=0.123)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = 0
    for letter in ulid.new(clock)[:10]:
        number = number * 32 + alphabet.index(letter)
    assert number == 1_800_000_000_123


def test_within_a_millisecond_ids_sort_in_the_order_they_were_made():
    clock = FakeClock(dice=0.9999999999999999)
    made = [ulid.new(clock) for _ in range(5000)]
    assert made == sorted(set(made))


def test_a_later_millisecond_sorts_behind_whatever_the_dice_say():
    clock = FakeClock(dice=0.99)
    first = ulid.new(clock)
    clock.advance(0.001)
    clock.dice = 0.0
    assert ulid.new(clock) > first


def test_ids_of_the_same_clock_never_meet():
    clock = SystemClock()
    made = [ulid.new(clock) for _ in range(20_000)]
    assert len(set(made)) == len(made)
