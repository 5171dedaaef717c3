"""TLS on our port: what it takes, whom it refuses and how, and that an answer ends as it does without."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from companion.config.models import ServerSettings, TlsSettings
from companion.proxy.port import Port, Request, respond
from companion.proxy.tls import server_context
from tests.proxy.client import HOST, Answer, Client, Serving, memory, tell, until

GET = ("GET / HTTP/1.1", HOST, "", "")


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.pem = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.pem)

    def issue(self, name: str = "server", host: str = "localhost") -> dict[str, Any]:
        made = self.ca.issue_cert(host)
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return {"certificate": chain, "key": key}

    def client(self, **own: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.pem)
        if own:
            context.load_cert_chain(own["certificate"], own["key"])
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def serving(tls: dict[str, Any], handler: Any = tell, **limits: Any) -> AsyncIterator[Serving]:
    at = Serving(handler, ServerSettings(port=0, tls=TlsSettings(**tls), **limits))
    await at.server.start()
    try:
        yield at
    finally:
        await at.server.close()


@asynccontextmanager
async def client(at: Serving, context: ssl.SSLContext) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", at.port, ssl=context, server_hostname="localhost", ssl_shutdown_timeout=1
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def asks(at: Serving, context: ssl.SSLContext) -> Answer:
    async with client(at, context) as c:
        c.says(*GET)
        return await c.hears()


async def gone(at: Serving) -> None:
    await until(lambda: not at.shared.connections)


async def renewed(at: Serving) -> None:
    at.server.renew_certificate()
    assert at.server._renewing is not None
    await at.server._renewing


async def name_seen(at: Serving, context: ssl.SSLContext) -> str:
    """The host in the certificate that a new connection sees."""
    async with client(at, context) as c:
        return str(c.writer.get_extra_info("peercert")["subjectAltName"][0][1])


# === what it takes


async def test_one_connection_serves_one_request_after_the_other(authority):
    async with serving(authority.issue()) as at, client(at, authority.client()) as c:
        assert at.server.addresses[0].startswith("https://127.0.0.1:")
        for number in range(3):
            c.says(f"POST /{number} HTTP/1.1", HOST, "Content-Length: 5", "", "hello")
            assert await c.hears() == (200, b"POST /%d 5" % number)


async def test_it_speaks_http_1_and_nothing_older_than_tls_1_2(authority):
    async with serving(authority.issue()) as at:
        modern = authority.client()
        modern.set_alpn_protocols(["h2", "http/1.1"])
        async with client(at, modern) as c:
            assert c.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            one = authority.client()
            one.minimum_version = one.maximum_version = version
            async with client(at, one) as c:
                c.says(*GET)
                assert (await c.hears()).status == 200
    assert server_context(TlsSettings(**authority.issue())).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_large_bodies_arrive_as_they_are_both_ways(authority):
    sent = bytes(range(256)) * 12_000

    async def echo(request: Request, port: Port) -> None:
        respond(port, 200, [], request.body)

    async with serving(authority.issue(), echo) as at, client(at, authority.client()) as c:
        c.says("POST / HTTP/1.1", HOST, f"Content-Length: {len(sent)}", "", sent)
        assert await c.hears() == (200, sent)


async def test_a_hello_may_come_byte_by_byte(authority):
    async with serving(authority.issue()) as at:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0)
                incoming.write(await reader.read(65536))
        writer.close()


# === whom it refuses


async def test_plain_http_is_told_to_come_by_https(authority):
    async with serving(authority.issue()) as at, at.client() as c:
        c.says("POST /v1/messages HTTP/1.1", HOST, "Content-Length: 100000", "", b"x" * 100_000)
        answer = await c.hears()
        assert answer.status == 400
        assert b"https://" in answer.body
        assert await c.hears_the_end() == b""
        assert not at.requests


async def test_what_is_neither_is_refused(authority):
    async with serving(authority.issue()) as at, at.client() as c:
        c.says(b"\x16\x03\x01\x00\x05hello" * 100)
        await c.hears_the_end()
        assert not at.requests
        c.writer.close()
        await until(lambda: not at.shared.connections)


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"], ids=["silence", "half a hello"])
async def test_a_handshake_that_does_not_come_ends_in_time(authority, begun):
    async with serving(authority.issue(), header_timeout=0.1) as at, at.client() as c:
        c.says(begun)
        with_reset = False
        try:
            await c.hears_the_end()
        except ConnectionResetError:
            with_reset = True
        assert with_reset or not at.shared.connections


async def test_without_a_certificate_of_its_own_a_client_is_refused_where_one_is_asked_for(authority, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    stranger = Authority(other)
    async with serving({**authority.issue(), "client_ca": authority.pem}) as at:
        known = authority.issue("ann", "ann.example")
        async with client(at, authority.client(**known)) as c:
            c.says(*GET)
            assert (await c.hears()).status == 200
        for own in ({}, stranger.issue("eve")):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await asks(at, authority.client(**own))
        assert len(at.requests) == 1


async def test_the_log_says_who_came_in_vain_and_why(authority, capsys):
    async with serving(authority.issue()) as at:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asks(at, ssl.create_default_context())
        async with at.client() as c:
            c.says(b"\x16\x03\x01")
        async with at.client() as c:
            c.says(*GET)
            await c.hears()
        async with at.client():
            pass
        await gone(at)
    told = [line for line in capsys.readouterr().out.splitlines() if "tls refused" in line]
    assert len(told) == 3
    assert "it may not trust the certificate" in "".join(told)
    assert "plain HTTP" in "".join(told)
    assert all("peer=127.0.0.1" in line for line in told)


# === how answers end


async def cut(request: Request, port: Port) -> None:
    port.start(200, [(b"content-type", b"text/event-stream")])
    port.write(b"data: half\n\n")
    port.abort()


async def test_a_cut_is_a_close_notify_without_the_final_chunk(authority):
    async with serving(authority.issue(), cut) as at, client(at, authority.client()) as c:
        c.says(*GET)
        answer = await c.hears()
        assert (answer.body, answer.whole) == (b"data: half\n\n", False)
        assert c.reader.at_eof()
        assert c.reader.exception() is None


async def test_whoever_looks_can_tell_our_end_from_a_cable_that_was_cut(authority):
    def ask(port: int) -> bytes:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            authority.client().wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as secure,
        ):
            secure.sendall("\r\n".join(GET).encode())
            # Without a close_notify this would be an SSLEOFError in the end.
            return b"".join(iter(lambda: secure.recv(4096), b""))

    async with serving(authority.issue(), cut) as at:
        assert (await asyncio.to_thread(ask, at.port)).endswith(b"data: half\n\n\r\n")


async def test_a_client_of_the_standard_library_notices_a_cut(authority):
    def ask(port: int) -> None:
        connection = http.client.HTTPSConnection("localhost", port, context=authority.client(), timeout=10)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        finally:
            connection.close()

    async with serving(authority.issue(), cut) as at:
        with pytest.raises(http.client.IncompleteRead) as caught:
            await asyncio.to_thread(ask, at.port)
        assert caught.value.partial == b"data: half\n\n"


async def test_an_answer_to_who_still_sends_arrives_before_the_end(authority):
    async with serving(authority.issue(), max_body=1000) as at, client(at, authority.client()) as c:
        c.says("POST / HTTP/1.1", HOST, "Content-Length: 9000000", "", b"x" * 4_000_000)
        answer = await c.hears()
        assert answer.status == 413
        assert "connection" in answer.headers


async def test_a_client_that_leaves_cancels_its_handler(authority):
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def patient(request: Request, port: Port) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    for leave in ("close_notify", "reset"):
        began.clear()
        cancelled.clear()
        async with serving(authority.issue(), patient) as at, client(at, authority.client()) as c:
            c.says(*GET)
            await asyncio.wait_for(began.wait(), 5)
            if leave == "reset":
                c.writer.transport.abort()
            else:
                c.writer.close()
            await asyncio.wait_for(cancelled.wait(), 5)
            await gone(at)


async def test_a_client_that_reads_slowly_holds_the_handler_up(authority):
    wrote = []

    async def much(request: Request, port: Port) -> None:
        port.start(200, [])
        for _ in range(200):
            wrote.append(1)
            if not port.write(b"x" * 100_000):
                await port.drain()
        port.finish()

    async with serving(authority.issue(), much) as at, client(at, authority.client()) as c:
        with memory(6_000_000):
            c.says(*GET)
            c.stops_reading()
            await until(lambda: wrote)
            await asyncio.sleep(0.1)
            assert len(wrote) < 100
        c.reads_on()
        assert await c.hears() == (200, b"x" * 20_000_000)


async def test_a_client_that_takes_nothing_is_cut_off(authority):
    async def endless(request: Request, port: Port) -> None:
        port.start(200, [])
        while True:
            if not port.write(b"x" * 100_000):
                await port.drain()

    async with serving(authority.issue(), endless, client_write_timeout=0.2) as at, client(at, authority.client()) as c:
        c.says(*GET)
        c.stops_reading()
        await until(lambda: at.requests)
        await until(lambda: not at.shared.connections)


async def test_draining_closes_what_is_idle_and_waits_for_answers(authority):
    go = asyncio.Event()

    async def wait(request: Request, port: Port) -> None:
        await go.wait()
        respond(port, 200, [], b"done")

    async with (
        serving(authority.issue(), wait) as at,
        client(at, authority.client()) as idle,
        client(at, authority.client()) as busy,
    ):
        busy.says(*GET)
        await until(lambda: at.requests)
        draining = asyncio.create_task(at.server.drain(30))
        assert await idle.hears_the_end() == b""
        go.set()
        assert await busy.hears() == (200, b"done")
        busy.writer.close()
        await asyncio.wait_for(draining, 10)


async def test_connections_without_a_handshake_count_as_well(authority):
    async with serving(authority.issue(), max_connections=2) as at, at.client(), at.client(), at.client():
        await until(lambda: at.shared.connections)
        await asyncio.sleep(0.05)
        assert len(at.shared.connections) <= 2


# === another certificate


async def test_new_connections_see_the_new_certificate_and_old_ones_live_on(authority):
    context = authority.client()
    context.check_hostname = False
    tls = authority.issue("server", "first.example")
    async with serving(tls) as at, client(at, context) as old:
        assert await name_seen(at, context) == "first.example"
        authority.issue("server", "second.example")
        await renewed(at)
        assert await name_seen(at, context) == "second.example"
        old.says(*GET)
        assert (await old.hears()).status == 200


@pytest.mark.parametrize("broken", ["gone", "rubbish", "another key"])
async def test_a_broken_new_certificate_changes_nothing_and_is_logged(authority, broken, capsys):
    context = authority.client()
    context.check_hostname = False
    tls = authority.issue("server", "first.example")
    async with serving(tls) as at:
        if broken == "gone":
            tls["certificate"].unlink()
        elif broken == "rubbish":
            tls["certificate"].write_text("rubbish")
        else:
            tls["key"].write_bytes(authority.issue("other")["key"].read_bytes())
        await renewed(at)
        assert await name_seen(at, context) == "first.example"
    assert "certificate_not_renewed" in capsys.readouterr().out


async def test_a_certificate_that_cannot_be_used_is_an_error_at_start(authority, tmp_path):
    tls = authority.issue()
    settings = ServerSettings(port=0, tls=TlsSettings(**tls))
    tls["key"].write_text("rubbish")
    at = Serving(tell, settings)
    with pytest.raises(OSError, match=r"PEM|SSL"):
        await at.server.start()
