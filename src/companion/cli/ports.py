"""A port that is taken: who has it, and which one is free."""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"


def holder(port: int) -> str | None:
    """`name (process 123)` of whoever listens on this TCP port, or None when it cannot be found out."""
    found = _by_proc(port) if sys.platform == "linux" else by_lsof(port)
    return None if found is None else f"{found[1]} (process {found[0]})"


def next_free(host: str, port: int) -> int | None:
    """The first port after this one that can be bound, within a hundred."""
    for candidate in range(port + 1, min(port + 100, 65535) + 1):
        if _is_free(host, candidate):
            return candidate
    return None


def _is_free(host: str, port: int) -> bool:
    try:
        with contextlib.ExitStack() as stack:
            for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                listener = stack.enter_context(socket.socket(family, kind, protocol))
                if sys.platform != "win32":
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
                listener.listen(1)
    except OSError:
        return False
    return True


def _by_proc(port: int) -> tuple[int, str] | None:
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and sockets & set(_open_files(process)):
            return int(process.name), (process / "comm").read_text().strip()
    return None


def _inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with contextlib.suppress(OSError):
            for row in table.read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _open_files(process: Path) -> Iterator[str]:
    # Other users' processes cannot be looked into, and any process may end while we look.
    with contextlib.suppress(OSError):
        for file in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(file.readlink())


def by_lsof(port: int) -> tuple[int, str] | None:
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    command = [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)  # noqa: S603 - ours alone
    fields = {line[0]: line[1:] for line in reversed(listed.stdout.splitlines()) if line}
    return (int(fields["p"]), fields["c"]) if {"p", "c"} <= fields.keys() else None
