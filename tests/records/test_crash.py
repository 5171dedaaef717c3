"""kill -9 at any moment loses at most what the thread had not written yet, and never breaks the store."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from companion.records.views import Part
from tests.records.news import Conversation, Read, recording, until

ROOT = Path(__file__).parent.parent.parent
TOLD_EACH = 7
"""News of one exchange, its two tapes included."""

CODE = """
import sys, pathlib, time
from tests.records.news import Conversation, recording
talk = Conversation(size=300)
with recording(pathlib.Path(sys.argv[1])) as made:
    while True:
        body = talk.turn()
        print(made.tell(body, answer=[b"a" * 400, b"b" * 400]), len(body), made.recorder.stats.written, flush=True)
        time.sleep(0.003)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize("round", range(4))
def test_a_kill_loses_at_most_the_last_batch(tmp_path, round):
    child = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.1 + random.Random(round).random() * 0.5)
    child.kill()
    told = [line.split() for line in child.stdout.read().splitlines() if line.count(" ") == 2]
    child.wait()
    child.stdout.close()
    if not (tmp_path / "companion.db").exists():
        return

    with closing(sqlite3.connect(tmp_path / "companion.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with recording(tmp_path) as made:
        id = made.tell(b"afterwards")
        records = made.read()
    assert records.bytes_of(id, Part.REQUEST_BODY) == b"afterwards"
    written = int(told[-1][2]) if told else 0
    # The first line was read before.
    complete_and_whole(records, told[: max(0, written // TOLD_EACH - 1)])


def complete_and_whole(records: Read, told: list[list[str]]) -> None:
    """All that was written before the kill is there; what came later may be."""
    talk = Conversation(size=300)
    talk.turn()
    for id, size, _ in told:
        body = talk.turn()
        assert len(body) == int(size)
        assert records.there(id).exchange.outcome == "complete"
        assert records.bytes_of(id, Part.REQUEST_BODY) == body
        assert records.bytes_of(id, Part.RESPONSE_BODY) == b"a" * 400 + b"b" * 400


def test_until_is_told_of_what_does_not_happen():
    with pytest.raises(AssertionError):
        until(lambda: False, 0.02)
