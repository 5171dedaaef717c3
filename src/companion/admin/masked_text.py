"""The file's text for people: with its comments, and with every secret masked; and back again.

Whoever saves a text with masks in it means what stood there before.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

from companion.config.editing.rewriting import rewritten
from companion.config.masked import masked, masked_text, unmasked
from companion.config.source import Source, sections
from companion.errors import ConfigError

_COMMENT: Final = re.compile(r"(?<![^\s])#.*")


def hidden(text: str, name: str) -> str | None:
    """The text without secrets; None while it cannot be read, because then they cannot be told from the rest."""
    try:
        data = _data(text, name)
    except ConfigError:
        return None
    covered, wanted = masked_text(text, data), masked(data)
    if _means(covered, wanted, name):
        return covered
    # A secret so short that other words hold it.
    return masked_text(rewritten(text, wanted, name), {})


def shown_again(text: str, before: str, name: str) -> str:
    """`text` with what its masks stand for in the text `before`. Raises ConfigError for a mask that is none of its."""
    desired = _data(text, name)
    plain = unmasked(desired, _data(before, name))
    if plain != desired:
        filled = _filled(text, dict(_changes(desired, plain)))
        text = filled if _means(filled, plain, name) else rewritten(text, plain, name)
    comments = {masked_text(each, {}): each for each in _COMMENT.findall(before)}
    return _COMMENT.sub(lambda found: comments.get(found[0], found[0]), text)


def difference(before: str, after: str, name: str) -> str:
    """What changes between two texts (unified diff), secrets masked in both."""
    one, other = ((hidden(text, name) or "").splitlines(keepends=True) for text in (before, after))
    return "".join(
        line if line.endswith("\n") else f"{line}\n" for line in difflib.unified_diff(one, other, name, name)
    )


def _filled(text: str, secrets: dict[str, str]) -> str:
    """With the secrets in place of their masks, and all else as it is, quotes included."""
    masks = sorted(secrets, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, masks)), lambda found: secrets[found[0]], text)


def _changes(desired: Any, plain: Any) -> Iterator[tuple[str, Any]]:
    """Each mask with what it stands for. Both are of one form."""
    if isinstance(desired, dict):
        for key, value in desired.items():
            yield from _changes(value, plain[key])
    elif isinstance(desired, list):
        for one, other in zip(desired, plain, strict=True):
            yield from _changes(one, other)
    elif desired != plain:
        yield desired, str(plain)


def _data(text: str, name: str) -> dict[str, Any]:
    return dict(sections(Source(text, name).data, name))


def _means(text: str, data: dict[str, Any], name: str) -> bool:
    try:
        return _data(text, name) == data
    except ConfigError:
        return False
