"""What is told is written: rows, once and whole, also when something on the way goes wrong."""

import sqlite3
import time
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from companion.config.models import RecordsSettings
from companion.errors import Answer, Fault, Kind, Party, Phase
from companion.events import Events, ExchangeSettled, RepairLearned
from companion.net import ulid
from companion.records import recorder as recorder_module
from companion.records.recorder import Recorder
from companion.records.store import ENDED_WITHOUT_US
from companion.records.tape import PART
from companion.records.views import FaultView, Part
from tests.records.news import CLOCK, SESSION, recording, until

OVERLOADED = Fault(
    Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, "we are full", 529, "overloaded_error",
    answer=Answer(529, ((b"content-type", b"application/json"),), b'{"type":"error"}'),
)  # fmt: skip


def test_an_exchange_is_a_row_with_all_that_was_told(tmp_path):
    with recording(tmp_path) as made:
        id = made.tell(b"x" * 1000, client="ann", answer=[b"abc"])
        detail = made.read().there(id)

    row, (attempt,) = detail.exchange, detail.attempts
    assert (row.method, row.path, row.query, row.stream) == ("POST", "/v1/messages", "beta=true", True)
    assert (row.outcome, row.status, row.endpoint, row.credential, row.attempts) == ("complete", 200, "kimi", 0, 1)
    assert (row.model, row.model_sent, row.client, row.session) == (
        "claude-opus-5-5",
        "claude-opus-5-5",
        "ann",
        SESSION,
    )
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens, row.stop_reason) == (10, 20, 5, "end_turn")
    assert (row.request_bytes, row.response_bytes, row.peer) == (1000, 3, "127.0.0.1:5")
    assert row.user_agent == "claude-cli/2.1.330 (external, sdk-cli)"
    assert abs(row.started - CLOCK.wall()) < 60
    assert None not in {
        row.seconds,
        row.ended,
        attempt.started,
        attempt.first_byte,
        attempt.first_content,
        attempt.ended,
    }
    assert row.ended == pytest.approx(row.started + (row.seconds or 0))
    assert (attempt.endpoint, attempt.reason, attempt.status, attempt.fault) == ("kimi", "first", 200, None)
    assert (attempt.dns, attempt.connect, attempt.tls, attempt.write) == (0.001, 0.002, None, 0.003)
    assert attempt.request_id == "req_1"
    times = [attempt.started, attempt.first_byte, attempt.first_content, attempt.ended]
    assert [0.0, *times] == sorted([0.0, *(time or 0.0 for time in times)])
    assert [(each.endpoint, each.chosen, each.reason) for each in detail.plan] == [("kimi", True, "first")]


def test_a_fault_is_recorded_with_the_upstreams_answer(tmp_path):
    with recording(tmp_path) as made:
        id = made.tell(outcome="error", status=529, fault=OVERLOADED, answer_headers=())
        records = made.read()

    detail = records.there(id)
    told = FaultView("upstream", "headers", "overloaded", "we are full", "overloaded_error")
    assert detail.exchange.fault == detail.attempts[0].fault == told
    assert records.bytes_of(id, Part.RESPONSE_BODY, 1) == b'{"type":"error"}'
    assert detail.headers["1.response_headers"] == (("content-type", "application/json"),)


def test_an_exchange_that_is_under_way_can_be_seen(tmp_path):
    with recording(tmp_path) as made:
        id = made.tell(settle=False)
        until(lambda: made.recorder.stats.written >= 4)
        row = made.read().there(id).exchange

    assert (row.outcome, row.status, row.ended) == (None, None, None)
    assert row.model == "claude-opus-5-5"


def test_after_a_crash_what_was_under_way_is_truncated_with_a_note(tmp_path):
    with recording(tmp_path) as made:
        ids = made.tell(settle=False), made.tell()
        made.recorder.close()
    with recording(tmp_path) as made:
        rows = [made.read().there(id).exchange for id in ids]

    assert [(row.outcome, row.note) for row in rows] == [("truncated", ENDED_WITHOUT_US), ("complete", None)]


def test_what_another_proxy_has_under_way_is_left_alone(tmp_path):
    with recording(tmp_path) as first:
        id = first.tell(settle=False)
        until(lambda: first.recorder.stats.written >= 4)
        with recording(tmp_path) as second:
            other = second.tell()
            rows = second.read()
        assert rows.there(id).exchange.outcome is None
        assert rows.there(other).exchange.outcome == "complete"


def test_two_proxies_can_record_into_one_store(tmp_path):
    body = b'{"messages":[{"role":"user","content":"%b"}]}' % (b"x" * 3000)
    with recording(tmp_path) as first, recording(tmp_path) as second:
        ids = [each.tell(body) for _ in range(100) for each in (first, second)]
        second.recorder.close()
        records = first.read()

    assert all(records.bytes_of(id, Part.REQUEST_BODY) == body for id in ids)
    with closing(sqlite3.connect(first.path)) as connection:
        assert connection.execute("SELECT count(*) FROM blobs WHERE size > 3000").fetchone() == (1,)


def test_a_request_that_was_refused_before_it_began_has_a_row(tmp_path):
    id, now = ulid.new(CLOCK), CLOCK.monotonic()
    with recording(tmp_path) as made:
        made.events.publish(
            ExchangeSettled(
                id, now, now - 1, "POST", "/v1/messages", "rejected", 400, None, 0, None, None, None, None, (), None
            )
        )
        row = made.read().there(id).exchange

    assert (row.outcome, row.status, row.endpoint, row.path) == ("rejected", 400, None, "/v1/messages")
    assert row.seconds == pytest.approx(1)


