"""The environment that makes Claude Code talk to the proxy, and how shells write it."""

import shlex
from collections.abc import Mapping
from typing import Final

OWN_CREDENTIAL: Final = (
    "An endpoint has auth.type passthrough, so Claude Code must bring a credential of its own: "
    "ANTHROPIC_AUTH_TOKEN is left as it is."
)
DISCOVERY: Final = "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 also turns Claude Code's model discovery off."

_AT_HOME: Final = ("localhost", "127.0.0.1", "::1")


def variables(url: str, *, own_credential: bool) -> dict[str, str]:
    """The four that users set; without a token when they bring their own."""
    chosen = {"ANTHROPIC_BASE_URL": url}
    if not own_credential:
        chosen["ANTHROPIC_AUTH_TOKEN"] = "companion"  # noqa: S105 - any value will do on loopback
    return chosen | {"API_TIMEOUT_MS": "600000", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def direct(environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with this machine in it; `no_proxy` too where it is set, because programs that know both prefer it."""
    names = ["NO_PROXY", *(["no_proxy"] if "no_proxy" in environ else [])]
    return {name: _with_home(environ.get(name, environ.get("no_proxy", ""))) for name in names}


def _with_home(value: str) -> str:
    hosts = [host.strip() for host in value.split(",") if host.strip()]
    return ",".join(hosts + [host for host in _AT_HOME if host not in hosts])


def line(name: str, value: str, shell: str) -> str:
    """The command that sets one variable, for `sh` or `fish`."""
    if shell == "fish":
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}'"
    return f"export {name}={shlex.quote(value)}"
