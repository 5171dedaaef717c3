"""The `companion` command: which commands and options there are. What a command does is in the module of its name.

Those modules are imported when their command is called: `companion env` in a shell's start-up file must not pay for the
proxy. Exit codes: 0 done, 2 refused (a sentence on stderr says why), 128 + n ended by signal n.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="A local proxy that keeps Claude Code answered. Without a command: serve.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Level(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Shell(StrEnum):
    """Whose syntax to print; `sh` fits bash, zsh and every other POSIX shell."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"
    CMD = "cmd"


Config = Annotated[str | None, typer.Option("--config", metavar="PATH", help="The configuration file to use.")]


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Listen here instead of server.host.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="N", help="Listen here instead of server.port; 0: any free one."),
    ] = None,
    log_level: Annotated[Level | None, typer.Option(help="Instead of logging.level.")] = None,
    attached: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run the proxy until Ctrl-C or SIGTERM; answers under way are finished first."""
    with _lean_imports():
        from companion.cli.serve import Overrides, run_proxy  # noqa: PLC0415 - the whole proxy, for this command only

    overrides = Overrides(host, port, None if log_level is None else log_level.value)
    raise typer.Exit(run_proxy(config, overrides, attached=attached))


@app.command()
def check(config: Config = None) -> None:
    """Read the configuration and tell every mistake in it, or what it means. Exit code 2 if it cannot be used."""
    from companion.cli.check import report  # noqa: PLC0415 - for this command only

    report(config)


@app.command("test")
def try_endpoints(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", show_default=False)] = None,
    config: Config = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="What to ask for, as a client would.")] = None,
) -> None:
    """Test an endpoint, or all that are enabled, step by step, with every key.

    Sends real messages, which are billed. No proxy needs to run. Exit code 1 if something failed.
    """
    from companion.cli.test import run_tests  # noqa: PLC0415 - for this command only

    raise typer.Exit(run_tests(config, name, model))


@app.command()
def env(
    config: Config = None,
    shell: Annotated[Shell | None, typer.Option(help="Default: by $SHELL; on Windows powershell.")] = None,
) -> None:
    """Print what Claude Code needs in its environment. Use it as: eval "$(companion env)"."""
    from companion.cli.env import show  # noqa: PLC0415 - for this command only

    show(config, None if shell is None else shell.value)


client = typer.Typer(help="Who has a token for the proxy (access.clients).", no_args_is_help=True)
app.add_typer(client, name="client")
ClientName = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


@client.command("add")
def client_add(name: ClientName, config: Config = None) -> None:
    """Make a token for a client and print it, once. A running proxy knows it within a second."""
    from companion.cli.clients import add  # noqa: PLC0415 - for this command only

    add(config, name)


@client.command("list")
def client_list(config: Config = None) -> None:
    """Print the clients' names, and the beginning of each token's digest."""
    from companion.cli.clients import list_all  # noqa: PLC0415 - for this command only

    list_all(config)


@client.command("remove")
def client_remove(name: ClientName, config: Config = None) -> None:
    """Take a client's token away. A running proxy forgets it within a second."""
    from companion.cli.clients import remove  # noqa: PLC0415 - for this command only

    remove(config, name)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    command: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND [ARG]...", show_default=False)] = None,
    config: Config = None,
) -> None:
    """Start a command (default: claude) with the environment that `env` prints.

    If no proxy is running, one runs for as long as the command does. The exit code is the command's.
    """
    from companion.cli.run import run_command  # noqa: PLC0415 - for this command only

    raise typer.Exit(run_command(config, command or ["claude"]))


@app.command()
def status(
    config: Config = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="Ask there instead of where it should run.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As the admin API says it.")] = False,
) -> None:
    """Show how the running proxy is: endpoints, circuits, tries under way, the last switches."""
    from companion.cli.status import show  # noqa: PLC0415 - for this command only

    show(config, url, json=json)


@app.command()
def logs(
    words: Annotated[list[str] | None, typer.Argument(metavar="[show ID]", show_default=False)] = None,
    config: Config = None,
    endpoint: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this endpoint answered.")] = None,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Only what asked for this model.")] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Only this session.")] = None,
    client: Annotated[str | None, typer.Option(metavar="NAME", help="Only this client.")] = None,
    outcome: Annotated[list[str] | None, typer.Option(metavar="OUTCOME", help="Only this; may be repeated.")] = None,
    status: Annotated[int | None, typer.Option(metavar="N", help="Only answers with this status.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what hurt a client.")] = False,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Only from then on: 2h, 7d, 2026-11-25.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="So many of them.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    bodies: Annotated[bool, typer.Option("--bodies", help="show: print requests and answers, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs: one object a line.")] = False,
) -> None:
    """Print what was recorded, or all about one exchange: companion logs show ID."""
    if words:
        from companion.cli.logs_show import show_one  # noqa: PLC0415 - for this command only

        if words[0] != "show" or len(words) != 2:
            raise typer.BadParameter("only `show ID` may stand here", param_hint="words")
        show_one(config, words[1], bodies=bodies, as_json=json)
        return
    from companion.cli.logs import Asked, show_list  # noqa: PLC0415 - for this command only

    asked = Asked(endpoint, model, session, client, tuple(outcome or ()), status, failed, since)
    show_list(config, asked, limit=limit, follow=follow, as_json=json)


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Listen here; 0: any free one.")] = 0,
    once: Annotated[
        bool, typer.Option("--once", help="End after the story, instead of going on until Ctrl-C.")
    ] = False,
) -> None:
    """Watch an answer, a failover and a recovery within a minute: with simulated upstreams, without a key."""
    with _lean_imports():
        from companion.cli.demo import run_demo  # noqa: PLC0415 - the whole proxy and a simulator, for this command only

    raise typer.Exit(run_demo(port, once=once))


@app.command()
def version() -> None:
    """Print the version of the program and of its Python."""
    from companion import __version__  # noqa: PLC0415 - beside the others

    typer.echo(f"companion {__version__} (Python {sys.version.split()[0]}, {sys.platform})")


def main() -> None:
    """Run the command line. Options without a command belong to `serve`."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        arguments = ["version"]
    elif not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help", *_COMPLETION}):
        arguments = ["serve", *arguments]
    try:
        app(arguments, prog_name="companion")
    except KeyboardInterrupt:
        sys.exit(130)


_COMPLETION = ("--install-completion", "--show-completion")


@contextmanager
def _lean_imports() -> Iterator[None]:
    """Inside, rich cannot be imported: structlog would take it along, for tracebacks that we show plainly, in 0.2 s.

    And the garbage collector rests, since what is imported stays.
    """
    modules: dict[str, Any] = sys.modules
    hidden = modules.setdefault("rich", None) is None
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if hidden:
            del modules["rich"]
