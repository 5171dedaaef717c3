"""The environment that makes Claude Code talk to the proxy, and how shells write it."""

import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Final
from urllib.parse import urlsplit

OWN_CREDENTIAL: Final = (
    "An endpoint has auth.type passthrough, so Claude Code must bring a credential of its own: "
    "ANTHROPIC_AUTH_TOKEN is left as it is."
)
KNOWN_CLIENTS: Final = (
    "The proxy knows its clients by token (access.clients), and only digests of them, so ANTHROPIC_AUTH_TOKEN is left "
    "as it is. `companion client add NAME` makes a token for whoever has none."
)
DISCOVERY: Final = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 also turns Claude Code's model discovery off."

_AT_HOME: Final = ("localhost", "127.0.0.1", "::1")


def variables(url: str, *, own_credential: bool) -> dict[str, str]:
    """The four that users set; without a token when they bring their own."""
    chosen = {"ANTHROPIC_BASE_URL": url}
    if not own_credential:
        chosen["ANTHROPIC_AUTH_TOKEN"] = "companion"  # noqa: S105 - any value will do on loopback
    return chosen | {"API_TIMEOUT_MS": "600000", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def direct(environ: Mapping[str, str], url: str = "") -> dict[str, str]:
    """NO_PROXY with this machine and the host of `url` in it.

    `no_proxy` too where it is set, because programs that know both prefer it.
    """
    names = ["NO_PROXY", *(["no_proxy"] if "no_proxy" in environ else [])]
    asked = tuple(dict.fromkeys((*_AT_HOME, urlsplit(url).hostname or "localhost")))
    return {name: _with(environ.get(name, environ.get("no_proxy", "")), asked) for name in names}


def _with(value: str, wanted: tuple[str, ...]) -> str:
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    return ",".join(hosts + [host for host in wanted if host not in hosts])


def shell_of(environ: Mapping[str, str], platform: str) -> str:
    """Whose syntax fits the shell that we were called from: by $SHELL, and without one on Windows, PowerShell."""
    name = PurePath(environ.get("SHELL", "")).name
    if name in {"fish", "pwsh"}:
        return "fish" if name == "fish" else "powershell"
    return "powershell" if platform == "win32" and not name else "sh"


def usage(shell: str) -> str:
    """How to set what `companion env` prints, in the shell itself."""
    return {
        "fish": "companion env --shell fish | source",
        "powershell": "companion env --shell powershell | Out-String | Invoke-Expression",
        "cmd": "for /f \"delims=\" %i in ('companion env --shell cmd') do @%i",
    }.get(shell, 'eval "$(companion env)"')


def line(name: str, value: str, shell: str) -> str:
    """The command that sets one variable, for `sh`, `fish`, `powershell` or `cmd`."""
    return _LINES[shell](name, value)


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    """Typographic quotes end a string there just as straight ones do."""
    escaped = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)
    return f"$env:{name} = '{escaped}'"


def _cmd(name: str, value: str) -> str:
    """A quote could not be written; within quotes everything else is plain, `%` too where `for /f` reads it."""
    return f'set "{name}={value.replace(chr(34), "")}"'


_LINES: Final[Mapping[str, Callable[[str, str], str]]] = {
    "sh": lambda name, value: f"export {name}={shlex.quote(value)}",
    "fish": _fish,
    "powershell": _powershell,
    "cmd": _cmd,
}
