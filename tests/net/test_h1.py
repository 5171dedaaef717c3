"""Framing, and the limits that llhttp has not. (What it refuses by itself: tests/proxy/test_server_refusals.py.)"""

import httptools
import pytest

from companion.net.h1 import (
    LAST_CHUNK,
    MAX_FIELDS,
    MAX_HEAD,
    FramingError,
    HeadTooLarge,
    MessageReader,
    chunk,
    encode_head,
    header,
)
from tests.proxy.client import memory


class Reader(MessageReader):
    """Writes down what comes out."""

    def __init__(self, parser: type[httptools.HttpRequestParser | httptools.HttpResponseParser]) -> None:
        super().__init__(parser)
        self.heads: list[list[tuple[bytes, bytes]]] = []
        self.bodies: list[bytes] = []
        self.body = b""

    def feed_in_steps(self, data: bytes, step: int) -> None:
        for start in range(0, len(data), step):
            self.feed(data[start : start + step])

    def head_received(self) -> None:
        self.heads.append(self.headers)

    def body_received(self, data: bytes) -> None:
        self.body += data

    def message_received(self) -> None:
        self.bodies.append(self.body)
        self.body = b""


class Broken(Reader):
    def body_received(self, data: bytes) -> None:
        raise KeyError(data)


class Choosy(Reader):
    def head_received(self) -> None:
        raise FramingError("not this one")


def reader() -> Reader:
    return Reader(httptools.HttpRequestParser)


REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Wide:  b \t\r\nContent-Length: 3\r\n\r\nabc"
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


# === reading


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_messages_come_out_however_the_bytes_were_cut(step):
    read = reader()
    data = REQUEST + CHUNKED + b"2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: t\r\n\r\n" + REQUEST
    read.feed_in_steps(data, step)
    assert read.bodies == [b"abc"] * 3
    assert [len(head) for head in read.heads] == [4, 1, 4]


def test_a_memoryview_is_as_good_as_bytes():
    read = reader()
    read.feed(memoryview(b"skipped" + REQUEST)[7:])
    assert read.bodies == [b"abc"]


def test_names_come_in_lower_case_and_values_without_blanks_around_them():
    read = reader()
    read.feed(REQUEST)
    assert read.heads == [[(b"host", b"a"), (b"x-empty", b""), (b"x-wide", b"b"), (b"content-length", b"3")]]


def test_trailers_are_no_headers():
    read = reader()
    read.feed(CHUNKED + b"0\r\nAuthorization: smuggled\r\n\r\n")
    assert read.headers == [(b"transfer-encoding", b"chunked")]


def test_responses_are_read_by_the_same_rules():
    read = Reader(httptools.HttpResponseParser)
    read.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n\r\nok")
    assert read.heads == [[], [(b"content-length", b"2"), (b"a", b"b")]]
    assert read.bodies == [b"", b"ok"]


# === limits


def head_of(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nX: "
    return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("step", [1000, MAX_HEAD, 2 * MAX_HEAD])
def test_a_head_may_have_max_head_bytes_and_no_more(step):
    whole, too_long = head_of(MAX_HEAD), head_of(MAX_HEAD + 1)
    read = reader()
    read.feed_in_steps(whole, step)
    assert len(read.heads) == 1
    with pytest.raises(HeadTooLarge):
        read.feed_in_steps(too_long, step)


@pytest.mark.parametrize("before", [b"", CHUNKED + b"0\r\n"], ids=["headers", "trailers"])
def test_a_message_may_have_max_fields_fields_and_no_more(before):
    start = before or b"GET / HTTP/1.1\r\n"
    reader().feed(start + b"X: y\r\n" * MAX_FIELDS + b"\r\n")
    with pytest.raises(HeadTooLarge):
        reader().feed(start + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n")


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"GET /", b"y" * 4096),
        (b"GET / HTTP/1.1\r\nX: ", b"y" * 4096),
        (b"", b"\r\n" * 2048),
        (CHUNKED + b"1;", b"y" * 4096),
    ],
    ids=["target", "header", "blank lines", "chunk extension"],
)
def test_what_never_ends_is_refused_after_max_head_bytes(start, again):
    read = reader()
    with memory(4 * MAX_HEAD):
        read.feed(start)
        with pytest.raises(FramingError):
            read.feed_in_steps(again * (MAX_HEAD // 4096 + 2), 4096)


def test_a_body_may_have_any_length():
    read = Reader(httptools.HttpResponseParser)
    read.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(100):
        read.feed(chunk(b"x" * 5000))
    read.feed(LAST_CHUNK)
    assert len(read.bodies[0]) == 500_000


# === refusing


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    ],
)
def test_what_is_no_plain_http_is_a_framing_error(data):
    with pytest.raises(FramingError):
        reader().feed(data)


def test_what_a_subclass_refuses_comes_out_as_it_is():
    with pytest.raises(FramingError, match="not this one"):
        Choosy(httptools.HttpRequestParser).feed(REQUEST)


def test_a_mistake_of_ours_is_not_mistaken_for_bad_bytes():
    with pytest.raises(httptools.HttpParserCallbackError) as raised:
        Broken(httptools.HttpRequestParser).feed(REQUEST)
    assert isinstance(raised.value.__context__, KeyError)


# === writing


def test_a_head_is_lines():
    assert encode_head(b"HTTP/1.1 200 OK", [(b"a", b"b"), (b"c", b"")]) == b"HTTP/1.1 200 OK\r\na: b\r\nc: \r\n\r\n"


@pytest.mark.parametrize("bad", [b"x\r\ny: z", b"x\ny", b"x\ry", b"x\0y"])
@pytest.mark.parametrize("place", ["name", "value", "first line"])
def test_nothing_can_be_smuggled_into_a_head(bad, place):
    name, value, first = (bad if place == where else b"x" for where in ("name", "value", "first line"))
    with pytest.raises(ValueError, match="line break"):
        encode_head(first, [(name, value)])


def test_a_chunk_has_its_size_in_hexadecimal():
    assert chunk(b"x" * 30) == b"1e\r\n" + b"x" * 30 + b"\r\n"


def test_the_first_value_of_a_header_is_found():
    headers = [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]
    assert header(headers, b"b") == b"2"
    assert header(headers, b"c") is None
