"""Cutting loses nothing, and shares what is shared."""

import json
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from companion.records.cut import Known, Memory, Piece, cut_headers, cut_json, front_and_back
from tests.captures import captured
from tests.records.news import Conversation


def joined(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


@given(st.binary(max_size=5000))
def test_pieces_joined_are_the_content_whatever_it_is(data):
    assert joined(cut_json(data)) == data
    assert joined(cut_headers(data)) == data


def test_pieces_of_real_requests_joined_are_the_requests():
    for request in captured():
        assert joined(cut_json(request.body)) == request.body


def test_spaces_in_the_json_do_not_keep_messages_together():
    body = json.dumps(json.loads(Conversation().turn()), indent=1).encode()
    again = Conversation()
    for _ in range(4):
        body = json.dumps(json.loads(again.turn()), indent=1).encode()

    assert len(cut_json(body)) >= 8


def test_a_text_that_looks_like_a_message_is_not_cut():
    text = json.dumps([{"text": 'x {"role":"user"} ' * 500}]).encode()

    assert len(cut_json(text)) == 1


def test_the_next_turn_shares_all_pieces_but_those_of_its_new_messages():
    talk = Conversation()
    for _ in range(10):
        before = talk.turn()
    after = talk.turn()
    known = {piece.data for piece in cut_json(before)}
    fresh = sum(len(piece.data) for piece in cut_json(after) if piece.data not in known)

    # The tool result, the answer before it, and what is around them.
    assert fresh < 2000 + 300 + 600


def test_a_marker_that_moves_makes_no_message_new():
    talk = Conversation(size=5000)
    talk.turn()
    before = talk.turn()
    system = before.index(b'"system"')
    moved = before[:system].replace(b',"cache_control":{"type":"ephemeral"}', b"") + before[system:]
    known = {piece.data for piece in cut_json(before)}

    assert sum(len(piece.data) for piece in cut_json(moved) if piece.data not in known) < 100


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=6), st.binary(max_size=20))
def test_what_is_known_in_front_and_back_never_overlaps(known, data):
    pieces = [Piece(each, 1) for each in known]
    front, back, start, end = front_and_back(data, pieces)

    assert start <= end
    assert joined(pieces[:front]) + data[start:end] + joined(pieces[len(pieces) - back :]) == data


def test_memory_is_bounded_by_bytes_and_by_keys_and_the_oldest_goes():
    memory = Memory(limit=100, keys=2)
    for key in ("a", "b", "c"):
        memory.keep(key, Known(10, (Piece(b"x" * 10, 1),)))
    memory.keep("too large", Known(101, (Piece(b"x" * 101, 1),)))
    assert [memory.known(key).size for key in ("a", "b", "c", "too large")] == [0, 10, 10, 0]

    memory.keep("d", Known(95, (Piece(b"x" * 95, 1),)))
    assert [memory.known(key).size for key in ("b", "c", "d")] == [0, 0, 95]
