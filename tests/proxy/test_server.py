"""Requests that are fine, and what comes back."""

import asyncio
import errno
import re
import socket

import pytest

from companion.config.models import ServerSettings
from companion.errors import ClientError
from companion.proxy.port import Port, Request, respond
from companion.proxy.sockets import listen
from tests.proxy.client import HOST, Serving, serving, tell, until

NOT_OURS = "2001:db8::1"


# === order on one connection


async def test_a_connection_is_kept_and_serves_one_request_after_the_other():
    async with serving() as at, at.client() as client:
        for number in range(3):
            client.says(f"POST /{number} HTTP/1.1", HOST, "Content-Length: 5", "", "hello")
            answer = await client.hears()
            assert answer == (200, b"POST /%d 5" % number)
            assert "connection" not in answer.headers
        assert len(at.shared.connections) == 1


async def test_pipelined_requests_are_answered_in_their_order():
    async def slow_first(request: Request, port: Port) -> None:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        respond(port, 200, [], request.path.encode())

    async with serving(slow_first) as at, at.client() as client:
        for number in range(3):
            client.says(f"GET /{number} HTTP/1.1", HOST, "", "")
        assert [(await client.hears()).body for _ in range(3)] == [b"/0", b"/1", b"/2"]


async def test_far_more_pipelined_requests_than_may_wait_are_all_answered_while_few_are_held():
    go = asyncio.Event()

    async def wait(request: Request, port: Port) -> None:
        await go.wait()
        respond(port, 200, [], request.path.encode())

    async with serving(wait) as at, at.client() as client:
        count = 3000
        client.writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % n for n in range(count)))
        await until(lambda: at.requests)
        await asyncio.sleep(0.1)
        (connection,) = at.shared.connections
        assert len(connection._waiting) < 200
        go.set()
        for number in range(count):
            assert await client.hears() == (200, b"/%d" % number)


async def test_a_request_may_come_byte_by_byte():
    async with serving() as at, at.client() as client:
        head = b"\r\nPOST /slow?a=b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        for byte in head + b"3;x=y\r\nabc\r\n0\r\n\r\n":
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.hears() == (200, b"POST /slow 3")


async def test_the_body_is_what_was_sent_however_it_was_framed():
    body = bytes(range(256)) * 3000
    got: list[bytes] = []

    async def keep(request: Request, port: Port) -> None:
        got.append(request.body)
        respond(port, 200, [], b"")

    async with serving(keep) as at, at.client() as client:
        client.says("POST / HTTP/1.1", HOST, f"Content-Length: {len(body)}", "", body)
        assert (await client.hears()).status == 200
        client.says("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked", "", "")
        for start in range(0, len(body), 10_007):
            piece = body[start : start + 10_007]
            client.says(f"{len(piece):x}", piece, "")
        client.says("0", "X-Trailer: dropped", "", "")
        assert (await client.hears()).status == 200
        assert got == [body, body]
        assert b"x-trailer" not in [name for name, _ in at.requests[1].headers]


# === what a handler gets


async def test_a_request_tells_all_that_was_asked():
    async with serving() as at, at.client() as client:
        client.says(
            "POST /v1/a%20b?x=1?y HTTP/1.1", HOST, "X-Team:  blue \t", "x-team: red", "Content-Length: 2", "", "hi"
        )
        await client.hears()
        (request,) = at.requests
        assert (request.method, request.target) == ("POST", b"/v1/a%20b?x=1?y")
        assert (request.path, request.query, request.peer) == ("/v1/a%20b", b"x=1?y", "127.0.0.1")
        assert [value for name, value in request.headers if name == b"x-team"] == [b"blue", b"red"]


@pytest.mark.parametrize(
    ("target", "origin_form"),
    [
        ("http://localhost/v1/models?a=b", b"/v1/models?a=b"),
        ("HTTP://127.0.0.1:80", b"/"),
        ("http://localhost?a=b", b"/?a=b"),
        ("https://localhost/", b"/"),
    ],
)
async def test_an_absolute_target_is_one_in_origin_form(target, origin_form):
    async with serving() as at:
        assert (await at.asks(f"GET {target} HTTP/1.1", HOST, "", "")).status == 200
        assert at.requests[0].target == origin_form


async def test_options_may_ask_for_the_server_as_a_whole():
    async with serving() as at:
        assert await at.asks("OPTIONS * HTTP/1.1", HOST, "", "") == (200, b"OPTIONS * 0")


