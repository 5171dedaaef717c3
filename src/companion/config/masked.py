"""The data of the file without its secrets, for whoever may see them not; and back: a masked value means "as it was".

A reference (`${NAME}`, `file:…`, `keyring:…`) is no secret and stays. Anything else that may be one is `•••` and its
last four characters, if it is long enough that these tell nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from companion.config.editing.matching import identity
from companion.config.secrets import names_secret, without_query
from companion.config.source import Place, shown
from companion.errors import ConfigError, Problem

DOTS: Final = "•••"

_TAIL: Final = 4
_LONG: Final = 16
_REFERENCE: Final = re.compile(r"(?:[A-Za-z]+ )?\$\{[^}]*\}|(?:file|keyring):.*")
_NONE: Final = frozenset({("server", "tls", "key"), ("endpoints", "auth", "type")})
_PROXY: Final = re.compile(r"([a-z0-9]+://)([^@/]*)@(.*)", re.IGNORECASE)
_LOOSE: Final = re.compile(r"(?:sk-|ccc_|Bearer )?[A-Za-z0-9_\-]{20,}")


def masked(data: Any, place: Place = ()) -> Any:
    """The same data with all literal secrets masked."""
    if isinstance(data, Mapping):
        return {key: masked(value, (*place, str(key))) for key, value in data.items()}
    if isinstance(data, list):
        return [masked(value, (*place, index)) for index, value in enumerate(data)]
    return _mask(data, place)


def unmasked(desired: Any, current: Any) -> Any:
    """The desired data with what was in place of each mask. Raises ConfigError with the place of one that is unknown.

    Items of lists are found by their id or name, else by their position; keys by their mask.
    """
    problems: list[Problem] = []
    found = _unmasked(desired, current, (), problems)
    if problems:
        raise ConfigError(tuple(problems))
    return found


def masked_text(text: str, data: Any) -> str:
    """The text of a file that means `data`, with all secrets masked, in comments what looks like one."""
    for secret, mask in sorted(set(_secrets(data, ())), key=lambda pair: -len(pair[0])):
        for written in {secret, json.dumps(secret, ensure_ascii=False)[1:-1], secret.replace("'", "''")}:
            text = text.replace(written, mask)
    return re.sub(r"(?<![^\s])#.*", lambda comment: _LOOSE.sub(_loose, comment[0]), text)


def _mask(value: Any, place: Place) -> Any:
    """A leaf of the data."""
    if not isinstance(value, str):
        return _number(value, place)
    if place[-1:] == ("proxy",):
        return _proxy(value)
    if place[::2] == ("endpoints", "url"):
        return without_query(value, _dotted)
    return _dotted(value) if _is_secret(place) and not _REFERENCE.fullmatch(value) else value


def _number(value: Any, place: Place) -> Any:
    """A key of digits only, which somebody forgot to quote, is one, too."""
    forgotten = isinstance(value, int) and not isinstance(value, bool) and {"auth", "headers"} & set(place[2:3])
    return _dotted(str(value)) if forgotten else value


def _is_secret(place: Place) -> bool:
    keys = tuple(each for each in place if isinstance(each, str))
    if keys[:2] == ("endpoints", "headers"):
        return keys[2:3] != ("remove",)
    return keys not in _NONE and any(map(names_secret, keys))


def _dotted(value: str) -> str:
    return DOTS + (value[-_TAIL:] if len(value) >= _LONG else "")


def _proxy(value: str) -> str:
    """A user stays, if there is a password beside it."""
    match = _PROXY.fullmatch(value)
    if match is None:
        return value
    user, colon, password = match[2].partition(":")
    hidden = password if colon else user
    if not hidden or _REFERENCE.fullmatch(hidden):
        return value
    return f"{match[1]}{user + colon if colon else ''}{_dotted(hidden)}@{match[3]}"


def _unmasked(desired: Any, current: Any, place: Place, problems: list[Problem]) -> Any:
    if isinstance(desired, Mapping):
        known = current if isinstance(current, Mapping) else {}
        return {key: _unmasked(each, known.get(key), (*place, str(key)), problems) for key, each in desired.items()}
    if isinstance(desired, list):
        pairs = _counterparts(desired, current if isinstance(current, list) else [], place)
        return [_unmasked(each, other, (*place, index), problems) for index, (each, other) in enumerate(pairs)]
    if not isinstance(desired, str) or DOTS not in desired:
        return desired
    if current is not None and masked(current, place) == desired:
        return current
    said = "is a masked secret that is not known here; give the secret itself, or a reference such as ${NAME}"
    problems.append(Problem(shown(place), said, code="unknown_mask", path=place))
    return desired


def _counterparts(desired: list[Any], current: list[Any], place: Place) -> Iterator[tuple[Any, Any]]:
    """Each with what it was."""
    named = {called: each for each in reversed(current) if (called := identity(each)) is not None}
    taken = {identity(each) for each in desired}
    for index, each in enumerate(desired):
        other = current[index] if index < len(current) else None
        called = identity(each)
        if called in named:
            yield each, named[called]
        elif called is not None:
            yield each, None if identity(other) in taken else other
        else:
            yield each, _of_mask(each, other, current, place)


def _of_mask(each: Any, other: Any, current: list[Any], place: Place) -> Any:
    """Of values without names the one at the same position, if its mask fits, else the one whose mask does."""
    fitting = [value for value in current if masked(value, (*place, 0)) == each]
    return other if other in fitting or not fitting else fitting[0]


def _secrets(data: Any, place: Place) -> Iterator[tuple[str, str]]:
    """Each secret in the data, with its mask."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _secrets(value, (*place, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _secrets(value, (*place, index))
    elif (mask := _mask(data, place)) != data:
        yield str(data), mask


def _loose(found: re.Match[str]) -> str:
    """In a comment: long words of letters and digits may be an old key."""
    word = found[0]
    return _dotted(word) if re.search(r"\d", word) and re.search(r"[A-Za-z]", word) else word