def test_of_what_went_well_no_body_is_kept_when_only_failed_ones_are_wanted(tmp_path):
    with recording(tmp_path, bodies="failed") as made:
        well, failed = made.tell(b"x" * 99, answer=[b"y"]), made.tell(b"z" * 99, answer=[b"y"], outcome="error")
        records = made.read()

    assert records.body(well, Part.REQUEST_BODY) is None
    assert records.body(well, Part.RESPONSE_BODY) is None
    assert records.bytes_of(failed, Part.REQUEST_BODY) == b"z" * 99
    assert records.there(well).headers["0.request_headers"]


def test_without_bodies_there_are_rows_and_headers(tmp_path):
    with recording(tmp_path, bodies="none") as made:
        assert made.recorder.tape("x", None) is None
        id = made.tell(b"x" * 99, outcome="error")
        records = made.read()

    assert records.body(id, Part.REQUEST_BODY) is None
    assert records.there(id).exchange.request_bytes == 99
    assert records.there(id).headers["0.request_headers"]


def test_without_a_store_nothing_is_heard_or_written(tmp_path):
    with recording(tmp_path, store="none") as made:
        made.tell()
        assert made.recorder.stats.queued == 0
    assert list(tmp_path.iterdir()) == []


def test_when_the_queue_is_full_bodies_are_dropped_and_rows_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "BODIES", 5000)
    with recording(tmp_path) as made:
        ids = [made.tell(bytes([number]) * 2000, answer=[b"a" * 2 * PART]) for number in range(20)]
        dropped = made.recorder.stats.bodies_dropped
        records = made.read()

    assert dropped > 0
    rows = [records.there(id).exchange for id in ids]
    assert {(row.outcome, row.request_bytes, row.response_bytes) for row in rows} == {("complete", 2000, 2 * PART)}
    bodies = [records.body(id, Part.REQUEST_BODY) for id in ids]
    assert {body.missing for body in bodies if body is not None} == {0, 2000}


def test_one_event_that_cannot_be_stored_costs_no_other(tmp_path):
    with capture_logs() as told, recording(tmp_path) as made:
        before = made.tell()
        bad = made.tell(status=2**70)
        after = made.tell()
        records = made.read()

    assert [records.there(id).exchange.outcome for id in (before, bad, after)] == ["complete", None, "complete"]
    assert {(each["event"], each["kind"]) for each in told} == {
        ("records_mistake", "AttemptEnded"),
        ("records_mistake", "ExchangeSettled"),
    }


def test_learned_facts_are_stored_and_forgotten(tmp_path):
    with recording(tmp_path) as made:
        for repair in ("effort", "images", "max_tokens"):
            made.events.publish(RepairLearned(CLOCK.monotonic(), "kimi", "digest", "m", repair, "no such field"))
        made.events.publish(RepairLearned(CLOCK.monotonic(), "kimi", "digest", "m", "images", forgotten=True))
        made.events.publish(RepairLearned(CLOCK.monotonic(), "glm", "other", None, "images"))
        made.events.publish(RepairLearned(CLOCK.monotonic(), "glm", "other", None, None, forgotten=True))
        learned = made.read().learned()

    assert [(each.endpoint, each.about, each.model, each.repair) for each in learned] == [
        ("kimi", "digest", "m", "effort"),
        ("kimi", "digest", "m", "max_tokens"),
    ]
    assert learned[0].said == "no such field"


def test_the_files_belong_to_their_owner_alone(tmp_path):
    with recording(tmp_path) as made:
        made.tell()
        until(lambda: made.recorder.stats.written)
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    assert set(modes) >= {"companion.db", "companion.db-wal", "companion.db-shm"}
    assert set(modes.values()) == {0o600}


def test_the_loop_never_waits_for_a_store_that_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("")
    with recording(tmp_path, store="sqlite:///file/companion.db") as made:
        until(lambda: made.recorder.stats.failing)
        made.tell(b"x" * 99)
        stats = made.recorder.stats
        made.recorder.close(0.1)

    assert stats.bodies_dropped == 2
    assert stats.queued > 0
    assert "file" in str(stats.failing)


def test_recording_imports_neither_sqlalchemy_nor_alembic():
    import subprocess
    import sys

    code = "import sys, companion.records.recorder; sys.exit('sqlalchemy' in sys.modules or 'alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert Recorder.start.__doc__


def test_half_a_character_in_a_name_or_an_error_costs_no_row(tmp_path):
    half = "claude-\ud83d"
    fault = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.BAD_REQUEST, half, 400)
    with recording(tmp_path) as made:
        row = made.tell(model=half, session=half, outcome="error", fault=fault)
        detail = made.read().there(row)

    assert detail.exchange.outcome == "error"
    assert str(detail.exchange.model).startswith("claude-")
    assert detail.attempts[0].fault is not None


def test_a_store_that_cannot_be_opened_does_not_hold_up_the_end(tmp_path):
    (tmp_path / "companion.db").mkdir()
    events = Events()
    recorder = Recorder(RecordsSettings(), tmp_path, events, CLOCK, tuple)
    recorder.start()
    while recorder.stats.failing is None:
        time.sleep(0.01)

    began = time.monotonic()
    recorder.close(seconds=60.0)

    assert time.monotonic() - began < 30.0
