"""Lines on their way out of the process, over a bounded queue and one thread.

Whoever logs never waits: a line is put into the queue or, when the reader of the log is slower than the proxy, counted
and dropped. The thread writes what has gathered in one call, and says afterwards how many lines are missing.
"""

import os
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import structlog

from companion.net.posix import open_private

LIMIT: Final = 4096
# Waking this thread costs the event loop more than a line does; so it takes many lines at a time.
GATHER: Final = 0.02
_STDERR: Final = 2

_log = structlog.get_logger("companion.log")


class Writer:
    """Writes lines to a file, or to stderr when `path` is None. Raises OSError when the file cannot be opened.

    `dropped` counts the lines that were lost: the queue was full, or the file could not be written.
    """

    def __init__(self, path: Path | None = None, limit: int = LIMIT) -> None:
        self.dropped = 0
        self._told = 0
        self._limit = limit
        self._path = path
        self._file = _STDERR if path is None else open_private(path)
        self._counting = threading.Lock()
        self._own: list[str] = []
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="companion-log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue one line, without its line end. Never waits."""
        if threading.get_ident() == self._thread.ident:
            self._own.append(line)
        elif self._lines.qsize() < self._limit:
            self._lines.put(line)
        else:
            self._lost(1)

    def close(self, seconds: float = 2.0) -> None:
        """Write what is queued, for at most that long, and end. Lines that are put later are lost without a count."""
        self._lines.put(None)
        self._thread.join(seconds)

    def _lost(self, lines: int) -> None:
        with self._counting:
            self.dropped += lines

    def _work(self) -> None:
        more = True
        while more:
            lines, more = self._gathered()
            self._write(lines)
            if self.dropped > self._told:
                lost, self._told = self.dropped - self._told, self.dropped
                # It comes back by put, and would be lost in a queue that is still full.
                _log.warning("log_lines_dropped", lines=lost)
                self._write(self._own)
                self._own.clear()
        if self._file != _STDERR:
            os.close(self._file)

    def _gathered(self) -> tuple[list[str], bool]:
        """All lines that are there, at least one; and whether more may come."""
        lines: list[str] = []
        line = self._lines.get()
        time.sleep(GATHER)
        while line is not None and len(lines) < self._limit:
            lines.append(line)
            try:
                line = self._lines.get_nowait()
            except Empty:
                return lines, True
        return lines, line is not None

    def _write(self, lines: list[str]) -> None:
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        try:
            self._follow_the_name()
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self._lost(len(lines))

    def _follow_the_name(self) -> None:
        """A file that was moved away (logrotate) is left, and one with the old name begun."""
        if self._path is None:
            return
        try:
            if os.path.samestat(self._path.stat(), os.fstat(self._file)):
                return
        except FileNotFoundError:
            pass
        fresh = open_private(self._path)
        os.close(self._file)
        self._file = fresh
