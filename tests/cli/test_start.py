"""What a command imports is what its start costs."""

import sys
from pathlib import Path

import pytest

from companion import __version__
from tests.cli.process import command, companion

IMPORTED = (
    "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.argv[0] = 'companion';"
)
MAIN = "from companion.cli import main; main()"


async def imported(folder: Path, *arguments: str) -> set[str]:
    ended = await command(sys.executable, "-c", IMPORTED + MAIN, *arguments, cwd=folder)
    return set(ended.err.splitlines()[-1].split())


async def test_version_imports_nothing_of_the_proxy(tmp_path):
    modules = await imported(tmp_path, "version")

    # typer itself imports pydantic
    assert not modules & {
        "asyncio",
        "structlog",
        "rich",
        "ruamel.yaml",
        "uvloop",
        "companion.config.models",
        "companion.app",
    }


async def test_env_imports_no_network(tmp_path):
    modules = await imported(tmp_path, "env")

    assert not modules & {"structlog", "rich", "uvloop", "httptools", "companion.app"}


async def test_serve_does_not_import_rich(tmp_path):
    modules = await imported(tmp_path, "serve", "--port", "0", "--host", "192.0.2.1")

    assert "companion.app" in modules
    assert "structlog" in modules
    assert "rich" not in modules
    assert "rich.console" not in modules


@pytest.mark.parametrize("word", ["version", "--version"])
async def test_version_tells_the_version(tmp_path, word):
    ended = await companion(word, cwd=tmp_path)

    assert ended.code == 0
    assert ended.out.startswith(f"companion {__version__} (Python {sys.version.split()[0]}, ")


@pytest.mark.parametrize("word", ["--help", "-h"])
async def test_help_lists_the_commands(tmp_path, word):
    ended = await companion(word, cwd=tmp_path)

    assert ended.code == 0
    for name in ("serve", "check", "env", "run", "version"):
        assert f"\n  {name} " in ended.out


async def test_an_unknown_command_is_exit_code_2(tmp_path):
    ended = await companion("sirve", cwd=tmp_path)

    assert ended.code == 2
    assert "sirve" in ended.err
