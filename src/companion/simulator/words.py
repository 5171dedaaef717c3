"""Durations in words, as the command line and the markers have them."""

import re
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|)")


def seconds(text: str) -> float:
    """Read `20ms`, `1.5s`, `2m` or plain seconds. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 20ms or 1.5s")
    return float(found[1]) * _UNITS[found[2]]