# === answers


async def test_without_a_length_an_answer_is_chunked_by_what_was_written():
    async def two(request: Request, port: Port) -> None:
        port.start(200, [(b"content-type", b"text/event-stream")])
        port.write(b"one")
        port.write(b"")
        port.write(b"2" * 40_000)
        port.finish()

    async with serving(two) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        assert (await client.hears_head()).headers["transfer-encoding"] == "chunked"
        body = b"3\r\none\r\n9c40\r\n" + b"2" * 40_000 + b"\r\n0\r\n\r\n"
        assert await client.reader.readexactly(len(body)) == body


async def test_head_is_answered_without_a_body_and_the_connection_lives_on():
    async with serving() as at, at.client() as client:
        client.says("HEAD / HTTP/1.1", HOST, "", "")
        answer = await client.hears("HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, "8")
        client.says("GET / HTTP/1.1", HOST, "", "")
        assert await client.hears() == (200, b"GET / 0")


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(status):
    async def nothing(request: Request, port: Port) -> None:
        respond(port, status, [], b"ignored")

    async with serving(nothing) as at, at.client() as client:
        for _ in range(2):
            client.says("GET / HTTP/1.1", HOST, "", "")
            answer = await client.hears()
            assert answer.status == status
            assert not {"content-length", "transfer-encoding"} & set(answer.headers)


async def test_http_1_0_is_answered_without_chunks_and_the_connection_closes():
    async def stream(request: Request, port: Port) -> None:
        port.start(200, [])
        port.write(b"one")
        port.write(b"two")
        port.finish()

    async with serving(stream) as at, at.client() as client:
        client.says("GET / HTTP/1.0", "", "")
        answer = await client.hears_head()
        assert answer.headers["connection"] == "close"
        assert "transfer-encoding" not in answer.headers
        assert await client.hears_the_end() == b"onetwo"


async def test_a_client_that_wants_to_close_is_told_so_and_let_go():
    async with serving() as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "Connection: close", "", "GET /never HTTP/1.1", HOST, "", "")
        assert (await client.hears()).headers["connection"] == "close"
        assert await client.hears_the_end() == b""
        assert len(at.requests) == 1


async def test_answers_carry_a_date_and_no_server_name():
    async with serving() as at:
        headers = (await at.asks("GET / HTTP/1.1", HOST, "", "")).headers
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])
        assert "server" not in headers


# === Expect: 100-continue


async def test_the_body_is_asked_for_once_the_head_was_accepted():
    async with serving() as at, at.client() as client:
        client.says("POST / HTTP/1.1", HOST, "Content-Length: 5", "Expect: 100-Continue", "", "")
        assert (await client.hears()).status == 100
        client.says("hello")
        assert await client.hears() == (200, b"POST / 5")


async def test_an_oversized_body_is_refused_instead_of_asked_for():
    async with serving(max_body=4) as at, at.client() as client:
        client.says("POST / HTTP/1.1", HOST, "Content-Length: 5", "Expect: 100-continue", "", "")
        assert (await client.hears()).status == 413
        assert await client.hears_the_end() == b""


async def test_the_body_of_a_pipelined_request_is_asked_for_in_its_turn():
    go = asyncio.Event()

    async def wait(request: Request, port: Port) -> None:
        await go.wait()
        respond(port, 200, [], request.body)

    async with serving(wait) as at, at.client() as client:
        client.says(
            "GET / HTTP/1.1", HOST, "", "POST / HTTP/1.1", HOST, "Content-Length: 1", "Expect: 100-continue", "", ""
        )
        await until(lambda: at.requests)
        go.set()
        assert await client.hears() == (200, b"")
        assert (await client.hears()).status == 100
        client.says("x")
        assert await client.hears() == (200, b"x")


async def test_no_other_expectation_can_be_met():
    async with serving() as at:
        answer = await at.asks("POST / HTTP/1.1", HOST, "Content-Length: 1", "Expect: wonders", "", "")
        assert answer.status == 417


# === handlers that fail


async def test_a_client_error_gets_its_envelope_and_the_connection_lives_on():
    async def never(request: Request, port: Port) -> None:
        raise ClientError(405, "invalid_request_error", f"{request.method}: no")

    async with serving(never) as at, at.client() as client:
        for _ in range(2):
            client.says("PUT / HTTP/1.1", HOST, "", "")
            answer = await client.hears()
            assert (answer.status, answer.error) == (405, ("invalid_request_error", "PUT: no"))


