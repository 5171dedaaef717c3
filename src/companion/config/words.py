"""Durations, sizes and rates as people write them: `5s`, `1.5h`, `32MiB`, `1KB/s`. Plain numbers: seconds, bytes."""

import re
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_AMOUNT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def duration(text: object) -> float:
    """Seconds. Raises ValueError that says what a duration looks like."""
    return _amount(text, _SECONDS, "s", "a duration such as 500ms, 30s, 10m, 1.5h or 30d")


def size(text: object) -> int:
    """Bytes. Raises ValueError that says what a size looks like."""
    return int(_amount(text, _BYTES, "b", "a size such as 64KiB, 32MiB or 5GiB"))


def rate(text: object) -> float:
    """Bytes a second. Raises ValueError that says what a rate looks like."""
    wanted = "a rate such as 1KB/s"
    if isinstance(text, str):
        amount, slash, per = text.strip().partition("/")
        if slash and per.strip() not in {"s", "sec"}:
            raise ValueError(f"{text!r} is not {wanted}")
        text = amount
    return _amount(text, _BYTES, "b", wanted)


def _amount(text: object, units: dict[str, float] | dict[str, int], plain: str, wanted: str) -> float:
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = f"{text:f}" if isinstance(text, float) else str(text)
    found = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    unit = units.get(found[2].lower() or plain) if found else None
    if found is None or unit is None:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(found[1]) * unit
