"""Durations, sizes and rates as people write them, both ways: `5s`, `1h30m`, `32MiB`, `1KB/s`.

Plain numbers are seconds, bytes, and bytes a second. Whatever cannot be read is a ValueError that names the way out.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

LONGEST: Final = 3650 * 86400

_UNITS_OF_TIME: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_UNITS_OF_SIZE: Final = (
    *(("TiB", 1024**4), ("TB", 1000**4), ("GiB", 1024**3), ("GB", 1000**3)),
    *(("MiB", 1024**2), ("MB", 1000**2), ("KiB", 1024), ("KB", 1000), ("B", 1)),
)
_SECONDS: Final[Mapping[str, Decimal]] = {
    "ms": Decimal("0.001"),
    **dict.fromkeys(("s", "sec", "second", "seconds", ""), Decimal(1)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86400)),
}
_BYTES: Final[Mapping[str, Decimal]] = {"": Decimal(1)} | {
    name.lower(): Decimal(factor) for name, factor in _UNITS_OF_SIZE
}
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)
_MAX_TEXT: Final = 60
_TEN: Final = 10

_DURATION: Final = "a duration such as 500ms, 30s, 10m, 1.5h or 30d"
_SIZE: Final = "a size such as 64KiB, 32MiB or 5GiB"
_RATE: Final = "a rate such as 1KB/s or 64KiB/s"


def duration(value: object) -> float:
    """Seconds. Several units may follow each other: `1h30m`."""
    text = _text(value, _DURATION)
    amounts = _amounts(text)
    units = {unit for _, unit in amounts}
    if not amounts or not units <= _SECONDS.keys() or ("" in units and len(amounts) > 1):
        raise ValueError(f"{shown(text)} is not {_DURATION}")
    seconds = sum(amount * _SECONDS[unit] for amount, unit in amounts)
    if seconds > LONGEST:
        raise ValueError(f"{shown(text)} is longer than {say_duration(LONGEST)}, the longest duration there is")
    return float(seconds)


def size(value: object) -> int:
    """Bytes, a whole number of them."""
    text = _text(value, _SIZE)
    found = _bytes(text, _SIZE)
    if found != found.to_integral_value():
        raise ValueError(f"{shown(text)} is not a whole number of bytes")
    return int(found)


def rate(value: object) -> float:
    """Bytes a second."""
    text = _text(value, _RATE)
    amount = text.removesuffix("/s").rstrip()
    if isinstance(value, str) and amount == text:
        raise ValueError(f"{shown(text)} is not {_RATE}")
    return float(_bytes(amount, _RATE))


def say_duration(seconds: float) -> str:
    """The duration in words, so that `duration` gives exactly the same number back."""
    exact = Decimal(repr(seconds))
    for unit, factor in _UNITS_OF_TIME:
        if exact % factor == 0 and exact >= _TEN * factor:
            return f"{_digits(exact / factor)}{unit}"
    if 0 < exact < 1:
        return f"{_digits(exact * 1000)}ms"
    return f"{_digits(exact)}s"


def say_size(count: int) -> str:
    """The size in words, so that `size` gives exactly the same number back."""
    return _said(Decimal(count))


def say_rate(rate: float) -> str:
    """The rate in words, so that `rate` gives exactly the same number back."""
    return f"{_said(Decimal(repr(rate)))}/s"


def shown(text: str) -> str:
    """What somebody wrote, in quotes, and not too much of it."""
    return f'"{text}"' if len(text) <= _MAX_TEXT else f'"{text[:_MAX_TEXT]}…"'


def _text(value: object, wanted: str) -> str:
    """What was written, with numbers in plain digits."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be {wanted}")  # noqa: TRY004 - pydantic collects ValueErrors, and only those
    if not math.isfinite(value):
        raise ValueError(f"{value} is not {wanted}")
    return _digits(Decimal(repr(value)))


def _amounts(text: str) -> list[tuple[Decimal, str]]:
    """The pairs of number and unit that `text` consists of; none at all where it has anything else in it."""
    text = text.lower()
    found = list(_AMOUNT.finditer(text)) if len(text) <= _MAX_TEXT else []
    if "".join(match[0] for match in found) != text:
        return []
    return [(Decimal(match[1]), match[2]) for match in found]


def _bytes(text: str, wanted: str) -> Decimal:
    amounts = _amounts(text)
    if len(amounts) == 1:
        amount, unit = amounts[0]
        if unit in _BYTES:
            return amount * _BYTES[unit]
        if f"{unit.removesuffix('i')}ib" in _BYTES:
            raise ValueError(f"{shown(text)} is not {wanted}: write {_digits(amount)}{unit[0].upper()}iB")
    raise ValueError(f"{shown(text)} is not {wanted}")


def _said(count: Decimal) -> str:
    unit, factor = next((each for each in _UNITS_OF_SIZE if count and count % each[1] == 0), ("B", 1))
    return f"{_digits(count / factor)}{unit}"


def _digits(number: Decimal) -> str:
    """Without an exponent and without zeros that mean nothing."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
