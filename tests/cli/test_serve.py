import asyncio
import errno
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from companion.cli.serve import cannot_listen
from companion.config.models import ServerSettings
from companion.simulator import Simulator
from companion.simulator.replies import hang
from tests.cli.process import COMMAND, companion, ended, endpoint, serving, started, told, write_config
from tests.proxy.test_tls import Authority
from tests.support.http import Connection, ask, message

BODY = json.dumps(
    {"model": "m", "max_tokens": 10, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
).encode()
JSON = {"Content-Type": "application/json"}


async def upstream_asked(upstream: Simulator) -> None:
    async with asyncio.timeout(10):
        while not upstream.ledger:  # noqa: ASYNC110 - the simulator keeps a list, not an event
            await asyncio.sleep(0.01)


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


async def test_the_first_run_writes_a_commented_configuration_and_says_what_to_set(tmp_path):
    async with serving(tmp_path, "--port", "0") as proxy:
        (path,) = tmp_path.rglob("config.yaml")

        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "endpoints:" in path.read_text()
        assert path.read_text().count("#") > 20
        assert str(path) in proxy.greeting
        assert f"{proxy.url}/admin/" in proxy.greeting
        for line in (
            f"export ANTHROPIC_BASE_URL={proxy.url}",
            "export ANTHROPIC_AUTH_TOKEN=companion",
            "export API_TIMEOUT_MS=600000",
            "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
            "model discovery",
            "There is no endpoint yet",
        ):
            assert line in proxy.greeting


async def test_without_an_endpoint_a_request_is_told_where_to_add_one(tmp_path):
    async with serving(tmp_path, "--port", "0") as proxy:
        (path,) = tmp_path.rglob("config.yaml")
        answer = await message(proxy.url)

    assert answer.status == 503
    assert str(path) in answer.error["message"]


async def test_companion_alone_is_serve(tmp_path):
    write_config(tmp_path)
    async with started(*COMMAND, cwd=tmp_path) as process:
        assert (await told(process)).startswith("Claude Code Companion")
        process.terminate()
        await ended(process)

    assert process.returncode == 0


async def test_a_later_run_names_the_endpoints_and_does_not_repeat_the_lesson(tmp_path):
    path = write_config(tmp_path, endpoint("kimi", "http://127.0.0.1:1"), endpoint("backup", "http://127.0.0.1:2"))
    before = path.read_bytes()
    async with serving(tmp_path) as proxy:
        assert "Endpoints: kimi, backup." in proxy.greeting
        assert "export" not in proxy.greeting

    assert path.read_bytes() == before


async def test_it_starts_with_a_secret_that_is_missing_and_says_so(tmp_path):
    auth = {"type": "api_key", "values": ["${NO_SUCH_KEY}"]}
    write_config(tmp_path, endpoint("kimi", "http://127.0.0.1:1", auth=auth))
    async with serving(tmp_path) as proxy:
        assert "warning: endpoint kimi is not used: " in proxy.greeting
        assert "NO_SUCH_KEY" in proxy.greeting


async def test_a_port_in_use_names_its_holder_and_a_free_one(tmp_path):
    write_config(tmp_path)
    with listening() as port:
        done = await companion("serve", "--port", str(port), cwd=tmp_path)

    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert f"Port {port} on 127.0.0.1 is held by " in done.err
    assert f"(process {os.getpid()})" in done.err
    assert "is free: companion serve --port" in done.err


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "Permission to listen on port 80 on 127.0.0.1 is denied"),
        (errno.EADDRNOTAVAIL, "Cannot listen on port 80 on 127.0.0.1: cannot assign requested address."),
    ],
)
def test_a_socket_that_is_refused_is_one_sentence_with_the_place_to_mend(number, said):
    error = OSError(number, os.strerror(number))
    sentence = cannot_listen(error, ServerSettings(port=80), "/c.yaml")

    assert sentence.startswith(said)
    assert "/c.yaml" in sentence


async def test_a_bad_configuration_shows_every_problem_on_a_line_of_its_own(tmp_path):
    (tmp_path / "config.yaml").write_text("server: {port: many}\ngate: {hold: nothing}\nendpoint: []\n")
    done = await companion("serve", cwd=tmp_path)

    lines = done.err.splitlines()
    assert done.code == 2
    assert lines[0] == f"{tmp_path / 'config.yaml'} cannot be used:"
    assert len(lines) == 4
    assert all(f"line {number}" in lines[number] for number in (1, 2, 3))


async def test_a_configuration_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "folder").mkdir()
    done = await companion("serve", "--config", "folder", cwd=tmp_path)

    assert done.code == 2
    assert "Traceback" not in done.err
    assert str(tmp_path / "folder") in done.err


async def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    done = await companion("serve", "--config", "file/config.yaml", cwd=tmp_path)

    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "cannot be written: not a directory." in done.err


async def test_a_log_file_that_cannot_be_written_is_one_sentence(tmp_path):
    write_config(tmp_path, logging={"file": "missing/companion.log"})
    done = await companion("serve", cwd=tmp_path)

    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "missing/companion.log cannot be written" in done.err


