"""`companion env`: stdout is for the shell to evaluate, stderr for whoever looks at it."""

import os
import sys
from pathlib import PurePath

from companion.cli.client import DISCOVERY, OWN_CREDENTIAL, direct, line, variables
from companion.cli.settings import base_url, has_passthrough, is_there, located, read, refuse
from companion.config.models import Settings


def show(explicit: str | None, shell: str | None) -> None:
    """Print one line a variable. A configuration that is not there yet stands for its defaults."""
    shell = shell or ("fish" if PurePath(os.environ.get("SHELL", "")).name == "fish" else "sh")
    path = located(explicit)
    loaded = read(path) if is_there(path) else None
    settings = Settings() if loaded is None else loaded.settings
    if settings.server.port == 0:
        refuse("server.port is 0, so the proxy's address is another at every start: use what `companion` prints.")
    own_credential = loaded is not None and has_passthrough(loaded)
    chosen = variables(base_url(settings.server), own_credential=own_credential) | direct(os.environ)
    for name, value in chosen.items():
        print(line(name, value, shell))
    if own_credential:
        print(OWN_CREDENTIAL, file=sys.stderr)
    if sys.stdout.isatty():
        use = "companion env --shell fish | source" if shell == "fish" else 'eval "$(companion env)"'
        print(f"\nTo set them in this shell: {use}\n{DISCOVERY}", file=sys.stderr)
