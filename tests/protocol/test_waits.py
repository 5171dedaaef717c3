"""How long an upstream asks to be left alone."""

from datetime import UTC, datetime

import pytest

from companion.protocol.waits import LONGEST, retry_after

NOW = datetime(2026, 9, 11, 16, 0, 0, tzinfo=UTC).timestamp()


def told(status: int, message: str, headers: dict[str, str]) -> float | None:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return retry_after(status, fields, message, NOW)


def wait(**headers: str) -> float | None:
    return told(429, "", headers)


def limit(name: str) -> str:
    return f"anthropic_ratelimit_{name}"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("0", 0),
        ("Fri, 11 Sep 2026 16:01:00 GMT", 60),
        ("Fri, 11 Sep 2026 16:01:00", 60),
        ("Fri, 11 Sep 2026 15:00:00 GMT", 0),
        ("99999999999", LONGEST),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert told(503, "", {"retry_after": value}) == seconds


def test_milliseconds():
    assert wait(retry_after_ms="997000") == 997


def test_nothing_said_is_nothing_known():
    assert wait() is None
    assert retry_after(500, [(b"Retry-After", b"3")], "", NOW) == 3


def test_the_later_deadline_wins():
    spent = {limit("tokens_remaining"): "0", limit("tokens_reset"): "2026-09-11T16:10:00Z"}

    assert wait(retry_after="20", **spent) == 600
    assert wait(retry_after="900", **spent) == 900


def test_only_a_window_that_is_spent_counts_beside_retry_after():
    left = {limit("requests_remaining"): "3", limit("requests_reset"): "2026-09-11T17:00:00+00:00"}

    assert wait(retry_after="20", **left) == 20


def test_without_a_spent_window_the_first_reset_is_tried():
    resets = {limit("requests_reset"): "2026-09-11T16:05:00Z", limit("tokens_reset"): "2026-09-11T16:02:00"}

    assert wait(**resets) == 120


def test_a_unified_window_that_rejects_is_spent():
    spent = {limit("unified_status"): "rejected", limit("unified_reset"): str(int(NOW) + 3600)}

    assert (
        wait(**spent, **{limit("unified_5h_status"): "allowed", limit("unified_5h_reset"): str(int(NOW) + 60)}) == 3600
    )


def test_windows_are_of_no_interest_but_to_a_429():
    spent = {limit("tokens_remaining"): "0", limit("tokens_reset"): "2026-09-11T16:10:00Z"}

    assert told(500, "", spent) is None


def test_a_reset_that_cannot_be_read_is_none():
    assert wait(**{limit("tokens_reset"): "tomorrow"}) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("request reached max request: 3, please try again after 1 seconds", 1),
        ("Please retry in 34.5s.", 34.5),
        ("Try again in 250ms", 0.25),
        ("please retry your request in 2 minutes", 120),
        ("[1308][Usage limit reached for 5 hour. Your limit will reset at 2026-09-12 00:35:41][2026]", 35 * 60 + 41),
        ("已达到 5 小时的使用上限。您的限额将在 2026-09-12 00:35:41 重置。", 35 * 60 + 41),
        ("Your limit will reset at 2026-09-11 23:00:00", None),
        ("Your limit will reset at 2026-99-11 23:00:00", None),
        ("Too many requests", None),
    ],
)
def test_what_is_only_said_in_words_counts_too(message, seconds):
    assert told(429, message, {}) == seconds
    assert told(500, message, {}) is None
