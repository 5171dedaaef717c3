"""Commands and the configuration: find it, read it, or say in a sentence why not and end with exit code 2."""

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from companion.cli.client import KNOWN_CLIENTS, OWN_CREDENTIAL
from companion.config.file import NAME, VARIABLE, Loaded, find, load, user_folder, write_default
from companion.config.models import ServerSettings
from companion.errors import ConfigError

NEAREST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def refuse(*sentences: str) -> NoReturn:
    """Say why on stderr, a line each, and end with exit code 2."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    sys.exit(2)


def opened(explicit: str | None) -> Loaded:
    """The configuration, which must be there."""
    path = located(explicit)
    if not is_there(path):
        refuse(f"There is no configuration at {path} yet. `companion` writes one with every setting explained.")
    return read(path)


def located(explicit: str | None) -> Path:
    """Where the configuration is, or will be written: one that nobody named has to be found from every folder."""
    try:
        path = find(explicit)
    except ConfigError as error:
        refuse(*map(str, error.problems))
    if explicit or os.environ.get(VARIABLE) or is_there(path):
        return path
    user = user_folder(sys.platform, os.environ)
    return path if user is None else user / NAME


def is_there(path: Path) -> bool:
    """Also a link that leads nowhere is there: it is somebody's mistake, not our first run."""
    return os.path.lexists(path)


def read(path: Path) -> Loaded:
    """Read it; tell all mistakes at once."""
    try:
        return load(path)
    except ConfigError as error:
        refuse(*told(path, error))


def told(path: Path, error: ConfigError) -> list[str]:
    """All problems, a line each; one that concerns the whole file is a sentence of its own."""
    if [problem.place for problem in error.problems] == [str(path)]:
        return [f"{path} {error.problems[0].message}."]
    return [f"{path} cannot be used:", *(f"  {problem}" for problem in error.problems)]


def write_first(path: Path) -> None:
    """Write the commented default."""
    try:
        write_default(path)
    except OSError as error:
        refuse(f"{path} cannot be written: {reason(error)}. Give another place with --config PATH.")


def base_url(server: ServerSettings) -> str:
    """What a client on this machine has to be given. A certificate is more likely for a name than for an address."""
    host = NEAREST.get(server.host, server.host)
    if server.tls.certificate is None:
        return f"http://{_bracketed(host)}:{server.port}"
    return f"https://{_bracketed(next(iter(server.trusted_hosts), host))}:{server.port}"


def outer_url(server: ServerSettings) -> str:
    """What a client on another machine has to be given; ADDRESS is for a person to fill in."""
    scheme = "http" if server.tls.certificate is None else "https"
    host = "ADDRESS" if server.host in NEAREST else server.host
    return f"{scheme}://{_bracketed(next(iter(server.trusted_hosts), host))}:{server.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def own_credential(loaded: Loaded) -> str | None:
    """Why Claude Code must bring a credential, a sentence; None if any will do."""
    if loaded.settings.access.clients:
        return KNOWN_CLIENTS
    if any(each.enabled and each.auth.type == "passthrough" for each in loaded.settings.endpoints):
        return OWN_CREDENTIAL
    return None


def reason(error: OSError) -> str:
    """What the system said, without the number."""
    return (error.strerror or str(error)).lower()
