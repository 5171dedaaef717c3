"""Where keys come from. A key that cannot be had takes its endpoint out, with the reason; the rest serves."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{([^}]*)\}")
_MAX_FILE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as the file names it, and the key itself or the problem with it. The key is never shown."""

    reference: str = field(repr=False)
    value: str | None = field(repr=False)
    problem: str | None = None


def resolve(reference: str, folder: Path) -> Credential:
    """`${NAME}` anywhere in the text, `file:/path` (relative to `folder`), `keyring:name`, else the key itself."""
    try:
        if reference.startswith("file:"):
            value = _from_file(folder / Path(reference.removeprefix("file:")).expanduser())
        elif reference.startswith("keyring:"):
            value = _from_keyring(reference.removeprefix("keyring:"))
        else:
            value = _VARIABLE.sub(_from_environment, reference)
        if not value.isprintable() or not value.isascii() or not value:
            raise LookupError("the key is empty or holds characters that no key has")
    except LookupError as error:
        return Credential(reference, None, str(error.args[0]))
    return Credential(reference, value)


def _from_environment(found: re.Match[str]) -> str:
    name = found[1]
    value = os.environ.get(name, "").strip()
    if not value:
        raise LookupError(f"the environment variable {name} is not set")
    return value


def _from_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            value = file.read(_MAX_FILE).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise LookupError(f"the key file {path} cannot be read: {reason}") from None
    if not value:
        raise LookupError(f"the key file {path} is empty")
    return value


def _from_keyring(name: str) -> str:
    try:
        import keyring  # noqa: PLC0415  # an optional package that takes long to import
    except ImportError:
        raise LookupError("keyring: needs the package keyring (pip install 'claude-code-companion[keyring]')") from None
    try:
        value = keyring.get_password("claude-code-companion", name)
    except Exception as error:
        raise LookupError(f"the keyring cannot be asked for {name}: {type(error).__name__}") from None
    if not value:
        raise LookupError(f"the keyring has no password {name} for claude-code-companion")
    return str(value)
