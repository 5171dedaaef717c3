import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from companion.observe.writer import Writer


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """The writer is a thread: it gets time, more than it ever needs."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


def named_pipe(path: Path) -> int:
    """A pipe of that name; returns the reader's end."""
    if sys.platform == "win32":
        pytest.skip("there are no named pipes in folders")
    else:
        os.mkfifo(path)
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


@contextmanager
def stuck(folder: Path, limit: int) -> Iterator[tuple[Writer, int]]:
    """A writer whose reader does not read; `read` is the reader's end."""
    path = folder / "pipe"
    read = named_pipe(path)
    writer = Writer(path, limit=limit)
    try:
        yield writer, read
    finally:
        os.close(read)
        writer.close()


def test_lines_are_written_in_order_and_for_the_owner_alone(tmp_path):
    path = tmp_path / "companion.log"
    writer = Writer(path)
    for number in range(1000):
        writer.put(f"line {number}")
    writer.close()

    assert path.read_text().splitlines() == [f"line {number}" for number in range(1000)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert writer.dropped == 0


def test_a_file_that_is_there_is_continued(tmp_path):
    path = tmp_path / "companion.log"
    path.write_text("before\n")
    writer = Writer(path)
    writer.put("after")
    writer.close()

    assert path.read_text() == "before\nafter\n"


def test_a_file_that_cannot_be_opened_is_told_at_once(tmp_path):
    with pytest.raises(OSError):
        Writer(tmp_path / "missing" / "companion.log")


def test_a_reader_that_does_not_read_costs_lines_but_no_time(tmp_path):
    with stuck(tmp_path, limit=10) as (writer, _):
        for _ in range(1000):
            writer.put("x" * 1000)

        # 64 KiB fit into the pipe, ten lines into the queue, ten more are in the writer's hand
        assert writer.dropped > 800
        assert writer._lines.qsize() <= 10


def test_close_does_not_wait_for_ever(tmp_path):
    with stuck(tmp_path, limit=1000) as (writer, _):
        for _ in range(200):
            writer.put("x" * 1000)
        writer.close(seconds=0.05)

        assert writer._thread.is_alive()


def test_a_disk_that_takes_nothing_is_counted_and_ends_nothing():
    writer = Writer(Path("/dev/full"))
    writer.put("lost")
    wait_until(lambda: writer.dropped == 1)
    writer.put("lost too")
    wait_until(lambda: writer.dropped == 2)
    writer.close()


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path):
    path = tmp_path / "companion.log"
    writer = Writer(path)
    writer.put("old")
    wait_until(lambda: path.read_text() == "old\n")
    path.rename(tmp_path / "companion.log.1")
    writer.put("new")
    writer.close()

    assert (tmp_path / "companion.log.1").read_text() == "old\n"
    assert path.read_text() == "new\n"


def test_what_is_no_text_is_written_all_the_same(tmp_path):
    path = tmp_path / "companion.log"
    writer = Writer(path)
    writer.put("half an emoji: \ud83d")
    writer.close()

    assert path.read_text() == "half an emoji: \\ud83d\n"
