"""Where secrets come from. One that cannot be had takes its endpoint out, with the reason; the rest serves.

A secret may be written as `${NAME}` (an environment variable, also in the middle of a text), `file:/path` (that file's
first line), `keyring:name` (the system's keychain), or as itself. Neither a Credential's repr nor any problem holds
the secret.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote_plus

SERVICE: Final = "claude-code-companion"

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITHOUT_BRACES: Final = re.compile(r"\$([A-Z_][A-Z0-9_]*)")
_PAIR: Final = re.compile(r"(?<=[?&])([^=&#]*)=([^&#]*)")
_MAX_FILE: Final = 64 * 1024
_SECRET: Final = re.compile(
    r"(.*[_-])?(auth|authorization|(api)?key|cookie|credentials?|values)|.*(token|secret|passw(or)?d)([_-]hash)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Credential:
    """A secret as the file names it, and the secret itself or why there is none. Both are None where none is needed.

    The reference is not shown either: it may be the secret itself.
    """

    reference: str = field(repr=False)
    value: str | None = field(repr=False)
    problem: str | None = None


NOT_NEEDED: Final = Credential("", None)


def names_secret(name: str) -> bool:
    """Whether what a key or a header of this name holds is a secret."""
    return _SECRET.fullmatch(name) is not None


def in_query(url: str) -> Iterator[str]:
    """The secrets in the query of a URL (`?key=…`), as they are written there and, if that differs, as they are."""
    for name, value in _PAIR.findall(url):
        if value and names_secret(name):
            yield from {value, unquote_plus(value)}


def without_query(url: str, mask: Callable[[str], str] = lambda _: "•••") -> str:
    """The URL as it may be shown: what `mask` makes of it stands for each secret in its query."""
    return _PAIR.sub(lambda pair: f"{pair[1]}={mask(pair[2])}" if pair[2] and names_secret(pair[1]) else pair[0], url)


class _Unresolved(Exception):
    """Says why, for people."""


def resolve(reference: str, folder: Path) -> Credential:
    """Get the secret that `reference` stands for; relative paths start at `folder`. Never raises."""
    try:
        return Credential(reference, _sendable(_value(reference, folder)))
    except _Unresolved as error:
        return Credential(reference, None, str(error))


def files(references: Iterable[str], folder: Path) -> tuple[Path, ...]:
    """The files that some of these references name."""
    return tuple(_path(reference, folder) for reference in references if reference.startswith("file:"))


def _value(reference: str, folder: Path) -> str:
    if reference.startswith("file:"):
        return _from_file(_path(reference, folder))
    if reference.startswith("keyring:"):
        return _from_keyring(reference.removeprefix("keyring:").strip())
    if match := _WITHOUT_BRACES.fullmatch(reference):
        raise _Unresolved(f"an environment variable is written with braces: ${{{match[1]}}}")
    return _VARIABLE.sub(_from_environment, reference)


def _sendable(value: str) -> str:
    """It will be part of a header, where a line break would begin the next one."""
    if not value.isprintable():
        raise _Unresolved("its value holds a line break or another character that no header can hold")
    return value


def _path(reference: str, folder: Path) -> Path:
    named = Path(reference.removeprefix("file:").strip())
    try:
        return folder / named.expanduser()
    except RuntimeError:  # a user that this system does not have
        return folder / named


def _from_environment(found: re.Match[str]) -> str:
    name = found[1].strip()
    if not _NAME.fullmatch(name):
        raise _Unresolved("what stands in ${…} is not the name of an environment variable")
    value = os.environ.get(name)
    if value is None:
        raise _Unresolved(f"the environment variable {name} is not set")
    if not value.strip():
        raise _Unresolved(f"the environment variable {name} is empty")
    return value.strip()


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            line = file.read(_MAX_FILE).decode("utf-8-sig").strip().partition("\n")[0].strip()
    except OSError as error:
        raise _Unresolved(f"the file {path} cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    except ValueError:
        raise _Unresolved(f"the file {path} is not UTF-8 text") from None
    if not line:
        raise _Unresolved(f"the file {path} is empty")
    return line


def _from_keyring(name: str) -> str:
    try:
        import keyring  # noqa: PLC0415 - an optional package, and slow to import
    except ImportError:
        raise _Unresolved("keyring: needs the package keyring, which is not installed") from None
    try:
        value = keyring.get_password(SERVICE, name)
    except Exception as error:
        raise _Unresolved(f"the keyring cannot be asked for {name}: {type(error).__name__}") from None
    if not value:
        raise _Unresolved(f"the keyring has no password for {name} of the service {SERVICE}")
    return str(value).strip()