async def test_our_own_mistake_is_a_500_that_blames_us():
    async def broken(request: Request, port: Port) -> None:
        raise KeyError(request.path)

    async with serving(broken) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
        assert answer.status == 500
        type, message = answer.error
        assert type == "api_error"
        assert "Claude Code Companion" in message


async def test_a_handler_that_forgets_to_answer_is_our_own_mistake():
    async def forgetful(request: Request, port: Port) -> None:
        pass

    async with serving(forgetful) as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 500


async def test_a_handler_that_finishes_before_it_starts_is_our_own_mistake():
    async def hasty(request: Request, port: Port) -> None:
        port.finish()

    async with serving(hasty) as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 500


async def test_a_second_start_is_our_own_mistake_and_ends_the_answer_short():
    async def twice(request: Request, port: Port) -> None:
        port.start(200, [])
        port.start(200, [])

    async with serving(twice) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
        assert (answer.status, answer.whole) == (200, False)


async def test_a_mistake_after_the_end_leaves_the_answer_whole_and_the_connection_open():
    async def late(request: Request, port: Port) -> None:
        respond(port, 200, [], b"done")
        raise KeyError

    async with serving(late) as at, at.client() as client:
        for _ in range(2):
            client.says("GET / HTTP/1.1", HOST, "", "")
            assert await client.hears() == (200, b"done")


async def test_a_mistake_after_the_start_ends_the_answer_short():
    async def broken(request: Request, port: Port) -> None:
        port.start(200, [])
        port.write(b"begun")
        raise KeyError

    async with serving(broken) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        answer = await client.hears()
        assert (answer.status, answer.body, answer.whole) == (200, b"begun", False)


async def test_a_header_that_would_end_the_head_is_never_sent():
    async def injected(request: Request, port: Port) -> None:
        respond(port, 200, [(b"x-evil", b"a\r\nset-cookie: b")], b"")

    async with serving(injected) as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 500


@pytest.mark.parametrize("written", [b"123", b"12345"])
async def test_an_answer_that_breaks_its_own_length_never_looks_whole(written):
    async def wrong(request: Request, port: Port) -> None:
        port.start(200, [(b"content-length", b"4")])
        port.write(written[:3])
        port.write(written[3:])
        port.finish()

    async with serving(wrong) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        answer = await client.hears()
        assert (answer.body, answer.whole) == (b"123", False)


# === where it listens


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_both_loopback_families_answer_on_the_same_port(host):
    async with serving() as at, at.client(host) as client:
        client.says("GET / HTTP/1.1", f"Host: localhost:{at.port}", "", "")
        assert (await client.hears()).status == 200
        assert at.server.addresses == [f"http://127.0.0.1:{at.port}", f"http://[::1]:{at.port}"]


async def test_connections_send_at_once_and_the_kernel_holds_little_for_them():
    async with serving() as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        await client.hears()
        (connection,) = at.shared.connections
        accepted = connection._transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 512 * 1024  # Linux doubles what is asked for


async def test_another_loopback_address_is_listened_on_alone():
    async with serving(host="::1") as at:
        assert at.server.addresses == [f"http://[::1]:{at.port}"]


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
async def test_a_port_in_use_is_an_os_error(taken):
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family) as other:
        at = Serving(tell, ServerSettings(port=other.getsockname()[1]))
        with pytest.raises(OSError) as raised:
            await at.server.start()
        assert at.server.addresses == []
        assert raised.value.errno == errno.EADDRINUSE


async def test_an_address_that_this_machine_does_not_have_is_left_out_unless_it_is_the_only_one():
    (bound,) = listen(("127.0.0.1", NOT_OURS), 0)
    bound.close()
    with pytest.raises(OSError):
        listen((NOT_OURS,), 0)


async def test_a_port_that_is_free_on_one_address_only_is_none():
    with pytest.raises(OSError) as raised:
        listen(("127.0.0.1", "127.0.0.1"), 0)
    assert raised.value.errno == errno.EADDRINUSE


# === live reload


async def test_a_changed_limit_holds_from_the_next_request_on():
    async with serving(max_body=10) as at, at.client() as client:
        client.says("POST / HTTP/1.1", HOST, "Content-Length: 5", "", "hello")
        assert (await client.hears()).status == 200
        at.change(max_body=4)
        client.says("POST / HTTP/1.1", HOST, "Content-Length: 5", "", "hello")
        assert (await client.hears()).status == 413
