"""How long to wait before asking an upstream again, by whatever it says about that.

The later deadline wins: a `retry-after` of seconds beside a window that is spent for hours is no invitation.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

LONGEST: Final = 31 * 86400.0

_RESET: Final = re.compile(r"anthropic-ratelimit-(.+)-reset")
_IN: Final = re.compile(r"\b(?:try again|retry)\D{0,20}?\b(?:in|after) (\d+(?:\.\d+)?) ?(ms|s|m|h)?", re.IGNORECASE)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Zhipu and Z.ai write the time of Beijing without saying so.
_AT: Final = re.compile(r"(?:reset at|将在) ?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_BEIJING: Final = timezone(timedelta(hours=8))


def retry_after(status: int, headers: Iterable[tuple[bytes, bytes]], message: str, wall: float) -> float | None:
    """Seconds to wait, or None where nothing is said. `wall` is now, in seconds since the epoch."""
    told = {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in headers}
    waits = list(_by_retry_after(told, wall))
    if status == 429:
        spent = list(_by_windows(told, wall, spent_only=True))
        waits += spent or ([] if waits else [min(_by_windows(told, wall, spent_only=False), default=-1.0)])
        waits += _by_words(message, wall)
    waits = [wait for wait in waits if wait >= 0]
    return min(max(waits), LONGEST) if waits else None


def _by_retry_after(told: dict[str, str], wall: float) -> Iterator[float]:
    if (milliseconds := _number(told.get("retry-after-ms"))) is not None:
        yield milliseconds / 1000
    value = told.get("retry-after")
    if value is None:
        return
    if (seconds := _number(value)) is not None:
        yield seconds
        return
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return
    yield max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall)


def _by_windows(told: dict[str, str], wall: float, *, spent_only: bool) -> Iterator[float]:
    """The resets of Anthropic's windows: of those that are known to be spent, or of all."""
    for name, value in told.items():
        window = _RESET.fullmatch(name)
        if window is None or (moment := _moment(value)) is None:
            continue
        prefix = f"anthropic-ratelimit-{window[1]}"
        if not spent_only or told.get(f"{prefix}-remaining") == "0" or told.get(f"{prefix}-status") == "rejected":
            yield max(0.0, moment - wall)


def _by_words(message: str, wall: float) -> Iterator[float]:
    if found := _IN.search(message):
        yield float(found[1]) * _UNITS[(found[2] or "s").lower()]
    if found := _AT.search(message):
        try:
            moment = datetime.fromisoformat(found[1]).replace(tzinfo=_BEIJING)
        except ValueError:
            return
        yield moment.timestamp() - wall


def _moment(value: str) -> float | None:
    """Seconds since the epoch, from such seconds or an RFC 3339 date."""
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
