"""What goes in comes out, byte for byte, and what repeats is stored once."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from companion.protocol import sse
from companion.records.tape import PART
from companion.records.views import Part
from tests.captures import captured
from tests.records.news import ANSWER, HEADERS, SESSION, Conversation, recording

ODD = [b"", b"not json", b'{"a":', b"\xff\xfe\x00" * 100, b'{"messages":[{"role":"user","content":"\\ud83d"}]}' * 50]


def test_real_requests_come_back_byte_for_byte(tmp_path):
    with recording(tmp_path) as made:
        bodies = {made.tell(request.body): request.body for request in captured()}
        records = made.read()

    for id, body in bodies.items():
        for attempt in (0, 1):
            assert records.bytes_of(id, Part.REQUEST_BODY, attempt) == body


@pytest.mark.parametrize("body", ODD)
def test_anything_comes_back_byte_for_byte(tmp_path, body):
    with recording(tmp_path) as made:
        first, again = made.tell(body), made.tell(body)
        records = made.read()

    for id in (first, again):
        assert records.bytes_of(id, Part.REQUEST_BODY) == body


def test_the_thirtieth_turn_adds_less_than_a_twentieth_of_its_size(tmp_path):
    talk, stored = Conversation(size=4000), {}
    with recording(tmp_path) as made:
        path = made.path
        bodies = {made.tell(body): body for body in (talk.turn() for _ in range(29))}
        made.read()
        stored[29] = used(path)
    with recording(tmp_path) as made:
        body = talk.turn()
        bodies[made.tell(body)] = body
        records = made.read()
        stored[30] = used(path)

    assert len(body) > 150_000
    assert stored[30] - stored[29] < len(body) / 20
    for id, body in bodies.items():
        assert records.bytes_of(id, Part.REQUEST_BODY) == body


def used(path: Path) -> int:
    """Bytes of everything that is stored, without what pages leave empty."""
    with closing(sqlite3.connect(path)) as connection:
        sizes = {
            "contents": "length(recipe) + length(times) + 60",
            "blobs": "length(data) + 16",
            "pieces": "90",
            "exchanges": "600",
            "attempts": "300",
        }
        total: int = sum(
            connection.execute(f"SELECT coalesce(sum(coalesce({size}, 60)), 0) FROM {table}").fetchone()[0]
            for table, size in sizes.items()
        )
        return total


def test_what_was_sent_as_it_came_costs_nothing(tmp_path):
    body = Conversation().turn()
    with recording(tmp_path) as made:
        id = made.tell(body)
        records = made.read()

    (sent,) = [each for each in records.there(id).contents if (each.attempt, each.part) == (1, Part.REQUEST_BODY)]
    assert (sent.same_as, sent.size) == (0, len(body))


def test_a_model_that_was_rewritten_on_the_way_is_in_what_was_sent(tmp_path):
    body = Conversation().turn()
    before, after = body.split(b"claude-opus-5-5")
    sent = (before, b"kimi-k2", after)
    with recording(tmp_path) as made:
        id = made.tell(body, sent=sent)
        records = made.read()

    assert records.bytes_of(id, Part.REQUEST_BODY, 0) == body
    assert records.bytes_of(id, Part.REQUEST_BODY, 1) == b"".join(sent)


def test_headers_come_back_in_their_order(tmp_path):
    with recording(tmp_path) as made:
        id = made.tell()
        other = made.tell(headers=(*HEADERS[:3], (b"content-length", b"7"), (b"x", b"")))
        records = made.read()

    shown = tuple((name.decode(), value.decode()) for name, value in HEADERS)
    told = records.there(id).headers
    assert told["0.request_headers"] == (*shown[:1], ("authorization", "Bearer ***"), *shown[2:])
    assert told["1.response_headers"] == tuple((name.decode(), value.decode()) for name, value in ANSWER)
    assert records.there(other).headers["0.request_headers"][-2:] == (("content-length", "7"), ("x", ""))


def test_a_stream_comes_back_with_the_time_of_each_event(tmp_path):
    frames = [sse.encode("content_block_delta", b'{"text":"%d"}' % number) for number in range(2000)]
    stream = b"".join(frames)
    pieces = [stream[start : start + 70] for start in range(0, len(stream), 70)]
    with recording(tmp_path) as made:
        id = made.tell(answer=pieces)
        records = made.read()

    assert len(stream) > 2 * PART
    for attempt in (0, 1):
        assert records.bytes_of(id, Part.RESPONSE_BODY, attempt) == stream
        events = records.stream_events(id, attempt)
        assert [json.loads(event.data)["text"] for event in events] == [str(number) for number in range(2000)]
        assert all(event.event == "content_block_delta" for event in events)
        assert sorted(event.at for event in events) == [event.at for event in events]
    detail = records.there(id)
    assert detail.exchange.response_bytes == detail.attempts[0].received_bytes == len(stream)


def test_what_the_client_got_is_stored_once_with_what_the_upstream_sent(tmp_path):
    pieces = [bytes([number % 251]) * 1000 for number in range(48)]
    with recording(tmp_path) as made:
        made.tell(answer=pieces)
        made.read()

    with closing(sqlite3.connect(made.path)) as connection:
        assert connection.execute("SELECT sum(size) FROM blobs WHERE size > 1000").fetchone()[0] == 48_000


def test_pieces_that_nothing_names_any_more_are_gone(tmp_path):
    from companion.records.delete import delete_ids

    talk = Conversation()
    with recording(tmp_path) as made:
        first, second = made.tell(talk.turn()), made.tell(body := talk.turn())
        records = made.read()

    assert delete_ids(made.path, [first]) == 1
    assert records.bytes_of(second, Part.REQUEST_BODY) == body
    assert delete_ids(made.path, [first, second]) == 1
    with closing(sqlite3.connect(made.path)) as connection:
        for table in ("exchanges", "attempts", "contents", "pieces", "blobs"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_counts_of_references_are_those_of_the_recipes(tmp_path):
    from companion.records.contents import numbers

    talk = Conversation()
    with recording(tmp_path) as made:
        for _ in range(8):
            made.tell(talk.turn(), answer=[b"x" * 500], session=SESSION)
        made.read()

    counted: dict[int, int] = {}
    with closing(sqlite3.connect(made.path)) as connection:
        for (recipe,) in connection.execute("SELECT recipe FROM contents"):
            for number in numbers(recipe):
                counted[number] = counted.get(number, 0) + 1
        assert dict(connection.execute("SELECT id, refs FROM pieces")) == counted