@pytest.mark.parametrize("option", ["--port=70000", "--port=x", "--log-level=loud", "--nothing"])
async def test_an_option_that_does_not_fit_is_exit_code_2(tmp_path, option):
    done = await companion("serve", option, cwd=tmp_path)

    assert done.code == 2
    assert "Traceback" not in done.err


async def test_an_address_that_others_can_reach_is_refused(tmp_path):
    write_config(tmp_path)
    done = await companion("serve", "--host", "0.0.0.0", cwd=tmp_path)

    assert done.code == 2
    assert len(done.err.splitlines()) <= 2
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_running_stream_finish(tmp_path, number):
    async with Simulator(pace=0.05) as upstream:
        write_config(tmp_path, endpoint("a", upstream.url))
        async with serving(tmp_path) as proxy, Connection(proxy.url) as connection:
            await connection.send("POST", "/v1/messages", JSON, BODY)
            answer = await connection.head()
            proxy.signal(number)
            await proxy.logged("stopping")
            with pytest.raises(ConnectionError):
                await ask(proxy.url, "/healthz")
            await connection.rest(answer)
            done = await proxy.ended()

    assert answer.whole
    assert answer.types[-1] == "message_stop"
    assert done.code == 0
    assert "Traceback" not in done.err


async def test_a_second_signal_ends_at_once(tmp_path):
    async with Simulator() as upstream:
        upstream.always = hang()
        write_config(tmp_path, endpoint("a", upstream.url), server={"drain": "1h"})
        async with serving(tmp_path) as proxy, Connection(proxy.url) as connection:
            await connection.send("POST", "/v1/messages", JSON, BODY)
            await upstream_asked(upstream)
            proxy.signal(signal.SIGTERM)
            await proxy.logged("stopping")
            proxy.signal(signal.SIGTERM)
            done = await proxy.ended()

    assert done.code == 128 + signal.SIGTERM
    assert "Traceback" not in done.err


async def test_the_log_level_of_the_file_is_live(tmp_path):
    write_config(tmp_path, endpoint("a", "http://127.0.0.1:1"), logging={"level": "error"})
    async with serving(tmp_path) as proxy:
        write_config(tmp_path, endpoint("a", "http://127.0.0.1:1"), logging={"level": "info"})
        seen = asyncio.create_task(proxy.logged("exchange"))
        while not seen.done():
            await ask(proxy.url, "/v1/messages", {"model": "m"})
            await asyncio.sleep(0.05)
        assert "rejected" in await seen


async def test_the_log_level_of_the_command_line_outlives_a_change_of_the_file(tmp_path):
    write_config(tmp_path, logging={"level": "info"})
    async with serving(tmp_path, "--log-level", "error") as proxy:
        write_config(tmp_path, server={"port": 8099}, logging={"level": "info"})
        (tmp_path / "config.yaml").write_text("server: {port: many}\n")
        await proxy.logged("config_problem")
        proxy.signal(signal.SIGTERM)
        done = await proxy.ended()

    assert "[info]" not in done.err


async def test_what_needs_a_restart_is_said(tmp_path):
    tls = {name: str(path) for name, path in Authority(tmp_path).issue().items()}
    write_config(tmp_path)
    async with serving(tmp_path) as proxy:
        write_config(tmp_path, server={"port": 8099, "tls": tls}, logging={"format": "json"})

        assert "server.port, logging.format, server.tls" in await proxy.logged("restart_needed")


async def test_a_mistake_in_the_file_changes_nothing_and_is_logged(tmp_path):
    path = write_config(tmp_path)
    async with serving(tmp_path) as proxy:
        path.write_text("server: {port: many}\n")

        assert "line 1" in await proxy.logged("config_problem")
        assert (await ask(proxy.url, "/healthz")).status == 200


async def test_secrets_are_not_logged(tmp_path):
    secret = "sk-very-secret-0123456789"
    async with Simulator() as upstream:
        auth = {"type": "api_key", "values": [secret]}
        write_config(tmp_path, endpoint("a", upstream.url, auth=auth), logging={"level": "debug"})
        async with serving(tmp_path) as proxy:
            answer = await message(proxy.url)
            line = await proxy.logged("exchange")
            proxy.signal(signal.SIGTERM)
            rest = await proxy.ended()

    assert answer.status == 200
    assert secret.encode() in dict(upstream.ledger[0].headers).get(b"x-api-key", b"") or secret in str(upstream.ledger)
    assert secret not in line + rest.err + proxy.greeting
    assert "the-clients-own" not in line + rest.err


async def test_attached_it_prints_its_address_alone_and_ends_with_its_stdin(tmp_path):
    write_config(tmp_path)
    done = await companion("serve", "--attached", "--port", "0", cwd=tmp_path, stdin=b"")

    assert done.code == 0
    assert done.out.startswith("http://127.0.0.1:")
    assert len(done.out.splitlines()) == 1
    assert done.err == ""


async def test_attached_it_logs_into_the_file_only(tmp_path):
    write_config(tmp_path, logging={"file": "companion.log"})
    log = tmp_path / "companion.log"
    done = await companion("serve", "--attached", "--port", "0", cwd=tmp_path, stdin=b"")

    assert done.err == ""
    assert "stopped" in log.read_text()
