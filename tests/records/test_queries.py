"""Lists go by key in both directions, filters hold together, and details are whole."""

import io
import json
import sqlite3
import zipfile
from contextlib import closing

import pytest

from companion.clock import FakeClock
from companion.net import ulid
from companion.records.database import StoreError
from companion.records.delete import delete_ids, delete_older
from companion.records.export import export
from companion.records.lists import walk
from companion.records.queries import Records
from companion.records.views import Filters, Part
from tests.records.news import Read, recording

NOW = 1_800_000_000.0
ENDPOINTS = ("kimi", "glm")
OUTCOMES = ("complete", "error", "failed over", "truncated", "repaired")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sixty exchanges, a second apart."""
    ids = [ulid.new(FakeClock(float(number))) for number in range(60)]
    with recording(tmp_path_factory.mktemp("store")) as made:
        for number, id in enumerate(ids):
            made.tell(
                id=id,
                endpoint=ENDPOINTS[number % 2],
                model=f"m{number % 3}",
                session=f"s{number // 10}",
                client=None if number % 4 else "ann",
                outcome=OUTCOMES[number % 5],
                status=529 if number % 5 == 1 else 200,
                settle=number != 57,
            )
        yield made.read(), ids


def listed(records: Records, *, limit: int = 50, after: str | None = None, before: str | None = None, **filters):
    page = records.list_exchanges(Filters(**filters), limit=limit, after=after, before=before)
    return [row.id for row in page.items]


def walked(records: Records, **filters):
    """All that pages of seven lead to, forwards; checks that they lead back as well."""
    found, page = [], records.list_exchanges(Filters(**filters), limit=7)
    while True:
        found += [row.id for row in page.items]
        if page.next is None:
            break
        page = records.list_exchanges(Filters(**filters), limit=7, after=page.next)
    back = [row.id for row in page.items]
    while page.previous is not None:
        page = records.list_exchanges(Filters(**filters), limit=7, before=page.previous)
        back = [row.id for row in page.items] + back
    assert back == found
    return found


def test_pages_lead_through_all_newest_first_and_back(store):
    records, ids = store
    assert walked(records) == ids[::-1]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"endpoint": "glm"}, lambda n: n % 2 == 1),
        ({"model": "m2"}, lambda n: n % 3 == 2),
        ({"session": "s3"}, lambda n: n // 10 == 3),
        ({"client": "ann"}, lambda n: n % 4 == 0),
        ({"outcomes": ("repaired",)}, lambda n: n % 5 == 4),
        ({"outcomes": ("error", "repaired", "truncated")}, lambda n: n % 5 in {1, 3, 4}),
        ({"status": 529}, lambda n: n % 5 == 1),
        ({"failed": True}, lambda n: n % 5 in {1, 3}),
        ({"failed": True, "endpoint": "kimi", "model": "m0"}, lambda n: n % 5 in {1, 3} and n % 2 == 0 and n % 3 == 0),
        ({"outcomes": ("error",), "status": 529, "client": "ann"}, lambda n: n % 5 == 1 and n % 4 == 0),
        ({"since": NOW + 10, "until": NOW + 20}, lambda n: 10 <= n < 20),
        ({"since": NOW + 10, "endpoint": "kimi", "failed": True}, lambda n: n >= 10 and n % 2 == 0 and n % 5 in {1, 3}),
        ({"endpoint": "nobody", "model": "m0"}, lambda n: False),
    ],
)
def test_filters_hold_all_at_once(store, filters, wanted):
    records, ids = store
    # The one that is under way has no endpoint, outcome or status yet.
    decided = set(filters) & {"endpoint", "outcomes", "status", "failed"}
    expected = [id for n, id in enumerate(ids) if wanted(n) and not (n == 57 and decided)]

    assert walked(records, **filters) == expected[::-1]


def test_what_is_under_way_can_be_asked_for_alone_or_beside_outcomes(store):
    records, ids = store
    assert listed(records, running=True) == [ids[57]]
    assert listed(records, running=True, outcomes=("error",), limit=3) == [ids[57], ids[56], ids[51]]


def test_the_beginning_of_an_id_in_any_case_is_enough(store):
    records, ids = store
    assert listed(records, id=ids[7][:15].lower()) == [ids[7]]
    assert len(listed(records, id=ids[7][:4])) == 50


def plans(records: Records, *asked: Filters) -> list[str]:
    """How the database finds what is asked for, a line for each statement."""
    statements: list[str] = []
    with closing(sqlite3.connect(records.path)) as connection:
        connection.set_trace_callback(statements.append)
        for filters in asked:
            walk(connection, filters, None, None, 50)
        connection.set_trace_callback(None)
        return [str(connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()) for sql in statements]


def test_no_list_scans_or_sorts_the_table(store):
    asked = (
        Filters(endpoint="kimi"),
        Filters(session="s1"),
        Filters(model="m1"),
        Filters(client="ann"),
        Filters(status=529),
        Filters(failed=True),
        Filters(failed=True, endpoint="glm", since=NOW),
        Filters(failed=True, client="ann"),
        Filters(outcomes=("error", "repaired")),
    )
    for plan in plans(store[0], *asked):
        assert "USING" in plan, plan
        assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(endpoint="glm", model="m1"), "exchanges_by_endpoint_and_model (endpoint=? AND model=?)"),
        (Filters(failed=True, endpoint="glm"), "exchanges_failed_by_endpoint (endpoint=?)"),
    ],
)
def test_what_may_be_seldom_together_has_an_index_of_its_own(store, filters, index):
    (plan,) = plans(store[0], filters)
    assert index in plan


def test_an_exchange_that_is_not_there_is_none(store):
    records, _ = store
    assert records.exchange("nothing") is None
    assert records.body("nothing", Part.REQUEST_BODY) is None
    assert records.stream_events("nothing") == []


def test_where_nothing_was_recorded_yet_that_is_said(tmp_path):
    with pytest.raises(StoreError, match="no records"):
        Records.open("sqlite:///companion.db", tmp_path)
    with pytest.raises(StoreError, match="no records"):
        delete_older(tmp_path / "companion.db")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", "another version"),
        ("DROP TABLE alembic_version", "cannot be read"),
    ],
)
def test_what_is_no_store_of_this_version_is_not_read(tmp_path, broken, said):
    with recording(tmp_path) as made:
        made.tell()
        made.recorder.close()
    with closing(sqlite3.connect(made.path)) as connection, connection:
        connection.execute(broken)

    with pytest.raises(StoreError, match=said):
        Records.open("sqlite:///companion.db", tmp_path)


def test_nothing_can_be_changed_by_reading(store):
    from sqlalchemy.exc import OperationalError

    records, _ = store
    with pytest.raises(OperationalError, match="readonly"), records._engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM exchanges")


def test_an_export_holds_all_that_was_recorded(tmp_path):
    with recording(tmp_path) as made:
        id = made.tell(b'{"prompt":1}', sent=(b'{"prompt":', b"2}"), answer=[b"data: 1\n\n"])
        same = made.tell(b'{"prompt":1}')
        records = made.read()
    packed = io.BytesIO()

    assert export(records, [id, same, "nothing"], packed) == 2
    with zipfile.ZipFile(packed) as archive:
        assert json.loads(archive.read(f"{id}/exchange.json"))["exchange"]["outcome"] == "complete"
        assert archive.read(f"{id}/client.request") == b'{"prompt":1}'
        assert archive.read(f"{id}/attempt-1.request") == b'{"prompt":2}'
        assert archive.read(f"{id}/client.response") == archive.read(f"{id}/attempt-1.response") == b"data: 1\n\n"
        assert f"{same}/attempt-1.request" not in archive.namelist()
        assert "README.txt" in archive.namelist()


def test_deletion_leaves_what_is_under_way_and_what_is_not_meant(tmp_path):
    with recording(tmp_path) as made:
        ids = [made.tell(b"x" * number) for number in range(1, 150)]
        running = made.tell(b"under way", settle=False)
        records: Read = made.read()

    assert delete_ids(made.path, [*ids[:3], "nothing", running]) == 3
    assert listed(records, limit=1000) == [running, *ids[:2:-1]]
    assert delete_older(made.path, before=0.0) == 0
    assert delete_older(made.path) == 146
    assert listed(records) == [running]
    assert records.bytes_of(running, Part.REQUEST_BODY) == b"under way"


def test_deletion_beside_a_running_recorder_hurts_neither(tmp_path):
    body = b'{"messages":[{"role":"user","content":"%b"}]}' % (b"x" * 3000)
    with recording(tmp_path) as made:
        for _ in range(20):
            made.tell(body)
        while not made.path.exists() or made.recorder.stats.written < 100:
            pass
        delete_older(made.path)
        kept = [made.tell(body) for _ in range(20)]
        records = made.read()

    assert all(records.bytes_of(id, Part.REQUEST_BODY) == body for id in kept)
