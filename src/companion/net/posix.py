"""What POSIX has and Windows does not, or has in another way: signals, sessions, uvloop, private files."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import Popen
from typing import Final

if sys.platform == "win32":
    from subprocess import CREATE_NEW_PROCESS_GROUP as _APART
else:
    _APART = 0

MANY_FILES: Final = 16_384
STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest that there is for this system."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    else:  # noqa: RET505 - mypy knows only so which of the two is for which system
        import uvloop  # noqa: PLC0415 - whoever only reads the configuration comes by here without a loop

        return uvloop.new_event_loop()


def on_stopping(loop: asyncio.AbstractEventLoop, heard: Callable[[signal.Signals], None]) -> None:
    """Call `heard` on the loop for every SIGTERM and SIGINT, instead of ending the process."""
    for number in STOPPING:
        if sys.platform == "win32":
            signal.signal(number, lambda got, _: loop.call_soon_threadsafe(heard, signal.Signals(got)) and None)
        else:
            loop.add_signal_handler(number, heard, number)


def stopping_ends_the_process(loop: asyncio.AbstractEventLoop) -> None:
    """The next SIGTERM or SIGINT is not heard any more: it kills."""
    for number in STOPPING:
        if sys.platform != "win32":
            loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)


def forward_signals(child: "Popen[bytes]") -> None:
    """SIGTERM and SIGHUP go on to the child. SIGINT we only survive: the terminal gives it to the child as well."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, lambda number, _: child.send_signal(number))


def start(
    command: list[str], *, environ: Mapping[str, str] | None = None, apart: bool = False, pipe: int | None = None
) -> "Popen[bytes]":
    """Start a process. With `apart` the terminal's Ctrl-C does not reach it; `pipe` is for its stdin and stdout."""
    return Popen(  # noqa: S603 - the user's own command, or ourselves
        command,
        env=environ,
        stdin=pipe,
        stdout=pipe,
        creationflags=_APART if apart else 0,
        start_new_session=apart,
    )


def open_private(path: Path) -> int:
    """Open for appending; a file that is new belongs to its owner alone (0600). Returns the descriptor."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def only_holder(path: Path) -> tuple[int, bool]:
    """Take part in holding a file, until the descriptor that this returns is closed; and whether nobody else does.

    On Windows only the first is known to hold it.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - only Windows has it

        try:
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        except OSError:
            return held, False
        return held, True
    else:  # noqa: RET505 - after a return, mypy takes what only the other system has for unreachable
        import fcntl  # noqa: PLC0415 - only POSIX has it

        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        fcntl.flock(held, fcntl.LOCK_SH)
        return held, alone


def hold_alone(path: Path) -> int | None:
    """Hold a file until the descriptor that this returns is closed; None while somebody else holds it."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - only Windows has it

            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415 - only POSIX has it

            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return None
    return held


def give_to(held: int, owner: os.stat_result) -> None:
    """Let an open file belong to whom another one belongs, as far as we may."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.fchown(held, owner.st_uid, owner.st_gid)


# glibc's names for them, and what they are set to.
_TRIM_THRESHOLD: Final = (-1, 32 * 1024 * 1024)
_TOP_PAD: Final = (-2, 1024 * 1024)
_MMAP_THRESHOLD: Final = (-3, 4 * 1024 * 1024)


def keep_freed_memory() -> bool:
    """Let glibc keep the pages of bodies that come and go, instead of giving them back and asking for them again.

    That is a tenth of what a request with a 150 KB body costs. Returns whether this is glibc.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            taken = [mallopt(*option) for option in (_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD)]
            return all(taken)
    return False


def allow_many_files() -> None:
    """Raise the soft limit of open files, often 1024, as far as the system lets us: each connection is one."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - only POSIX has it

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
