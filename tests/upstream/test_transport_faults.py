"""Everything that fails is a fault with its kind, phase and party; and nothing is sent twice but what may be."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
import trustme

from companion.clock import FakeClock
from companion.errors import Kind, Party, Phase
from companion.net.tls import TlsContext
from tests.upstream.wire import (
    CHUNKED,
    CLOCK,
    GET,
    OK,
    Wire,
    after,
    asked,
    body_of,
    client,
    deaf,
    fault_of,
    fin,
    head,
    hearing,
    limits,
    more,
    on,
    pool_of,
    post,
    raw,
    rst,
    say,
    send,
    serving,
    trusting,
    until,
)

BIG = post(b"x" * 30_000_000)
PARTIAL = say("HTTP/1.1 200 OK", "content-length: 100", "", "abc")


# === before the request is out


async def test_a_port_where_nobody_listens_refuses():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        async with client(f"http://user:secret@127.0.0.1:{port}/") as transport:
            fault = await fault_of(send(transport))
    assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.REFUSED)
    assert fault.message == f"127.0.0.1:{port} refused the connection"


async def test_an_upstream_that_does_not_read_runs_into_the_write_limit():
    async with Wire([head, deaf]) as up, client(up) as transport:
        fault = await fault_of(send(transport, BIG, limits(write=0.2)))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.WRITE, Kind.WRITE_TIMEOUT)


async def test_a_request_that_waits_in_our_own_buffers_is_not_out():
    async with Wire([asked, OK, head, deaf], narrow=True) as up, client(up) as transport:
        await body_of(await send(transport))
        sock = transport._pool._idle[0]._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        fault = await fault_of(send(transport, post(b"x" * 60_000), limits(write=0.2)))
        assert (fault.phase, fault.kind) == (Phase.WRITE, Kind.WRITE_TIMEOUT)


async def test_an_upstream_that_reads_slowly_does_not_run_into_the_write_limit():
    slowly = [step for _ in range(7) for step in (deaf, after(0.1), hearing, more(4_000_000))]
    async with Wire([head, *slowly, more(2_000_000), OK]) as up, client(up) as transport:
        response = await send(transport, BIG, limits(write=0.55))
        assert await body_of(response) == b"ok"


async def test_the_headers_limit_begins_when_the_request_is_out():
    clock = FakeClock()
    late = asyncio.Event()
    async with Wire([head, deaf, on(late), hearing, more(30_000_000), OK]) as up, client(up, clock=clock) as transport:
        sending = asyncio.create_task(send(transport, BIG, limits(write=100.0), headers=0.05))
        await until(lambda: bool(up.requests))
        clock.advance(20)
        await asyncio.sleep(0.15)
        late.set()
        assert await body_of(await sending) == b"ok"


@pytest.mark.parametrize(("end", "kind"), [(fin, {Kind.CLOSED, Kind.RESET}), (rst, {Kind.RESET})])
async def test_a_connection_that_ends_during_the_upload(end, kind):
    async with Wire([head, deaf, end]) as up, client(up) as transport:
        fault = await fault_of(send(transport, BIG))
        assert (fault.party, fault.phase) == (Party.UPSTREAM, Phase.WRITE)
        assert fault.kind in kind


# === before the answer's head


@pytest.mark.parametrize(("end", "kind"), [(fin, Kind.CLOSED), (rst, Kind.RESET)])
async def test_a_connection_that_ends_before_the_head(end, kind):
    async with Wire([asked, end]) as up, client(up) as transport:
        fault = await fault_of(send(transport))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.HEADERS, kind)
        assert str(up.port) in fault.message


async def test_a_connection_that_ends_inside_the_head_says_so():
    async with Wire([asked, raw(b"HTTP/1.1 200 OK\r\nx:"), fin]) as up, client(up) as transport:
        fault = await fault_of(send(transport))
        assert (fault.phase, fault.kind) == (Phase.HEADERS, Kind.CLOSED)
        assert "in the middle of the response headers" in fault.message


@pytest.mark.parametrize("script", [[], [raw(b"HTTP/1.1 200 OK\r\n")], [say("HTTP/1.1 100 Continue", "", "")]])
async def test_headers_that_do_not_come_in_time(script):
    async with Wire([asked, *script]) as up, client(up) as transport:
        fault = await fault_of(send(transport, headers=0.1))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.HEADERS, Kind.HEADERS_TIMEOUT)
        await up.left()


async def test_a_limit_that_was_kept_does_not_ring_later():
    async with Wire([asked, OK] * 2) as up, client(up) as transport:
        for _ in range(2):
            assert await body_of(await send(transport, headers=0.1)) == b"ok"
            await asyncio.sleep(0.15)
        assert len(up.peers) == 1


async def test_without_a_headers_limit_an_answer_may_take_its_time():
    async with Wire([asked, after(0.2), OK, asked, OK]) as up, client(up) as transport:
        assert await body_of(await send(transport, headers=None)) == b"ok"
        assert await body_of(await send(transport)) == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: br\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 201 + b"\r\n",
    ],
)
async def test_a_head_that_is_not_http_as_we_speak_it(answer):
    async with Wire([asked, raw(answer)]) as up, client(up) as transport:
        fault = await fault_of(send(transport))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.HEADERS, Kind.BAD_HTTP)
        await up.left()


async def test_a_head_just_within_the_limits_is_read():
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"y" * 300) for number in range(190))
    answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + fields + b"\r\nok")
    async with Wire([asked, answer]) as up, client(up) as transport:
        response = await send(transport)
        assert (len(response.headers), await body_of(response)) == (191, b"ok")


# === in the body


@pytest.mark.parametrize(("end", "how"), [(fin, "closed"), (rst, "broke")])
@pytest.mark.parametrize("answer", [PARTIAL, say("HTTP/1.1 200 OK", "transfer-encoding: chunked", "", "3", "abc", "")])
async def test_a_body_that_is_cut(answer, end, how):
    go = asyncio.Event()
    async with Wire([asked, answer, on(go), end]) as up, client(up) as transport:
        response = await send(transport)
        assert await response.read(idle=20) == b"abc"
        go.set()
        fault = await fault_of(response.read(idle=20))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.BODY, Kind.CUT)
        assert how in fault.message
        assert await fault_of(response.read(idle=20)) == fault


async def test_a_close_delimited_body_that_is_reset_is_cut():
    go = asyncio.Event()
    async with Wire([asked, say("HTTP/1.1 200 OK", "", "abc"), on(go), rst]) as up, client(up) as transport:
        response = await send(transport)
        assert await response.read(idle=20) == b"abc"
        go.set()
        assert (await fault_of(response.read(idle=20))).kind is Kind.CUT


async def test_what_arrived_before_the_cut_can_still_be_read():
    async with Wire([asked, PARTIAL, fin]) as up, client(up) as transport:
        response = await send(transport)
        await up.left()
        assert await response.read(idle=20) == b"abc"
        assert (await fault_of(response.read(idle=20))).kind is Kind.CUT


async def test_a_chunk_that_is_none():
    async with Wire([asked, CHUNKED, raw(b"3\r\nabc\r\nzzz\r\n")]) as up, client(up) as transport:
        response = await send(transport)
        assert await response.read(idle=20) == b"abc"
        fault = await fault_of(response.read(idle=20))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.BODY, Kind.BAD_HTTP)
        await up.left()


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 200_000, b"0\r\n" + b"x: y\r\n" * 20_000])
async def test_framing_without_end_is_refused(endless):
    async with Wire([asked, CHUNKED, raw(endless)]) as up, client(up) as transport:
        response = await send(transport)
        assert (await fault_of(body_of(response))).kind is Kind.BAD_HTTP
        await up.left()


@pytest.mark.parametrize("way", ["read", "pipe"])
async def test_silence_in_the_body(way):
    async with Wire([asked, PARTIAL]) as up, client(up) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        waiting = body_of(response, idle=0.1) if way == "read" else response.pipe(pieces.append, idle=0.1)
        fault = await fault_of(waiting)
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.BODY, Kind.IDLE_TIMEOUT)
        await up.left()


async def test_framing_bytes_are_life():
    clock = FakeClock()
    async with Wire([asked, CHUNKED]) as up, client(up, clock=clock) as transport:
        response = await send(transport)
        reading = asyncio.create_task(body_of(response, idle=0.05))
        for byte in b"1;a-slow-comment\r\nx\r\n0\r\n\r\n":
            clock.advance(0.04)
            up.peers[0].transport.write(bytes([byte]))
            await until(lambda: response.last_byte == clock.now)
            await asyncio.sleep(0.02)
        assert await reading == b"x"


# === leaving


@pytest.mark.parametrize("script", [[head, deaf], [asked], [asked, raw(b"HTTP/1.1 2")]])
async def test_a_cancelled_send_closes_the_connection(script):
    async with Wire(script, [asked, OK]) as up, client(up, pool_of(1)) as transport:
        sending = asyncio.create_task(send(transport, BIG if deaf in script else GET))
        await until(lambda: bool(up.requests))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        up.peers[0].transport.resume_reading()
        await up.left()
        assert await body_of(await send(transport)) == b"ok"


@pytest.mark.parametrize("way", ["read", "pipe"])
async def test_a_cancelled_reader_closes_the_connection(way):
    async with Wire([asked, PARTIAL], [asked, OK]) as up, client(up, pool_of(1)) as transport:
        response = await send(transport)
        pieces: list[bytes] = []
        waiting = body_of(response) if way == "read" else response.pipe(pieces.append, idle=None)
        reading = asyncio.create_task(waiting)
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await up.left()
        assert await body_of(await send(transport)) == b"ok"


async def test_close_in_the_middle_ends_the_connection_and_wakes_the_reader():
    async with Wire([asked, PARTIAL]) as up, client(up) as transport:
        response = await send(transport)
        reading = asyncio.create_task(fault_of(body_of(response)))
        await asyncio.sleep(0.01)
        response.close()
        response.close()
        fault = await reading
        assert (fault.party, fault.kind) == (Party.OURS, Kind.CANCELLED)
        await up.left()


async def test_close_after_a_whole_body_keeps_the_connection():
    async with Wire([asked, OK, asked, OK]) as up, client(up) as transport:
        response = await send(transport)
        await body_of(response)
        response.close()
        await body_of(await send(transport))
        assert len(up.peers) == 1


# === once more


@pytest.mark.parametrize("end", [fin, rst])
@pytest.mark.parametrize("request_", [GET, post(b"ab", b"cd")])
async def test_a_used_connection_that_dies_without_a_byte_is_replaced_unnoticed(end, request_):
    async with Wire([asked, OK, asked, end], [asked, OK]) as up, client(up) as transport:
        for _ in range(2):
            assert await body_of(await send(transport, request_)) == b"ok"
        assert len(up.peers) == 2
        assert up.requests == up.requests[:1] * 3


async def test_the_second_connection_is_new_even_if_others_are_idle():
    together = asyncio.Event()
    used = [asked, on(together), OK, asked, rst]
    async with Wire(used, used, [asked, OK]) as up, client(up, pool_of(2)) as transport:
        first, second = (asyncio.create_task(send(transport)) for _ in range(2))
        await until(lambda: len(up.requests) == 2)
        together.set()
        for response in (await first, await second):
            await body_of(response)
        assert await body_of(await send(transport)) == b"ok"
        assert len(up.peers) == 3


async def test_a_new_connection_is_not_tried_twice():
    async with Wire([asked, rst], [asked, OK]) as up, client(up) as transport:
        assert (await fault_of(send(transport))).kind is Kind.RESET
        assert len(up.peers) == 1


async def test_a_request_is_not_sent_a_third_time():
    async with Wire([asked, OK, asked, rst], [asked, fin], [asked, OK]) as up, client(up) as transport:
        await body_of(await send(transport))
        assert (await fault_of(send(transport))).kind is Kind.CLOSED
        assert len(up.requests) == 3


@pytest.mark.parametrize("byte", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_request_whose_answer_had_begun_is_not_sent_again(byte):
    async with Wire([asked, OK, asked, raw(byte), after(0.05), rst], [asked, OK]) as up, client(up) as transport:
        await body_of(await send(transport))
        assert (await fault_of(send(transport))).kind is Kind.RESET
        assert len(up.peers) == 1


async def test_a_silent_used_connection_is_not_tried_again():
    async with Wire([asked, OK, asked], [asked, OK]) as up, client(up) as transport:
        await body_of(await send(transport))
        assert (await fault_of(send(transport, headers=0.1))).kind is Kind.HEADERS_TIMEOUT
        assert len(up.peers) == 1


# === TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    return serving(authority, "127.0.0.1")


@pytest.fixture(scope="module")
def trust(authority: trustme.CA) -> Callable[[], ssl.SSLContext]:
    context = trusting(authority)
    return lambda: context


async def test_tls_carries_requests(certified, trust):
    size = 3_000_000
    answer = [CHUNKED, say("1", "a", ""), after(0.01), say(f"{size:x}", "b" * size, "0", "", "")]
    async with Wire([asked, *answer, asked, *answer], tls=certified) as up, client(up, tls=trust) as transport:
        for _ in range(2):
            response = await send(transport, post(b"x" * size))
            assert await body_of(response) == b"a" + b"b" * size
        assert len(up.peers) == 1


async def test_trust_is_built_once_and_off_the_event_loop(certified, trust):
    def build():
        builders.append(threading.current_thread())
        return trust()

    builders: list[threading.Thread] = []
    async with Wire([asked, OK, fin], tls=certified) as up, client(up, tls=build) as transport:
        for number in range(2):
            await body_of(await send(transport))
            await up.left(number)
        assert len(builders) == 1
        assert builders[0] is not threading.main_thread()


async def test_a_tls_body_that_ends_with_the_connection(certified, trust):
    answer = say("HTTP/1.1 200 OK", "", "hello")
    async with Wire([asked, answer, fin], tls=certified) as up, client(up, tls=trust) as transport:
        assert await body_of(await send(transport)) == b"hello"


async def test_a_tls_upstream_that_does_not_read_runs_into_the_write_limit(certified, trust):
    async with Wire([head, deaf], tls=certified) as up, client(up, tls=trust) as transport:
        fault = await fault_of(send(transport, BIG, limits(write=0.2)))
        assert (fault.phase, fault.kind) == (Phase.WRITE, Kind.WRITE_TIMEOUT)


@pytest.mark.parametrize(("script", "kind"), [([asked, rst], Kind.RESET), ([asked, fin], Kind.CLOSED)])
async def test_a_tls_connection_that_ends_before_the_head(certified, trust, script, kind):
    async with Wire(script, tls=certified) as up, client(up, tls=trust) as transport:
        fault = await fault_of(send(transport))
        assert (fault.phase, fault.kind) == (Phase.HEADERS, kind)


async def test_a_tls_answer_that_is_given_up_ends_the_connection(certified, trust):
    async with Wire([asked, PARTIAL], tls=certified) as up, client(up, tls=trust) as transport:
        response = await send(transport)
        response.close()
        await up.left()


async def test_a_certificate_that_is_not_trusted_is_a_fault_of_tls(trust):
    unknown = serving(trustme.CA(), "127.0.0.1")
    async with Wire([asked, OK], tls=unknown) as up, client(up, tls=trust) as transport:
        fault = await fault_of(send(transport))
        assert (fault.party, fault.phase, fault.kind) == (Party.UPSTREAM, Phase.TLS, Kind.TLS)


async def test_trust_that_cannot_be_read_is_our_fault(tmp_path):
    async with client("https://127.0.0.1:1", tls=TlsContext(tmp_path / "gone.pem")) as transport:
        fault = await fault_of(send(transport))
        assert (fault.party, fault.phase, fault.kind) == (Party.OURS, Phase.TLS, Kind.TLS)


@pytest.mark.parametrize("script", [[], [raw(b"HTTP/1.1 200 OK\r\n")], [PARTIAL], [CHUNKED, raw(b"1\r\na\r\n")]])
async def test_what_is_not_over_at_its_deadline_is_given_up(script):
    async with Wire([asked, *script]) as up, client(up) as transport:
        with pytest.raises(TimeoutError):
            await body_of(await transport.send(GET, limits(), headers=None, until=CLOCK.monotonic() + 0.1))
        await up.left()


async def test_a_deadline_holds_while_a_connection_is_waited_for():
    async with Wire([asked]) as up, client(up, pool_of(max_connections=1)) as transport:
        first = asyncio.create_task(send(transport))
        await until(lambda: len(up.peers) == 1)
        with pytest.raises(TimeoutError):
            await transport.send(GET, limits(), headers=None, until=CLOCK.monotonic() + 0.05)
        first.cancel()


async def test_a_deadline_that_was_kept_does_not_ring_later():
    async with Wire([asked, OK] * 2) as up, client(up) as transport:
        for _ in range(2):
            response = await transport.send(GET, limits(), headers=None, until=CLOCK.monotonic() + 0.1)
            assert await body_of(response) == b"ok"
            await asyncio.sleep(0.15)
        assert len(up.peers) == 1
