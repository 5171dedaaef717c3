"""Which item of a list has become which: by its id or name, by being the same, or by having most in common."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_ENOUGH: Final = 0.5


def same(one: Any, other: Any) -> bool:
    """Whether two pieces of data mean the same: the order of keys does not count, and true is not 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def matched(have: Sequence[Any], want: Sequence[Any]) -> list[int | None]:
    """For each item of `want`, the place in `have` of the item that it was; None for a new one."""
    found: dict[int, int] = {}
    for pairs in (_called_the_same(have, want), _alike(have, want), _similar(have, want)):
        for old, new in pairs:
            if new not in found and old not in found.values():
                found[new] = old
    return [found.get(index) for index in range(len(want))]


def identity(item: Any) -> str | None:
    """What an item is known by: its id, else its name."""
    if not isinstance(item, Mapping):
        return None
    return next((str(item[key]) for key in ("id", "name", "from") if isinstance(item.get(key), str)), None)


def _called_the_same(have: Sequence[Any], want: Sequence[Any]) -> Iterator[tuple[int, int]]:
    places: dict[str, int] = {}
    for index, item in enumerate(have):
        if (called := identity(item)) is not None:
            places.setdefault(called, index)
    for index, item in enumerate(want):
        called = identity(item)
        if called is not None and called in places:
            yield places[called], index


def _alike(have: Sequence[Any], want: Sequence[Any]) -> Iterator[tuple[int, int]]:
    for new, item in enumerate(want):
        yield from ((old, new) for old, other in enumerate(have) if same(item, other))


def _similar(have: Sequence[Any], want: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Those that have a new name, the most similar first."""
    pairs = ((_likeness(one, other), old, new) for old, one in enumerate(have) for new, other in enumerate(want))
    for _, old, new in sorted((pair for pair in pairs if pair[0] >= _ENOUGH), key=lambda pair: -pair[0]):
        yield old, new


def _likeness(one: Any, other: Any) -> float:
    """The share of what two mappings, or two lists, have in common."""
    if isinstance(one, list) and isinstance(other, list):
        alike = sum(1 for each in one if any(same(each, more) for more in other))
        return alike / max(len(one), len(other), 1)
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return 0.0
    keys = one.keys() | other.keys()
    alike = sum(1 for key in keys if key in one and key in other and same(one[key], other[key]))
    return alike / len(keys) if keys else 0.0
