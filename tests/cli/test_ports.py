import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from companion.cli import ports


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def free_port() -> int:
    with listening() as port:
        return port


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_holder_of_a_port_is_named(host):
    with listening(host) as port:
        assert ports.holder(port) == f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"


def test_nobody_holds_a_free_port():
    assert ports.holder(free_port()) is None


@pytest.mark.skipif(shutil.which("lsof") is None, reason="lsof is not installed")
def test_lsof_tells_the_same():
    with listening() as port:
        found = ports.by_lsof(port)

    assert found is not None
    assert found[0] == os.getpid()


@pytest.mark.skipif(shutil.which("lsof") is None, reason="lsof is not installed")
def test_lsof_knows_of_nobody_either():
    assert ports.by_lsof(free_port()) is None


def test_without_lsof_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with listening() as port:
        assert ports.by_lsof(port) is None


def test_the_next_free_port_passes_over_those_in_use():
    with listening() as first:
        free = ports.next_free("127.0.0.1", first - 1)

    assert free is not None
    assert free > first


def test_a_host_that_is_not_here_has_no_free_port():
    assert ports.next_free("192.0.2.1", 8080) is None


def test_above_the_last_port_there_is_none():
    assert ports.next_free("127.0.0.1", 65535) is None
