import signal

import pytest

from tests.cli.process import COMMAND, companion, started, told


async def test_a_newcomer_sees_an_answer_a_failover_and_a_recovery(tmp_path):
    done = await companion("demo", "--once", cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    lines = [line.strip() for line in done.out.splitlines()]
    answers = [line.rpartition("from ")[2].rstrip(")") for line in lines if "reads: Hello" in line]
    assert answers == ["first", "second", "second", "second", "first"]
    circuit = [line for line in lines if line.startswith("circuit")]
    assert "closed -> open" in circuit[0]
    assert "-> closed" in circuit[-1]
    assert list(tmp_path.iterdir()) == []


async def test_a_busy_port_is_said_in_a_sentence(tmp_path):
    async with started(*COMMAND, "demo", cwd=tmp_path) as first:
        await told(first)
        port = (await told(first)).partition(" with")[0].rpartition(":")[2].rstrip(",")
        second = await companion("demo", "--port", port, "--once", cwd=tmp_path)

    assert second.code == 2
    assert f"Port {port} on 127.0.0.1 is held by" in second.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_in_the_middle_of_the_story(tmp_path, number):
    async with started(*COMMAND, "demo", cwd=tmp_path) as process:
        while "asks" not in await told(process):
            pass
        process.send_signal(number)
        await process.communicate()

    assert process.returncode == 0
