"""`companion run -- COMMAND`: a command in the right environment, with a proxy for as long as it runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from companion.cli.client import direct, variables
from companion.cli.local import answers
from companion.cli.settings import base_url, is_there, located, own_credential, read, write_first
from companion.config.file import Loaded
from companion.net.posix import forward_signals, start


def run_command(explicit: str | None, command: list[str]) -> int:
    """Run it and return its exit code; 127 when there is no such command, 126 when it cannot be started."""
    program = shutil.which(command[0])
    if program is None:
        print(f"{command[0]}: there is no such command.", file=sys.stderr)
        return 127
    path = located(explicit)
    if not is_there(path):
        write_first(path)
        print(f"A new configuration is at {path}: add an endpoint to it.", file=sys.stderr)
    loaded = read(path)
    with _proxy(loaded) as url:
        if url is None:
            return 2
        own = own_credential(loaded)
        if own is not None and not _brings(os.environ):
            print(own, file=sys.stderr)
        chosen = variables(url, own_credential=own is not None) | direct(os.environ, url)
        return _status([program, *command[1:]], {**os.environ, **chosen})


def _brings(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "ANTHROPIC_CUSTOM_HEADERS"))


@contextmanager
def _proxy(loaded: Loaded) -> Iterator[str | None]:
    """The address of the proxy that runs already, or of one that ends with this block; None if that does not start.

    Ours listens on a port of its own. So it takes nobody's place, and no other command comes to depend on it.
    """
    url = base_url(loaded.settings.server)
    if answers(url):
        yield url
        return
    serve = ["-m", "companion", "serve", "--attached", "--port", "0", "--config", str(loaded.path)]
    # -P: a folder `companion` where the user stands is not this package.
    with start([sys.executable, "-P", *serve], apart=True, pipe=subprocess.PIPE) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        try:
            yield proxy.stdout.readline().decode().strip() or None
        finally:
            proxy.stdin.close()


def _status(command: list[str], environ: dict[str, str]) -> int:
    try:
        child = start(command, environ=environ)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}.", file=sys.stderr)
        return 126
    with child:
        forward_signals(child)
        code = child.wait()
    return code if code >= 0 else 128 - code
