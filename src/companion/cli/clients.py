"""`companion client add | list | remove`: who has a token. A proxy that runs notices within a second."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from companion.cli.client import line, shell_of, variables
from companion.cli.settings import base_url, is_there, located, opened, outer_url, reason, refuse, told, write_first
from companion.clients.tokens import digest, new_token
from companion.config.edit import Conflict, Editor
from companion.config.file import Loaded
from companion.config.hosts import is_loopback
from companion.errors import ConfigError

_FIRST = (
    "From now on every request needs a token, on this machine, too: see docs/how-to/team.md.\n"
    "Only /admin and the signs of life (/healthz, /readyz) are without."
)


def add(explicit: str | None, name: str) -> None:
    """Make a token and write its digest into the configuration; the token is on stdout, once."""
    path = located(explicit)
    if not is_there(path):
        write_first(path)
    token = new_token()

    def edit(data: dict[str, Any]) -> None:
        clients = _clients(data)
        if any(each.get("name") == name for each in clients):
            refuse(f"There is a client {name} already. `companion client remove {name}` takes its token away.")
        clients.append({"name": name, "token_hash": digest(token)})

    loaded = _changed(path, edit, f"client {name} added")
    server, shell = loaded.settings.server, shell_of(os.environ, sys.platform)
    url = base_url(server) if is_loopback(server.host) else outer_url(server)
    chosen = variables(url, own_credential=False) | {"ANTHROPIC_AUTH_TOKEN": token}
    print(f"The token of {name}, shown only now: {token}\n\nTo be set where {name} starts Claude Code:\n")
    for key in ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"):
        print(f"  {line(key, chosen[key], shell)}")
    if len(loaded.settings.access.clients) == 1:
        print(f"\n{_FIRST}", file=sys.stderr)
    if is_loopback(server.host):
        print("\nThe proxy listens on this machine only (server.host).", file=sys.stderr)


def list_all(explicit: str | None) -> None:
    """A line for each client: its name, and the beginning of the digest by which its token is known."""
    clients = opened(explicit).settings.access.clients
    width = max((len(each.name) for each in clients), default=0)
    for each in clients:
        print(f"{each.name.ljust(width)}  {each.token_hash[:15]}…")
    if not clients:
        print("There are no clients: every program on this machine may use the proxy.", file=sys.stderr)


def remove(explicit: str | None, name: str) -> None:
    """Take a client's token away."""
    path = opened(explicit).path

    def edit(data: dict[str, Any]) -> None:
        clients = _clients(data)
        kept = [each for each in clients if each.get("name") != name]
        if len(kept) == len(clients):
            known = ", ".join(str(each.get("name")) for each in clients)
            refuse(f"There is no client {name}. There is: {known}." if known else "There are no clients.")
        clients[:] = kept

    loaded = _changed(path, edit, f"client {name} removed")
    print(f"The token of {name} is good for nothing any more.")
    if not loaded.settings.access.clients:
        print("No client is left, so every program on this machine may use the proxy again.", file=sys.stderr)


def _clients(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The list in the file, made if there is none."""
    access = data["access"] = data.get("access") or {}
    access["clients"] = access.get("clients") or []
    clients: list[dict[str, Any]] = access["clients"]
    return clients


def _changed(path: Path, edit: Callable[[dict[str, Any]], None], why: str) -> Loaded:
    try:
        return Editor(path).change(edit, why=why)
    except ConfigError as error:
        refuse(*told(path, error))
    except Conflict as error:
        refuse(f"{error}.")
    except OSError as error:
        refuse(f"{path} cannot be written: {reason(error)}.")
