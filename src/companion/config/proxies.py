"""The proxy between us and an endpoint: `env`, `none`, or a URL, in which secrets may stand as references.

A URL with a password is a secret as a whole: no sentence here repeats any of it.
"""

import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from companion.config import secrets
from companion.config.hosts import is_host
from companion.config.secrets import Credential

WORDS: Final = frozenset({"env", "none"})
SCHEMES: Final = ("http", "https", "socks5", "socks5h")

_REFERENCE: Final = re.compile(r"\$\{[^}]*\}")
_WHOLE: Final = re.compile(r"\$\{[^}]*\}|(?:file|keyring):.*")
_LIKE: Final = "such as http://127.0.0.1:3128 or socks5://127.0.0.1:1080"


def checked(text: str) -> str:
    """What may stand in the file: a word, a URL, or a reference to one. Raises ValueError."""
    if text.lower() in WORDS:
        return text.lower()
    if not _WHOLE.fullmatch(text):
        url(_REFERENCE.sub("1", text))  # a digit can stand for a user, a password, a host and a port
    return text


def resolved(text: str, folder: Path) -> Credential:
    """The word or the URL that `text` stands for, or why there is none. Never raises.

    What is put into a URL before its @ is percent-encoded: a password may hold any character.
    """
    if text in WORDS:
        return Credential(text, text)
    if _WHOLE.fullmatch(text):
        return _judged(secrets.resolve(text, folder))
    before, at, rest = text.rpartition("@")
    user, place = _filled_in(before, folder, encode=True), _filled_in(rest, folder)
    missing = next((each.problem for each in (user, place) if each.problem is not None), None)
    return _judged(Credential(text, f"{user.value}{at}{place.value}" if missing is None else None, missing))


def _filled_in(part: str, folder: Path, *, encode: bool = False) -> Credential:
    for reference in _REFERENCE.findall(part):
        found = secrets.resolve(reference, folder)
        if found.value is None:
            return found
        part = part.replace(reference, quote(found.value, safe="") if encode else found.value)
    return Credential("", part)


def url(text: str) -> str:
    """A URL by which a proxy can be asked. Raises ValueError."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be env, none or a URL in plain ASCII without spaces; percent-encode anything else")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is not a URL {_LIKE}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"must be env, none, or a URL that begins with one of {', '.join(SCHEMES)}, {_LIKE}")
    if not host or not is_host(host) or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"must be a host, with port and user where needed, and nothing behind them, {_LIKE}")
    return text


def _judged(found: Credential) -> Credential:
    if found.value is None:
        return found
    try:
        return Credential(found.reference, found.value if found.value in WORDS else url(found.value))
    except ValueError as error:
        return Credential(found.reference, None, str(error))


def passwords(value: str) -> tuple[str, ...]:
    """What must be seen nowhere of a resolved proxy: its password, as the URL writes it and as it is."""
    password = urlsplit(value).password or "" if "@" in value else ""
    return (password, unquote(password)) if password else ()
