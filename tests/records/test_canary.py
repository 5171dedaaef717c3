"""A credential that the proxy knows is in no file of the store, wherever it was said."""

import sqlite3
from contextlib import closing
from pathlib import Path

from companion.errors import Answer, Fault, Kind, Party, Phase
from companion.events import AttemptStarted, RepairLearned
from companion.records.contents import unpacked
from companion.records.views import Part
from tests.records.news import ANSWER, CLOCK, HEADERS, recording

KEY = "sk-canary-of-an-endpoint-0123456789"
OWN = "canary-login-of-the-client-0123456789"
PIECES = (KEY, OWN, KEY[:-1], OWN[:-1], KEY[1:], OWN[1:])


def unmasked(folder: Path) -> bytes:
    """Every file of the store, and every blob in it decompressed."""
    found = [file.read_bytes() for file in folder.iterdir() if file.name.startswith("companion.db")]
    with closing(sqlite3.connect(folder / "companion.db")) as connection:
        for size, data in connection.execute("SELECT size, data FROM blobs"):
            found.append(unpacked(data, size))
    return b"\n".join(found)


def test_credentials_are_nowhere_in_the_store(tmp_path):
    both = f"{KEY} {OWN}".encode()
    said = Fault(
        Party.UPSTREAM, Phase.HEADERS, Kind.UNAUTHORIZED, f"bad key {KEY} {OWN}", 401, f"bad {KEY} {OWN}",
        answer=Answer(401, ((b"x-echo", both), (b"set-cookie", OWN.encode())), b'{"error":"%b"}' % both),
    )  # fmt: skip
    headers = (
        *HEADERS[:1], (b"authorization", b"Bearer " + OWN.encode()), (b"x-api-key", KEY.encode()),
        (b"cookie", b"a=" + OWN.encode()), (b"x-note", both), (b"user-agent", both),
    )  # fmt: skip
    body = b'{"messages":[{"role":"user","content":"%b %b"}]}' % (both, b"x" * 2000)
    stream = b"data: " + both + b"\n\n"
    with recording(tmp_path, secrets=[KEY]) as made:
        made.tell(body, headers=headers, answer_headers=(*ANSWER, (b"x-echo", both)), answer=[stream])
        made.tell(body, headers=headers, fault=said, outcome="error", answer_headers=())
        running = made.tell(body, headers=headers, settle=False)
        url = f"https://upstream.example/?key={KEY}"
        made.events.publish(AttemptStarted(running, 2, CLOCK.monotonic(), "kimi", 0, "m", url, headers, (b"<", body)))
        made.events.publish(RepairLearned(CLOCK.monotonic(), "kimi", "digest", "m", "effort", f"not {KEY}"))
        records = made.read()

    stored = unmasked(tmp_path)
    assert b"upstream.example" in stored
    assert b"claude-opus-5-5" in stored
    for piece in PIECES:
        assert piece.encode() not in stored
    masked = records.bytes_of(running, Part.REQUEST_BODY)
    assert len(masked) == len(body)
    assert masked.startswith(b'{"messages":[{"role":"user","content":"***')


def test_a_credential_across_pieces_of_a_stream_is_found_wherever_it_is_cut(tmp_path):
    around = b"x" * 16_370
    stream = around + KEY.encode() + around + OWN.encode() + around
    headers = ((b"x-api-key", OWN.encode()),)
    with recording(tmp_path, secrets=[KEY]) as made:
        ids = [
            made.tell(headers=headers, answer=[stream[start : start + size] for start in range(0, len(stream), size)])
            for size in (1, 7, 16_380, 16_384, 20_000, len(stream))
        ]
        records = made.read()

    masked = stream.replace(KEY.encode(), b"*" * len(KEY)).replace(OWN.encode(), b"*" * len(OWN))
    for id in ids:
        assert records.bytes_of(id, Part.RESPONSE_BODY) == masked
        assert records.bytes_of(id, Part.RESPONSE_BODY, 1) == masked
    stored = unmasked(tmp_path)
    for piece in PIECES:
        assert piece.encode() not in stored


def test_a_body_that_was_masked_for_one_client_is_not_taken_for_masked_for_another(tmp_path):
    body = b'{"messages":[{"role":"user","content":"%b %b"}]}' % (OWN.encode(), b"x" * 2000)
    with recording(tmp_path) as made:
        made.tell(body)
        made.tell(body, headers=((b"x-api-key", OWN.encode()),))
        before = made.tell(body)
        records = made.read()

    assert OWN.encode() in records.bytes_of(before, Part.REQUEST_BODY)
    with closing(sqlite3.connect(made.path)) as connection:
        blobs = [unpacked(data, size) for size, data in connection.execute("SELECT size, data FROM blobs")]
    assert sorted(OWN.encode() in blob for blob in blobs if b"xxxx" in blob) == [False, True]


def test_patterns_of_the_user_hold_from_the_next_batch(tmp_path):
    with recording(tmp_path, redact=[r"\d{16}"]) as made:
        id = made.tell(b"card 1234567890123456.", answer=[b"card 12345678", b"90123456."])
        records = made.read()

    assert records.bytes_of(id, Part.REQUEST_BODY) == b"card " + b"*" * 16 + b"."
    assert records.bytes_of(id, Part.RESPONSE_BODY) == b"card " + b"*" * 16 + b"."
