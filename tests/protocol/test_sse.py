"""Frames: whatever the bytes and however they come, joining the raws gives them back."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from companion.protocol.sse import LIMIT, PING, Decoder, Frame, FrameTooLarge, encode, parse

LINES = st.sampled_from(
    [
        *(b"event: ping", b"event:ping", b"event", b"event: "),
        *(b"data: {}", b"data:{}", b"data: a", b"data", b"data:", b"data: \xff\xfe", b"\xef\xbb\xbfdata: x"),
        *(b": hm", b"id: 7", b"retry: 10", b"nonsense", b"", b""),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS)).map(lambda lines: b"".join(line + end for line, end in lines))
LF_STREAMS = st.lists(LINES).map(lambda lines: b"".join(line + b"\n" for line in lines))


def decoded(data: bytes, sizes: list[int], limit: int = LIMIT) -> tuple[list[Frame], bytes]:
    decoder, frames, start = Decoder(limit), [], 0
    for size in [*sizes, len(data)]:
        frames += decoder.feed(data[start : start + size])
        start = min(len(data), start + size)
    return frames, decoder.rest


def by_the_standard(data: bytes) -> list[tuple[bytes | None, bytes]]:
    """What a browser dispatches, written down independently: (event, data) of each event with data."""
    events: list[tuple[bytes | None, bytes]] = []
    name: bytes | None = None
    lines: list[bytes] = []
    text = data.removeprefix(b"\xef\xbb\xbf")
    for line in re.split(rb"\r\n|\n|\r", text)[:-1]:
        if not line:
            if lines:
                events.append((name, b"\n".join(lines)))
            name, lines = None, []
        elif line.startswith(b"data:") or line == b"data":
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line.startswith(b"event:"):
            name = (line[7:] if line.startswith(b"event: ") else line[6:]) or None
        elif line == b"event":
            name = None
    return events


@given(STREAMS, st.lists(st.integers(0, 9)))
@example(b"data: a\r\n\r\ndata: b\r\r\n\ndata: c\n\r\n", [9, 1, 1, 1])
@settings(max_examples=60, deadline=None)
def test_any_split_of_any_stream_gives_the_same_frames_and_loses_nothing(data, sizes):
    frames, rest = decoded(data, sizes)

    assert (frames, rest) == decoded(data, []) == decoded(data, [1] * len(data))
    assert b"".join(frame.raw for frame in frames) + rest == data


@given(st.one_of(STREAMS, LF_STREAMS).filter(lambda data: b"\n\xef" not in data and b"\r\xef" not in data))
@settings(max_examples=60, deadline=None)
def test_frames_are_the_events_of_the_standard(data):
    data += b"\n\n"  # a CR at the very end waits for what follows it
    frames, _ = decoded(data, [])

    found = [(frame.event, frame.data) for frame in frames if b"data" in frame.raw]
    assert [event for event in found if event[1]] == [event for event in by_the_standard(data) if event[1]]


def test_an_ordinary_frame():
    raw = b'event: ping\ndata: {"type": "ping"}\n\n'

    assert Decoder().feed(raw) == [Frame(b"ping", b'{"type": "ping"}', raw)]
    assert Decoder().feed(raw)[0].raw is raw


@pytest.mark.parametrize(
    ("raw", "event", "data"),
    [
        (b"event:x\ndata:y\n\n", b"x", b"y"),
        (b"event: x\r\ndata: y\r\n\r\n", b"x", b"y"),
        (b"event: x\rdata: y\r\r", b"x", b"y"),
        (b"data: a\ndata: b\n\n", None, b"a\nb"),
        (b"data: y\nevent: x\n\n", b"x", b"y"),
        (b": working\n\n", None, b""),
        (b"id: 1\nevent: x\nretry: 5\ndata: y\n\n", b"x", b"y"),
        (b"event: \ndata: y\n\n", None, b"y"),
        (b"\xef\xbb\xbfevent: x\ndata: y\n\n", b"x", b"y"),
        (b"\nevent: x\ndata: y\n\n", b"x", b"y"),
        (b"event: x\ndata:  y\n\n", b"x", b" y"),
    ],
)
def test_everything_that_the_standard_allows(raw, event, data):
    assert Decoder().feed(raw) == [Frame(event, data, raw)]
    assert parse(raw) == Frame(event, data, raw)


def test_what_does_not_end_is_the_rest():
    decoder = Decoder()

    assert decoder.feed(PING + b"event: pi") == [parse(PING)]
    assert decoder.rest == b"event: pi"


def test_a_frame_of_crlf_waits_for_its_last_byte():
    decoder = Decoder()

    assert decoder.feed(b"data: x\r\n\r") == []
    assert decoder.feed(b"\n") == [Frame(None, b"x", b"data: x\r\n\r\n")]


def test_a_frame_of_cr_does_not_wait_for_the_next_one():
    assert Decoder().feed(b"data: x\r\r") == [Frame(None, b"x", b"data: x\r\r")]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b""])
@pytest.mark.parametrize("sizes", [[], [1] * 40, [20, 20]])
def test_a_frame_above_the_limit_is_refused(end, sizes):
    data = b"event: x\ndata: " + b"x" * 30 + end

    with pytest.raises(FrameTooLarge, match="more than 30 bytes"):
        decoded(data, sizes, limit=30)


def test_a_frame_of_just_the_limit_passes():
    raw = b"data: " + b"x" * 22 + b"\n\n"

    assert Decoder(limit=30).feed(raw + raw) == [parse(raw), parse(raw)]


def test_a_frame_in_small_pieces_is_not_searched_again_and_again():
    decoder = Decoder()
    for _ in range(50_000):
        assert decoder.feed(b"data") == []
    decoder.feed(b"\n\n")

    assert decoder.rest == b""


def test_encoding_is_what_decoding_reads():
    assert encode("ping", b'{"a":\n1}') == b'event: ping\ndata: {"a":\ndata: 1}\n\n'
    assert parse(encode("ping", b'{"a":\n1}')).data == b'{"a":\n1}'
