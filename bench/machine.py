"""What /proc knows: processor time and memory of a process and its children, who holds a port, what machine this is."""

import mmap
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
LOAD_CORE: Final = 0
PROXY_CORE: Final = 1


class BenchError(Exception):
    """The benchmark cannot go on; the text says why. `code` is the exit code."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


def usable() -> bool:
    """Whether this is Linux, and both cores may be used."""
    return {LOAD_CORE, PROXY_CORE} <= _cores()


def _cores() -> set[int]:
    cores: set[int] = set()
    if sys.platform == "linux":
        cores = os.sched_getaffinity(0)
    return cores


def _pin(cores: set[int]) -> None:
    if sys.platform == "linux":
        os.sched_setaffinity(0, cores)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on that core for its whole life; this process itself goes back to where it was."""
    before = _cores()
    _pin({core})
    try:
        yield
    finally:
        _pin(before)


def end_group(pid: int, *, kill: bool) -> None:
    """Ask a process group to end, or kill it. One that is gone is fine."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL if kill else signal.SIGTERM)


def family(pid: int) -> Iterator[int]:
    """A process and all its living descendants."""
    yield pid
    for task in _tasks(pid):
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, its threads and its descendants so far."""
    return sum(_run_time(task) for member in family(pid) for task in _tasks(member)) / 1e9


def _tasks(pid: int) -> list[Path]:
    return list((PROC / str(pid) / "task").iterdir())


def _run_time(task: Path) -> int:
    return int((task / "schedstat").read_text().split()[0])


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its descendants; what they share counts once for each."""
    pages = sum(int((PROC / str(member) / "statm").read_text().split()[1]) for member in family(pid))
    return pages * mmap.PAGESIZE / 1e6


def refuse_busy_port(port: int) -> None:
    """A forgotten proxy that listens with SO_REUSEPORT would take half of the connections unseen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            raise BenchError(f"port {port} is not free ({_holder(port)}): {error.strerror}", code=2) from None


def refuse_leftovers(folder: Path) -> None:
    """What another or a killed benchmark has running would be measured too; all that we start lives in `folder`."""
    left = [entry.name for entry in _processes() if _link(entry / "cwd").startswith(str(folder))]
    if left:
        raise BenchError(f"a benchmark still runs, or what it left behind: process {', '.join(left)}", code=2)


def _processes() -> Iterator[Path]:
    return (entry for entry in PROC.iterdir() if entry.name.isdigit())


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _holder(port: int) -> str:
    listening = re.compile(rf"^ *\d+: \w+:{port:04X} \w+:0000 0A (?:\S+ +){{5}}(\d+)", re.MULTILINE)
    table = (PROC / "net/tcp").read_text() + (PROC / "net/tcp6").read_text()
    sockets = {f"socket:[{inode}]" for inode in listening.findall(table)}
    for entry in _processes():
        try:
            if sockets & {_link(handle) for handle in (entry / "fd").iterdir()}:
                return f"process {entry.name}: {(entry / 'cmdline').read_text().replace(chr(0), ' ').strip()}"
        except OSError:
            continue
    return "its holder is not ours to see"


def facts() -> dict[str, str | int]:
    """What somebody who compares figures wants to know of this machine."""
    model = re.search(r"model name\s*: (.*)", (PROC / "cpuinfo").read_text())
    memory = re.search(r"MemTotal: +(\d+) kB", (PROC / "meminfo").read_text())
    return {
        "processor": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(int(memory.group(1)) / 1e6) if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def first_line_of(*command: str) -> str:
    """What a program says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout + done.stderr).strip().partition("\n")[0]
