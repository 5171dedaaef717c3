"""Credentials out: masked by as many asterisks as they had bytes, so that lengths and offsets stay true.

A header that holds a credential keeps its scheme and the last four characters of a long one. Anywhere else (bodies,
what an upstream said, urls, other headers) each known secret is masked where it occurs, also in the ways JSON and URLs
write it, and whatever the user's own patterns match.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote

from companion.config.secrets import names_secret

SHORTEST: Final = 6
"""Masking shorter words than this would take apart what they happen to occur in."""

_OURS: Final = frozenset({"companion"})  # the word that clients are told to send, for want of a token
_PATTERN_LENGTH: Final = 1024
_SCHEMES: Final = frozenset({b"bearer", b"basic", b"digest", b"token", b"negotiate", b"apikey"})
_SHOWN: Final = 4
_NAMES: Final = 1024
_LONG: Final = 16


def _variants(secret: str) -> Iterable[bytes]:
    written = (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe=""))
    return {each.encode("utf-8", "surrogateescape") for each in written}


def encoded(secrets: Collection[str]) -> tuple[bytes, ...]:
    """All ways in which these may be written, the longest first."""
    found = {
        variant
        for secret in secrets
        if len(secret) >= SHORTEST and secret not in _OURS
        for variant in _variants(secret)
    }
    return tuple(sorted(found, key=lambda each: (-len(each), each)))


class Mask:
    """Masks in bytes and text. `also` adds secrets that belong to one exchange alone."""

    def __init__(self, secrets: tuple[bytes, ...] = (), patterns: Sequence[str] = ()) -> None:
        self.secrets = secrets
        self._patterns = tuple(re.compile(pattern.encode()) for pattern in patterns)
        longest = max(map(len, secrets), default=1) - 1
        self.overlap = max(longest, _PATTERN_LENGTH) if patterns else longest
        """So many bytes of a stream's end may be the beginning of what is to be masked."""

    def also(self, more: tuple[bytes, ...]) -> "Mask":
        fresh = [each for each in more if each not in self.secrets]
        if not fresh:
            return self
        made = Mask(tuple(sorted((*self.secrets, *fresh), key=lambda each: (-len(each), each))))
        made._patterns = self._patterns
        made.overlap = max(made.overlap, self.overlap)
        return made

    def bytes(self, data: bytes) -> bytes:
        for secret in self.secrets:
            if secret in data:
                data = data.replace(secret, b"*" * len(secret))
        for pattern in self._patterns:
            data = pattern.sub(_stars, data)
        return data

    def text(self, text: str) -> str:
        """Half a character (a lone surrogate), which no database takes, becomes a replacement character."""
        return self.bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def text_or_none(self, text: str | None) -> str | None:
        return None if text is None else self.text(text)


def _stars(found: "re.Match[bytes]") -> bytes:
    return b"*" * len(found[0])


class _Sensitive(dict[bytes, bool]):
    """Remembers names, because each comes with every request."""

    def __missing__(self, name: bytes) -> bool:
        found = names_secret(name.decode("latin-1"))
        if len(self) < _NAMES:
            self[name] = found
        return found


_sensitive: Final = _Sensitive()


def sensitive(name: bytes) -> bool:
    """Whether a header of this name holds a credential."""
    return _sensitive[name]


def written(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as text, one a line, credentials hidden."""
    known = _sensitive
    return b"".join([b"%b: %b\n" % (name, hidden(value) if known[name] else value) for name, value in headers])


def hidden(value: bytes) -> bytes:
    """A credential in a header, as it may be seen: `Bearer •••1234` in plain ASCII."""
    scheme, space, rest = value.partition(b" ")
    if not rest or scheme.lower() not in _SCHEMES:
        scheme, rest = b"", value
    end = rest[-_SHOWN:] if len(rest) >= _LONG else b""
    return scheme + space * bool(scheme) + b"***" + end


def presented(headers: Iterable[tuple[bytes, bytes]], query: bytes = b"") -> tuple[bytes, ...]:
    """The credentials that a client brought, to be masked in all that belongs to its exchange."""
    words = [value for name, value in parse_qsl(query.decode("latin-1")) if names_secret(name)] if query else ()
    found = {word for word in words if len(word) >= SHORTEST + 2}
    for name, value in headers:
        if sensitive(name):
            words = (
                re.split(r"[\s;,=]+", value.decode("latin-1")) if b"cookie" in name else value.decode("latin-1").split()
            )
            found.update(word for word in words if len(word) >= SHORTEST + 2)
    return encoded(found)
