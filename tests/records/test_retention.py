"""Old and too much goes, the oldest first, and the disk gets its space back while recording goes on."""

import os
import sqlite3
from contextlib import closing

from companion.clock import FakeClock
from companion.net import ulid
from companion.records.retention import oldest_kept
from companion.records.store import Store
from companion.records.views import Part
from tests.records.news import CLOCK, Conversation, recording, until

MIB = 1024 * 1024
LONG_AGO = -20_000_000.0


def test_the_smallest_id_of_a_time_is_below_every_id_of_it():
    clock = FakeClock(123.456)
    made = ulid.new(clock)

    assert oldest_kept(clock.wall()) <= made < oldest_kept(clock.wall() + 0.001)


def test_what_is_too_old_goes_whole_and_nothing_else(tmp_path):
    talk = Conversation()
    with recording(tmp_path, keep="365d") as made:
        old = [
            made.tell(body, id=ulid.new(FakeClock(LONG_AGO + number))) for number, body in enumerate([talk.turn()] * 40)
        ]
        new = made.tell(body := talk.turn())
        made.recorder.close()

    store = Store.open("sqlite:///companion.db", tmp_path)
    while store.retention.step(CLOCK.wall() - 3600, 1 << 40, CLOCK.monotonic):
        pass
    store.close()
    with closing(sqlite3.connect(made.path)) as connection:
        for table, column in (("exchanges", "id"), ("attempts", "exchange_id"), ("contents", "exchange_id")):
            assert connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall() == [(new,)]
    with recording(tmp_path) as made:
        records = made.read()
    assert records.bytes_of(new, Part.REQUEST_BODY) == body
    assert records.list_exchanges().items[0].id == new
    assert all(records.body(id, Part.REQUEST_BODY) is None for id in old)


def test_too_much_loses_its_oldest_contents_and_keeps_its_rows(tmp_path):
    with recording(tmp_path, max_size="16MiB") as made:
        ids = []
        for _ in range(400):
            ids.append(made.tell(os.urandom(150_000)))
            until(lambda: made.recorder.stats.queued_bytes < 8 * MIB)
        until(lambda: made.size() <= 16 * MIB)
        records = made.read()

    assert made.size() <= 16 * MIB
    assert len(records.list_exchanges(limit=1000).items) == 400
    there = [records.body(id, Part.REQUEST_BODY) is not None for id in ids]
    assert there == sorted(there)
    assert 20 < sum(there) < 120


def test_rows_go_when_nothing_else_is_left(tmp_path):
    with recording(tmp_path) as made:
        ids = [made.tell(b"x") for _ in range(300)]
        made.recorder.close()

    store = Store.open("sqlite:///companion.db", tmp_path)
    limit = 2 * (store.retention.size() // 2)
    while store.retention.step(0.0, limit // 2, CLOCK.monotonic):
        pass
    left = [id for (id,) in store._connection.execute("SELECT id FROM exchanges ORDER BY id")]
    store.close()
    assert left == ids[len(ids) - len(left) :]
    assert len(left) < 300


def test_a_step_takes_a_moment(tmp_path):
    with recording(tmp_path) as made:
        for _ in range(300):
            made.tell(os.urandom(20_000))
        made.recorder.close()

    store = Store.open("sqlite:///companion.db", tmp_path)
    steps = 1
    while store.retention.step(CLOCK.wall(), 1 << 40, CLOCK.monotonic):
        steps += 1
    store.close()
    assert steps > 1
