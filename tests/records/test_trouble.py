"""A store that cannot be written, is damaged, or belongs to somebody else: exchanges flow on, and it is told."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from companion.events import Events
from companion.records import database, worker
from companion.records.database import StoreError
from companion.records.store import Store
from companion.records.tape import PART, Tape
from companion.records.views import Part
from tests.records.news import CLOCK, Conversation, Read, exchange, recording, until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(worker, "RETRY", 0.05)
    monkeypatch.setattr(database, "BUSY", 0.05)


@pytest.mark.usefixtures("impatient")
def test_while_another_process_holds_the_lock_rows_wait_and_are_written_afterwards(tmp_path):
    with capture_logs() as told, recording(tmp_path) as made:
        first = made.tell(b"x" * 99)
        until(lambda: made.recorder.stats.written)
        with closing(sqlite3.connect(made.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made.tell(b"y" * 99)
            until(lambda: made.recorder.stats.failing)
            locked = made.tell(b"z" * 99, answer=[b"abc", b"def"])
            assert "locked" in str(made.recorder.stats.failing)
            other.execute("ROLLBACK")
        until(lambda: made.recorder.stats.failing is None)
        after = made.tell(b"last")
        records = made.read()

    rows = [records.there(id).exchange for id in (first, locked, after)]
    assert [(row.outcome, row.request_bytes) for row in rows] == [("complete", 99), ("complete", 99), ("complete", 4)]
    assert rows[1].response_bytes == 6
    assert records.bytes_of(after, Part.REQUEST_BODY) == b"last"
    events = [each["event"] for each in told]
    assert events.count("records_failing") == events.count("records_written_again") == 1
    assert events.count("records_drop_bodies") == events.count("records_keep_bodies") == 1


def test_a_batch_that_does_not_fit_is_not_written_at_all_and_fits_when_there_is_room(tmp_path):
    with recording(tmp_path) as made:
        made.tell()
        made.read()
    heard: list[object] = []
    with recording(tmp_path) as made:
        made.recorder.close()
        for kind in worker_kinds():
            made.events.subscribe(kind, heard.append)
        id = made.tell(Conversation().turn())

    store = Store.open("sqlite:///companion.db", tmp_path)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write(heard, 0.0)
    assert store._connection.execute("SELECT count(*) FROM exchanges WHERE id = ?", (id,)).fetchone() == (0,)

    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.write(heard, 0.0)
    assert store._connection.execute("SELECT outcome FROM exchanges WHERE id = ?", (id,)).fetchone() == ("complete",)
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_what_did_not_fit_is_written_as_if_it_were_tried_for_the_first_time(tmp_path):
    events = Events()
    heard: list[object] = []
    for kind in worker_kinds():
        events.subscribe(kind, heard.append)
    id = exchange(events)
    answer = os.urandom(3 * PART)
    tapes = [Tape(id, attempt, heard.append, CLOCK.monotonic) for attempt in (1, 0)]
    store = Store.open("sqlite:///companion.db", tmp_path)
    store.write(heard[:3], 0.0)
    for tape in tapes:
        tape.add(answer[:PART])
        tape.add(answer[PART:])
        tape.end()
    store._connection.execute(f"PRAGMA max_page_count = {store.retention.size() // 4096}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write(heard[3:], 0.0)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.write(heard[3:], 0.0)
    store.close()

    records = Read(tmp_path / "companion.db")
    detail = records.there(id)
    assert detail.exchange.outcome == "complete"
    assert detail.exchange.response_bytes == detail.attempts[0].received_bytes == len(answer)
    assert records.bytes_of(id, Part.RESPONSE_BODY) == records.bytes_of(id, Part.RESPONSE_BODY, 1) == answer


def worker_kinds() -> list[type]:
    from companion.events import AttemptEnded, AttemptStarted, ExchangePlanned, ExchangeSettled, ExchangeStarted

    return [ExchangeStarted, ExchangePlanned, AttemptStarted, AttemptEnded, ExchangeSettled]


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX limits the size of files")
def test_on_a_full_disk_exchanges_flow_on_and_records_go_on_when_there_is_room(tmp_path):
    code = textwrap.dedent(
        """
        import os, pathlib, resource, sys
        from companion.records import worker
        from tests.records.news import recording, until
        worker.RETRY = 0.05
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        with recording(pathlib.Path(sys.argv[1])) as made:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
            told = [made.tell(os.urandom(200_000)) for _ in range(20)]
            until(lambda: made.recorder.stats.failing)
            told += [made.tell(os.urandom(200_000)) for _ in range(5)]
            dropped = made.recorder.stats.bodies_dropped
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            until(lambda: made.recorder.stats.failing is None)
            last = os.urandom(200_000)
            told.append(made.tell(last))
            records = made.read()
        from companion.records.views import Part
        assert dropped >= 10, dropped
        assert [records.there(id).exchange.outcome for id in told] == ["complete"] * 26
        assert records.bytes_of(told[-1], Part.REQUEST_BODY) == last
        """
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("how", ["in the middle", "at the start", "no database at all"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path, how):
    with recording(tmp_path) as made:
        for _ in range(20):
            made.tell(Conversation().turn())
        made.recorder.close()
    size = made.path.stat().st_size
    with made.path.open("r+b") as file:
        file.seek({"in the middle": 4096, "at the start": 0, "no database at all": 0}[how])
        file.write(b"\xa5" * (size - 8192 if how == "in the middle" else 4096))
        if how == "no database at all":
            file.truncate(100)

    with capture_logs() as told, recording(tmp_path) as made:
        id = made.tell(b"after")
        records = made.read()
        aside = made.recorder.stats.set_aside or told[0]["set_aside"]

    assert records.bytes_of(id, Part.REQUEST_BODY) == b"after"
    assert [each["event"] for each in told] == ["records_damaged"]
    assert Path(aside).stat().st_size > 0
    assert Path(aside).name.startswith("companion.db.damaged-")


@pytest.mark.usefixtures("impatient")
@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
def test_a_file_that_breaks_while_it_is_written_is_set_aside_too(tmp_path):
    with capture_logs() as told, recording(tmp_path) as made:
        made.tell(Conversation().turn())
        until(lambda: made.recorder.stats.written)
        with closing(sqlite3.connect(made.path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with made.path.open("r+b") as file:
            file.write(b"\xa5" * made.path.stat().st_size)
        until(lambda: made.tell(b"x" * 99) and made.recorder.stats.set_aside)
        until(lambda: made.recorder.stats.failing is None)
        id = made.tell(b"afterwards")
        records = made.read()

    assert records.bytes_of(id, Part.REQUEST_BODY) == b"afterwards"
    assert "records_damaged" in [each["event"] for each in told]


def test_a_database_of_another_program_is_left_alone(tmp_path):
    with closing(sqlite3.connect(tmp_path / "companion.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "companion.db").read_bytes()

    with pytest.raises(StoreError, match="another program"):
        Store.open("sqlite:///companion.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "companion.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    assert len(before) > 0


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    with recording(tmp_path) as made:
        made.tell()
        made.recorder.close()
    with closing(sqlite3.connect(made.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match="newer version"):
        Store.open("sqlite:///companion.db", tmp_path)
