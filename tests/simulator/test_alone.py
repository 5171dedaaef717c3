"""`python -m companion.simulator`, as a process."""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme

from companion.simulator.__main__ import listing, main
from companion.simulator.faults import FAULTS
from companion.simulator.scripts import SCRIPTS
from tests.support.http import ask, message


class Alone:
    """The process, its address, and what it wrote once it has ended."""

    def __init__(self, process: asyncio.subprocess.Process, first: str) -> None:
        self.process = process
        self.url = first.removeprefix("simulator listening on ").strip()
        self.out = self.err = b""


@asynccontextmanager
async def alone(*arguments: str) -> AsyncIterator[Alone]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "companion.simulator",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    alone = Alone(process, (await process.stdout.readline()).decode())
    try:
        yield alone
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        alone.out, alone.err = await process.communicate()
        assert process.returncode == 0


async def test_it_answers_and_writes_its_ledger_to_stdout():
    async with alone("--fault", "status:529", "--times", "2", "--pace", "1ms") as sim:
        statuses = [(await message(sim.url, "[[script:parallel]]")).status for _ in range(3)]
        served = (await ask(sim.url, "/__ledger")).json

    lines = [json.loads(line) for line in sim.out.splitlines()]
    assert statuses == [529, 529, 200]
    assert [line["reply"] for line in lines] == ["status:529", "status:529", "answer"]
    assert [line["sha256"] for line in lines] == [line["sha256"] for line in served]
    assert sim.err == b""


async def test_it_writes_its_ledger_to_a_file(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text('{"earlier": true}\n')
    async with alone("--ledger", str(ledger), "--script", "long deltas=3") as sim:
        answer = await message(sim.url)

    assert answer.text == "w0000 w0001 w0002"
    assert sim.out == b""
    assert [json.loads(line).get("reply") for line in ledger.read_text().splitlines()] == [None, "answer"]


async def test_a_fault_holds_for_ever_unless_told_otherwise():
    async with alone("--fault", "status:500") as sim:
        assert [(await message(sim.url)).status for _ in range(3)] == [500] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not a signal that can be sent there")
async def test_ctrl_c_ends_it_too():
    async with alone() as sim:
        sim.process.send_signal(signal.SIGINT)
        assert await sim.process.wait() == 0


async def test_it_speaks_tls(tmp_path):
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with alone("--tls-cert", str(certificate)) as sim:
        port = int(sim.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        writer.write(b"GET /api/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 200 ")
        writer.close()


def test_it_lists_all_faults_and_scripts(capsys):
    assert main(["--list"]) == 0

    listed = {line.split()[0].split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert listed == {*FAULTS, *SCRIPTS}
    assert listing().count("\n") == len(FAULTS) + len(SCRIPTS) + 2


@pytest.mark.parametrize("wrong", [["--fault", "nothing"], ["--pace", "soon"], ["--port", "x"]])
def test_wrong_words_are_exit_code_2(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(wrong)

    assert caught.value.code == 2
    assert "error: argument" in capsys.readouterr().err


async def test_a_busy_port_and_a_missing_file_are_exit_code_2(capsys, tmp_path):
    async with alone() as sim:
        port = sim.url.rpartition(":")[2]
        assert await asyncio.to_thread(_exit_code, "--port", port) == 2
    assert _exit_code("--tls-cert", str(tmp_path / "none.pem")) == 2
    assert _exit_code("--ledger", str(tmp_path / "no" / "where")) == 2


def _exit_code(*arguments: str) -> int:
    command = [sys.executable, "-m", "companion.simulator", *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode
