"""Bad input, one by one: refused by name, with the client able to read why, and with memory that stays bounded."""

import asyncio
import random

import pytest

from companion.net.h1 import MAX_FIELDS, MAX_HEAD
from tests.proxy.client import HOST, PATIENCE, Client, Serving, memory, serving, until

POST = "POST /v1/messages HTTP/1.1"
CHUNKED = "Transfer-Encoding: chunked"


# === request smuggling: whatever two programs might read in two ways


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((POST, HOST, "Content-Length: 5", CHUNKED, "", "0", "", ""), id="length, then chunked"),
        pytest.param((POST, HOST, CHUNKED, "Content-Length: 5", "", "0", "", ""), id="chunked, then length"),
        pytest.param((POST, HOST, "Content-Length: 5", "Content-Length: 6", "", "hello!"), id="two lengths"),
        pytest.param((POST, HOST, "Content-Length: 5", "Content-Length: 5", "", "hello"), id="the same length twice"),
        pytest.param((POST, HOST, "Content-Length: 5, 5", "", "hello"), id="a list of lengths"),
        pytest.param((POST, HOST, "Content-Length: +5", "", "hello"), id="a length with a sign"),
        pytest.param((POST, HOST, "Content-Length: -5", "", "hello"), id="a negative length"),
        pytest.param((POST, HOST, "Content-Length: 0x5", "", "hello"), id="a hexadecimal length"),
        pytest.param((POST, HOST, "Content-Length: 1 1", "", "hello"), id="a length with a blank"),
        pytest.param((POST, HOST, "Content-Length:", "", "hello"), id="an empty length"),
        pytest.param((POST, HOST, "Content-Length: 99999999999999999999", "", "hello"), id="a length past 64 bits"),
        pytest.param((POST, HOST, "Transfer-Encoding: gzip, chunked", "", "0", "", ""), id="gzip, chunked"),
        pytest.param((POST, HOST, "Transfer-Encoding: gzip", "", "0", "", ""), id="a coding that is not chunked"),
        pytest.param((POST, HOST, "Transfer-Encoding: xchunked", "", "0", "", ""), id="a coding like chunked"),
        pytest.param((POST, HOST, "Transfer-Encoding: chunked, identity", "", "0", "", ""), id="chunked not last"),
        pytest.param((POST, HOST, CHUNKED, CHUNKED, "", "0", "", ""), id="chunked twice"),
        pytest.param((POST, HOST, "Transfer-Encoding:", "", "0", "", ""), id="an empty coding"),
        pytest.param(("POST / HTTP/1.0", HOST, CHUNKED, "", "0", "", ""), id="chunked in HTTP/1.0"),
        pytest.param((POST, HOST, "X-Long: a", " b", "", ""), id="a folded line"),
        pytest.param((POST, " " + HOST, "", ""), id="a folded first line"),
        pytest.param((POST, HOST, "Transfer-Encoding : chunked", "", "0", "", ""), id="a blank before the colon"),
        pytest.param((POST, HOST, ": nameless", "", ""), id="a header without a name"),
        pytest.param((POST, HOST, "X-Bad: a\0b", "", ""), id="NUL in a value"),
        pytest.param((POST, HOST, "X-Bad: a\x7fb", "", ""), id="a control byte in a value"),
        pytest.param((POST, HOST, "X(Bad): a", "", ""), id="a delimiter in a name"),
        pytest.param((b"POST / HTTP/1.1\nHost: localhost\n\n",), id="bare line feeds"),
        pytest.param((POST, HOST, b"X: a\nY: b", "", ""), id="a bare line feed"),
        pytest.param((POST, HOST, b"X: a\rY: b", "", ""), id="a bare carriage return"),
    ],
)
async def test_a_head_that_can_be_read_in_two_ways_is_refused(lines):
    async with serving() as at, at.client() as client:
        client.says(*lines)
        answer = await client.hears()
        assert (answer.status, answer.error[0], answer.headers["connection"]) == (400, "invalid_request_error", "close")
        assert await client.hears_the_end() == b""
        assert not at.requests


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\nhello\r\n0\r\n\r\n", id="a bare line feed after the size"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", id="a bare line feed after the data"),
        pytest.param(b"5;a\nhello\r\n0\r\n\r\n", id="a bare line feed after an extension"),
        pytest.param(b"5\r\nhello0\r\n\r\n", id="no line end after the data"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="a size with a prefix"),
        pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", id="a negative size"),
        pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="a size with a sign"),
        pytest.param(b"1_0\r\nhello\r\n0\r\n\r\n", id="a size with an underscore"),
        pytest.param(b"5 \r\nhello\r\n0\r\n\r\n", id="a size with a blank"),
        pytest.param(b"\r\nhello\r\n0\r\n\r\n", id="no size"),
        pytest.param(b"fffffffffffffffff\r\nhello", id="a size past 64 bits"),
        pytest.param(b"0\r\nX : y\r\n\r\n", id="a bad trailer"),
    ],
)
async def test_a_chunk_that_can_be_read_in_two_ways_is_refused(body):
    async with serving() as at, at.client() as client:
        client.says(POST, HOST, CHUNKED, "", body)
        assert (await client.hears()).status == 400
        assert await client.hears_the_end() == b""
        assert not at.requests
        assert at.shared.held == 0


# === what the first line asks for


@pytest.mark.parametrize(
    "line",
    [
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\t HTTP/1.1",
        "G\x01T / HTTP/1.1",
        "get / HTTP/1.1",
        "NONSENSE / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "GET / HTTP/1.9",
        "GET nowhere HTTP/1.1",
        "GET ?a=b HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /#fragment HTTP/1.1",
        "GET ftp://localhost/ HTTP/1.1",
        "GET http:///path HTTP/1.1",
        "GET http://user@localhost/ HTTP/1.1",
        "\x16\x03\x01\x02 a TLS client hello",
    ],
)
async def test_a_first_line_that_is_none_is_refused(line):
    async with serving() as at:
        answer = await at.asks(line, HOST, "", "")
        assert (answer.status, answer.error[0]) == (400, "invalid_request_error")
        assert not at.requests


@pytest.mark.parametrize("line", ["GET / HTTP/2.0", "GET / HTTP/0.9", "GET /"])
async def test_another_version_of_http_is_refused(line):
    async with serving() as at:
        assert (await at.asks(line, HOST, "", "")).status == 505


async def test_connect_is_not_offered():
    async with serving() as at:
        assert (await at.asks("CONNECT example.com:443 HTTP/1.1", HOST, "", "")).status == 501


async def test_an_upgrade_is_not_offered():
    async with serving() as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "Connection: Upgrade", "Upgrade: websocket", "", "")
        assert answer.status == 400


async def test_an_upgrade_that_is_only_wished_for_is_ignored():
    async with serving() as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "Upgrade: h2c", "", "")).status == 200


async def test_a_compressed_body_is_refused_by_the_name_of_its_header():
    async with serving() as at:
        answer = await at.asks(POST, HOST, "Content-Encoding: gzip", "Content-Length: 2", "", "xx")
        type, message = answer.error
        assert (answer.status, type) == (415, "invalid_request_error")
        assert "content-encoding" in message
        assert (await at.asks(POST, HOST, "Content-Encoding: identity", "Content-Length: 2", "", "xx")).status == 200


# === size


async def test_a_body_over_the_limit_is_refused_as_soon_as_its_length_is_told():
    async with serving(max_body=1000) as at:
        answer = await at.asks(POST, HOST, "Content-Length: 1001", "", "")
        type, message = answer.error
        assert (answer.status, type) == (413, "request_too_large")
        assert "server.max_body" in message
        assert (await at.asks(POST, HOST, "Content-Length: 1000", "", "x" * 1000)).status == 200


async def test_a_chunked_body_is_refused_with_the_byte_that_is_too_many():
    async with serving(max_body=1000) as at, at.client() as client:
        client.says(POST, HOST, CHUNKED, "", "3e8", "x" * 1000, "")
        await until(lambda: at.shared.held == 1000)
        client.says("1", "x", "")
        assert (await client.hears()).status == 413
        assert at.shared.held == 0
        assert not at.requests


async def test_a_client_that_goes_on_sending_still_reads_why_it_was_refused():
    async with serving(max_body=1000) as at, at.client() as client:
        client.says(POST, HOST, "Content-Length: 20000000", "", b"x" * 20_000_000)
        await client.writer.drain()
        answer = await client.hears()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert await client.hears_the_end() == b""


async def _pour(client: Client) -> None:
    while True:
        client.writer.write(b"x" * 65536)
        await client.writer.drain()


async def test_a_refused_client_that_sends_for_ever_is_cut(monkeypatch):
    monkeypatch.setattr("companion.proxy.connection.LINGER_BYTES", 4_000_000)
    async with serving(max_body=1000) as at, at.client() as client:
        client.says(POST, HOST, "Content-Length: 1000000000", "", "")
        with memory(8_000_000), pytest.raises(ConnectionError):
            await asyncio.wait_for(_pour(client), PATIENCE)
        await until(lambda: not at.shared.connections)


async def test_a_refused_client_that_never_closes_is_cut_after_a_moment(monkeypatch):
    monkeypatch.setattr("companion.proxy.connection.LINGER", 0.1)
    async with serving(max_body=1000) as at, at.client() as client:
        client.says(POST, HOST, "Content-Length: 1001", "", "")
        assert await client.hears_the_end() != b""
        await until(lambda: not at.shared.connections)


async def test_a_head_may_have_so_many_fields_and_no_more():
    fields = [f"X-{number}: y" for number in range(MAX_FIELDS - 1)]
    async with serving() as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, *fields, "", "")).status == 200
        answer = await at.asks("GET / HTTP/1.1", HOST, *fields, "X-One-More: y", "", "")
        assert (answer.status, answer.error[0]) == (431, "invalid_request_error")


async def test_a_head_may_have_so_many_bytes_and_no_more():
    rest = len("GET / HTTP/1.1\r\n" + HOST + "\r\nX: \r\n\r\n")
    async with serving() as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "X: " + "y" * (MAX_HEAD - rest), "", "")).status == 200
        assert (await at.asks("GET / HTTP/1.1", HOST, "X: " + "y" * (MAX_HEAD - rest + 1), "", "")).status == 431


@pytest.mark.parametrize(
    ("start", "again", "status"),
    [
        pytest.param("GET / HTTP/1.1\r\nHost: localhost\r\nX: ", "y" * 4096, 431, id="a header that never ends"),
        pytest.param("GET / HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n" * 50, 431, id="headers that never end"),
        pytest.param("GET /", "y" * 4096, 431, id="a target that never ends"),
        pytest.param("", "\r\n" * 2048, 431, id="blank lines that never end"),
        pytest.param(
            f"{POST}\r\n{HOST}\r\n{CHUNKED}\r\n\r\n1;", "y" * 4096, 400, id="a chunk extension that never ends"
        ),
        pytest.param(f"{POST}\r\n{HOST}\r\n{CHUNKED}\r\n\r\n0\r\nX: ", "y" * 4096, 400, id="a trailer that never ends"),
        pytest.param(f"{POST}\r\n{HOST}\r\n{CHUNKED}\r\n\r\n0\r\n", "X: y\r\n" * 50, 431, id="trailers that never end"),
        pytest.param(f"{POST}\r\n{HOST}\r\n{CHUNKED}\r\n\r\n", "1\r\ny\r\n" * 999, 413, id="a body that never ends"),
    ],
)
async def test_what_never_ends_is_refused_while_memory_stays_bounded(start, again, status):
    async with serving(max_body=50_000) as at, at.client() as client:
        with memory(2_000_000):
            client.says(start)
            hears = asyncio.create_task(client.hears())
            while not hears.done():
                client.says(again)
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await hears).status == status
        assert not at.requests
        assert at.shared.held == 0


# === anything


SEEDS = [
    b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"GET http://localhost/x?y HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nConnection: close\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: [::1]:1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
]
SPLINTERS = [b"", b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n", b"Content-Length: 4\r\n", b": ", b"\0", b"x" * 5000]


def _mangled(dice: random.Random) -> bytes:
    data = b"".join(dice.choices(SEEDS, k=dice.randrange(1, 5)))
    for _ in range(dice.randrange(4)):
        start = dice.randrange(len(data))
        data = data[:start] + dice.choice(SPLINTERS) + data[start + dice.randrange(8) :]
    return data


async def _mangles(at: Serving, dice: random.Random) -> None:
    async with at.client() as client:
        data, step = _mangled(dice), dice.choice([1, 3, 50, 100_000])
        for start in range(0, len(data), step):
            client.writer.write(data[start : start + step])
            await asyncio.sleep(0)
        if dice.random() < 0.3:
            client.writer.transport.abort()
        elif dice.random() < 0.3:
            client.writer.write_eof()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_bytes_come_nothing_is_left_behind(seed):
    dice = random.Random(seed)
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    async with serving(max_inflight_bytes=20_000) as at:
        for _ in range(5):
            await asyncio.gather(*(_mangles(at, dice) for _ in range(30)))
        await until(lambda: not at.shared.connections)
        assert (at.shared.held, at.shared.tasks, failed) == (0, set(), [])
        assert at.requests


# === order


async def test_a_refusal_waits_for_its_turn_behind_the_answers_before_it():
    async with serving() as at, at.client() as client:
        client.says(
            "GET /good HTTP/1.1", HOST, "", "GET /bad HTTP/1.1", HOST, "X : y", "", "GET /never HTTP/1.1", HOST, "", ""
        )
        assert await client.hears() == (200, b"GET /good 0")
        assert (await client.hears()).status == 400
        assert await client.hears_the_end() == b""
        assert [request.path for request in at.requests] == ["/good"]


async def test_a_refused_head_request_has_no_body_either():
    async with serving(max_body=1) as at, at.client() as client:
        client.says("HEAD / HTTP/1.1", HOST, "Content-Length: 2", "", "")
        assert (await client.hears("HEAD")).status == 413
