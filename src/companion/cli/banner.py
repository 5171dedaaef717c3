"""What `companion serve` says to the person who started it."""

import os
import sys
from typing import Final

from companion import __version__
from companion.cli.check import warnings
from companion.cli.client import DISCOVERY, line, shell_of, variables
from companion.cli.settings import outer_url, own_credential
from companion.config.file import Loaded
from companion.config.hosts import is_loopback
from companion.records.database import path_of

NOTICE: Final = " (hold prompts and code; yours alone; records.store: none turns them off)"


def greeting(loaded: Loaded, addresses: list[str], *, first: bool) -> str:
    """Where everything is; on the first run also what to do next."""
    lines = [
        f"Claude Code Companion {__version__}",
        "",
        f"  Proxy          {', '.join(addresses)}",
        f"  Admin          {addresses[0]}/admin/",
        f"  Configuration  {loaded.path}{' (new: every setting is explained in it)' if first else ''}",
    ]
    if not is_loopback(loaded.settings.server.host):
        lines.insert(3, f"  For others     {outer_url(loaded.settings.server)} (with the token of a client)")
    store = loaded.settings.records.store
    if store is not None:
        lines.append(f"  Records        {path_of(store, loaded.path.parent)}{NOTICE if first else ''}")
    if first:
        lines += ["", *_settings_of_the_client(loaded, addresses[0])]
    lines += ["", *_state(loaded)]
    return "\n".join(lines) + "\n"


def _settings_of_the_client(loaded: Loaded, url: str) -> list[str]:
    own = own_credential(loaded)
    shell = shell_of(os.environ, sys.platform)
    chosen = variables(url, own_credential=own is not None)
    return [
        "Set these where Claude Code is started:",
        "",
        *(f"  {line(name, value, shell)}" for name, value in chosen.items()),
        "",
        DISCOVERY,
        *([own] if own is not None else []),
        "`companion env` prints them again, and `companion run -- claude` starts Claude Code with them.",
    ]


def _state(loaded: Loaded) -> list[str]:
    used = [each.name for each in loaded.settings.endpoints if each.enabled]
    if used:
        told = [f"Endpoints: {', '.join(used)}.", *(f"warning: {each}" for each in warnings(loaded))]
    else:
        told = [
            "There is no endpoint yet, so every request gets an error that says where to add one: in the file above,",
            "under `endpoints`. It is read again within a second of being saved.",
        ]
    return [*told, "Ctrl-C stops the proxy."]
