import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from companion.simulator import Simulator
from tests.cli.process import COMMAND, Ended, command, companion, ended, endpoint, serving, started, told, write_config
from tests.support.http import Answer, message

ENVIRON = "import json, os; print(json.dumps(dict(os.environ)))"
ASK = """
import http.client, os, sys
host, port = os.environ["ANTHROPIC_BASE_URL"].removeprefix("http://").split(":")
asking = http.client.HTTPConnection(host, int(port))
asking.request("GET", "/healthz")
print(asking.getresponse().status)
"""


async def answers(url: str) -> Answer | None:
    try:
        return await message(url)
    except ConnectionError:
        return None


async def run_python(folder: Path, code: str, *options: str, **environ: str) -> Ended:
    return await companion("run", *options, "--", sys.executable, "-c", code, cwd=folder, stdin=b"", **environ)


async def test_the_command_gets_the_variables_and_a_proxy_that_answers(tmp_path):
    write_config(tmp_path, endpoint("a", "http://127.0.0.1:1"))
    done = await run_python(tmp_path, ENVIRON + ASK, NO_PROXY="corp.example")

    shown, status = done.out.splitlines()
    environ = json.loads(shown)
    assert (done.code, done.err, status) == (0, "", "200")
    assert environ["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert environ["ANTHROPIC_AUTH_TOKEN"] == "companion"
    assert environ["API_TIMEOUT_MS"] == "600000"
    assert environ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert environ["NO_PROXY"] == "corp.example,localhost,127.0.0.1,::1"


async def test_a_proxy_that_runs_already_is_used(tmp_path):
    async with Simulator() as upstream:
        write_config(tmp_path, endpoint("a", upstream.url))
        async with serving(tmp_path) as proxy:
            write_config(tmp_path, endpoint("a", upstream.url), server={"port": proxy.port})
            done = await run_python(tmp_path, "import os; print(os.environ['ANTHROPIC_BASE_URL'])")

            assert done.out.strip() == proxy.url
            assert (await message(proxy.url)).status == 200


async def test_another_program_on_the_port_is_no_proxy(tmp_path):
    async with Simulator() as other:
        write_config(tmp_path, server={"port": other.port})
        done = await run_python(tmp_path, ENVIRON + ASK)

    shown, status = done.out.splitlines()
    assert status == "200"
    assert json.loads(shown)["ANTHROPIC_BASE_URL"] != other.url


async def test_the_exit_code_is_the_commands(tmp_path):
    write_config(tmp_path)

    assert (await run_python(tmp_path, "raise SystemExit(7)")).code == 7


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
async def test_a_command_that_a_signal_ends_gives_128_and_its_number(tmp_path):
    write_config(tmp_path)

    assert (await run_python(tmp_path, "import os; os.kill(os.getpid(), 9)")).code == 137


async def test_no_such_command_is_127(tmp_path):
    write_config(tmp_path)
    done = await companion("run", "--", "no-such-command", cwd=tmp_path)

    assert (done.code, done.err) == (127, "no-such-command: there is no such command.\n")


async def test_a_file_that_is_no_program_is_126(tmp_path):
    write_config(tmp_path)
    script = tmp_path / "broken"
    script.write_bytes(b"\x7fELF but no more")
    script.chmod(0o755)
    done = await companion("run", "--", str(script), cwd=tmp_path)

    assert done.code == 126
    assert "cannot be started" in done.err


async def test_without_a_command_it_is_claude(tmp_path):
    write_config(tmp_path)
    claude = tmp_path / "claude"
    claude.write_text("#!/bin/sh\necho it is me\n")
    claude.chmod(0o755)
    done = await companion("run", cwd=tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert (done.code, done.out) == (0, "it is me\n")


async def test_options_behind_the_command_are_the_commands(tmp_path):
    write_config(tmp_path)
    done = await companion(
        "run", sys.executable, "-c", "import sys; print(sys.argv[1:])", "--config", "x", cwd=tmp_path
    )

    assert done.out == "['--config', 'x']\n"


async def test_with_passthrough_the_users_own_token_stays(tmp_path):
    write_config(tmp_path, endpoint("a", "http://127.0.0.1:1", auth={"type": "passthrough"}))
    done = await run_python(tmp_path, ENVIRON, ANTHROPIC_AUTH_TOKEN="my-own")

    assert json.loads(done.out)["ANTHROPIC_AUTH_TOKEN"] == "my-own"


async def test_a_first_run_writes_the_configuration_and_says_so(tmp_path):
    done = await run_python(tmp_path, ENVIRON)

    (path,) = tmp_path.rglob("config.yaml")
    assert done.code == 0
    assert str(path) in done.err


async def test_a_bad_configuration_starts_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("server: {port: many}\n")
    done = await run_python(tmp_path, ENVIRON)

    assert (done.code, done.out) == (2, "")


async def test_a_proxy_that_does_not_start_is_told(tmp_path):
    write_config(tmp_path, logging={"file": "missing/companion.log"})
    done = await run_python(tmp_path, ENVIRON)

    assert (done.code, done.out) == (2, "")
    assert "missing/companion.log cannot be written" in done.err


async def test_a_folder_of_the_same_name_is_not_the_proxy(tmp_path):
    write_config(tmp_path)
    package = tmp_path / "companion"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('the wrong one')")
    code = "import sys; sys.path.remove(''); from companion.cli import main; main()"
    child = (sys.executable, "-P", "-c", ASK)
    done = await command(sys.executable, "-c", code, "run", "--", *child, cwd=tmp_path)

    assert done.out == "200\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
async def test_sigterm_goes_to_the_command_and_the_proxy_ends_with_it(tmp_path):
    write_config(tmp_path)
    code = "import os, signal; print(os.environ['ANTHROPIC_BASE_URL'], flush=True); signal.pause()"
    async with started(*COMMAND, "run", "--", sys.executable, "-c", code, cwd=tmp_path) as process:
        url = await told(process)
        process.send_signal(signal.SIGTERM)
        await ended(process)

    assert process.returncode == 128 + signal.SIGTERM
    with pytest.raises(ConnectionError):
        await message(url)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
async def test_the_proxy_ends_even_when_run_is_killed(tmp_path):
    write_config(tmp_path)
    code = "import os, sys; print(os.environ['ANTHROPIC_BASE_URL'], flush=True); sys.stdin.read()"
    async with started(*COMMAND, "run", "--", sys.executable, "-c", code, cwd=tmp_path) as process:
        url = await told(process)
        assert (await message(url)).status == 503
        process.kill()
        await ended(process)

    async with asyncio.timeout(60):
        while await answers(url):  # noqa: ASYNC110 - another process ends, of which nobody tells
            await asyncio.sleep(0.02)
