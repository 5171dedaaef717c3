import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.cli.process import COMMAND, command, companion, endpoint, home, write_config

SHOW = 'printf "%s\\n" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN" "$API_TIMEOUT_MS" "$NO_PROXY"'
SET = ["http://127.0.0.1:8099", "companion", "600000", "corp.example,localhost,127.0.0.1,::1"]


async def in_a_terminal(folder: Path, *arguments: str) -> str:
    """What is on stderr when stdout is a terminal."""
    if sys.platform == "win32":
        pytest.skip("there are no pseudo-terminals")
    else:
        terminal, stdout = os.openpty()
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, cwd=folder, env=home(folder), stdout=stdout, stderr=asyncio.subprocess.PIPE
        )
        os.close(stdout)
        _, told = await process.communicate()
        os.close(terminal)
        return told.decode()


@pytest.mark.parametrize("quotes", ['"', ""])
async def test_sh_can_evaluate_it(tmp_path, quotes):
    write_config(tmp_path, server={"port": 8099})
    script = f"eval {quotes}$({' '.join(COMMAND)} env --shell sh){quotes}; {SHOW}; export -p"
    ended = await command("sh", "-c", script, cwd=tmp_path, NO_PROXY="corp.example")

    assert ended.code == 0
    assert ended.out.splitlines()[:4] == SET
    assert "export ANTHROPIC_BASE_URL" in ended.out
    assert ended.err == ""


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
async def test_fish_can_source_it(tmp_path):
    write_config(tmp_path, server={"port": 8099})
    script = f"{' '.join(COMMAND)} env --shell fish | source; {SHOW}"
    ended = await command("fish", "--no-config", "-c", script, cwd=tmp_path, NO_PROXY="corp.example")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == SET


@pytest.mark.parametrize(
    ("shell", "word"),
    [("/usr/bin/fish", "set -gx "), ("/bin/zsh", "export "), ("/bin/bash", "export "), ("", "export ")],
)
async def test_the_shell_is_told_by_its_variable(tmp_path, shell, word):
    ended = await companion("env", cwd=tmp_path, SHELL=shell)

    assert all(line.startswith(word) for line in ended.out.splitlines())
    assert len(ended.out.splitlines()) == 5


@pytest.mark.parametrize(
    ("shell", "use"),
    [
        ("sh", 'eval "$(companion env)"'),
        ("fish", "companion env --shell fish | source"),
        ("powershell", "companion env --shell powershell | Out-String | Invoke-Expression"),
        ("cmd", "for /f \"delims=\" %i in ('companion env --shell cmd') do @%i"),
    ],
)
async def test_somebody_who_reads_it_is_told_how_to_use_it(tmp_path, shell, use):
    told = await in_a_terminal(tmp_path, "env", "--shell", shell)

    assert use in told
    assert "model discovery" in told


async def test_without_a_configuration_the_defaults_count_and_none_is_written(tmp_path):
    ended = await companion("env", cwd=tmp_path)

    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:8080" in ended.out
    assert not list(tmp_path.rglob("config.yaml"))


async def test_an_ipv6_address_stands_in_brackets(tmp_path):
    write_config(tmp_path, server={"host": "::1", "port": 8099})

    assert "http://[::1]:8099" in (await companion("env", cwd=tmp_path)).out


async def test_with_passthrough_the_users_own_token_is_left_alone(tmp_path):
    write_config(tmp_path, endpoint("a", "https://a.example", auth={"type": "passthrough"}), server={"port": 8099})
    ended = await companion("env", cwd=tmp_path)

    assert "ANTHROPIC_AUTH_TOKEN" not in ended.out
    assert "Claude Code must bring a credential of its own" in ended.err


async def test_with_clients_their_token_is_left_alone(tmp_path):
    clients = [{"name": "ann", "token_hash": f"sha256:{'0' * 64}"}]
    write_config(tmp_path, server={"port": 8099, "host": "0.0.0.0"}, access={"clients": clients})
    ended = await companion("env", cwd=tmp_path)

    assert "ANTHROPIC_AUTH_TOKEN" not in ended.out
    assert "http://127.0.0.1:8099" in ended.out
    assert "companion client add NAME" in ended.err


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        (
            "powershell",
            ["$env:ANTHROPIC_BASE_URL = 'http://127.0.0.1:8099'", "$env:NO_PROXY = 'a,localhost,127.0.0.1,::1'"],
        ),
        ("cmd", ['set "ANTHROPIC_BASE_URL=http://127.0.0.1:8099"', 'set "NO_PROXY=a,localhost,127.0.0.1,::1"']),
    ],
)
async def test_windows_shells_get_their_own_syntax(tmp_path, shell, lines):
    write_config(tmp_path, server={"port": 8099})
    ended = await companion("env", "--shell", shell, cwd=tmp_path, NO_PROXY="a")

    assert [ended.out.splitlines()[0], ended.out.splitlines()[-1]] == lines
    assert len(ended.out.splitlines()) == 5


async def test_a_port_that_is_another_at_each_start_cannot_be_told(tmp_path):
    write_config(tmp_path)
    ended = await companion("env", cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    assert "server.port is 0" in ended.err


async def test_a_bad_configuration_sets_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("server: {port: many}\n")
    ended = await companion("env", cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    assert "line 1" in ended.err
