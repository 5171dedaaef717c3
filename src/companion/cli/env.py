"""`companion env`: stdout is for the shell to evaluate, stderr for whoever looks at it."""

import os
import sys

from companion.cli.client import DISCOVERY, direct, line, shell_of, usage, variables
from companion.cli.settings import base_url, is_there, located, own_credential, read, refuse
from companion.config.models import Settings


def show(explicit: str | None, shell: str | None) -> None:
    """Print one line a variable. A configuration that is not there yet stands for its defaults."""
    shell = shell or shell_of(os.environ, sys.platform)
    path = located(explicit)
    loaded = read(path) if is_there(path) else None
    settings = Settings() if loaded is None else loaded.settings
    if settings.server.port == 0:
        refuse("server.port is 0, so the proxy's address is another at every start: use what `companion` prints.")
    url = base_url(settings.server)
    own = None if loaded is None else own_credential(loaded)
    for name, value in (variables(url, own_credential=own is not None) | direct(os.environ, url)).items():
        print(line(name, value, shell))
    if own is not None:
        print(own, file=sys.stderr)
    if sys.stdout.isatty():
        print(f"\nTo set them in this shell: {usage(shell)}\n{DISCOVERY}", file=sys.stderr)
