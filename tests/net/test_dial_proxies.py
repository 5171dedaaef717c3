"""Through proxies: what they connect to, what they are told, and what is said when it does not work."""

import asyncio
import socket
import ssl
from contextlib import closing
from typing import Any, cast

import pytest
import trustme

from companion.errors import Fault, Kind, Party, Phase
from companion.net.dial import Origin, Resolve, dial, resolve
from companion.net.proxies import Proxy, Unusable
from companion.net.tunnel import Tunnel
from tests.net.test_dial import BROADCAST, full, resolving
from tests.support.proxies import HttpProxy, HttpsProxy, NamingSocksProxy, SocksProxy
from tests.upstream.wire import Wire, fault_of, fin, raw, rst, serving, trusting, until

SECRET = "s3cr:t@/"
PROXIES = (HttpProxy, HttpsProxy, SocksProxy, NamingSocksProxy)


class Client(asyncio.Protocol):
    """What a connection brings."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def made(kind: type[HttpProxy | SocksProxy], authority: trustme.CA, **options: Any) -> HttpProxy | SocksProxy:
    """A proxy of this kind; one that speaks TLS has a certificate."""
    return kind(tls=serving(authority, "127.0.0.1") if kind is HttpsProxy else None, **options)


async def reach(
    proxy: str,
    origin: Origin,
    context: ssl.SSLContext | None = None,
    connect: float = 20.0,
    tls: float = 20.0,
    resolve: Resolve = resolve,
) -> Client:
    route = Proxy.of(proxy)
    client, _ = await dial(origin, Client, connect=connect, tls=tls, context=context, route=route, resolve=resolve)
    return client


async def fault(proxy: str, origin: Origin, *args, **named) -> Fault:
    """The fault, which names both and tells no secret."""
    failed = await fault_of(reach(proxy, origin, *args, **named))
    assert str(Proxy.of(proxy)) in failed.message
    assert str(origin) in failed.message
    assert not any(secret in failed.message for secret in (SECRET, "zoe9", "s3cr"))
    return failed


def to(up: Wire) -> Origin:
    return Origin.of(up.url)


async def echoed(client: Client) -> None:
    """What is written comes back, and nothing else."""
    client.transport.write(b"ping")
    await until(lambda: bool(client.got))
    assert client.got == b"pong"
    client.transport.abort()
    await client.ended.wait()


async def pong(peer):
    await peer.take(lambda seen: 4 if len(seen) >= 4 else None)
    peer.transport.write(b"pong")


# === what works


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("secure", [False, True])
async def test_a_proxy_connects(kind, signed, secure, authority):
    who = {"user": "zoe9", "password": SECRET} if signed else {}
    served = serving(authority, "127.0.0.1") if secure else None
    async with Wire([pong], tls=served) as up, made(kind, authority, **who) as proxy:
        await echoed(await reach(proxy.url, to(up), trusting(authority)))
        assert proxy.asked == [f"127.0.0.1:{up.port}"]
        await until(lambda: proxy.open == 0)


@pytest.mark.parametrize("kind", [HttpProxy, HttpsProxy, NamingSocksProxy])
async def test_the_proxy_looks_names_up(kind, authority):
    names = {"api.example": "127.0.0.1"}
    async with Wire([pong], tls=serving(authority, "api.example")) as up, made(kind, authority, names=names) as proxy:
        origin = Origin("https", "api.example", up.port)
        await echoed(await reach(proxy.url, origin, trusting(authority)))
        assert proxy.asked == [f"api.example:{up.port}"]


async def test_with_socks5_we_look_names_up_and_a_refused_address_is_followed_by_the_next(authority):
    async with Wire([pong], tls=serving(authority, "api.example")) as up, SocksProxy() as proxy:
        origin = Origin("https", "api.example", up.port)
        client = await reach(proxy.url, origin, trusting(authority), resolve=resolving("::1", "127.0.0.1"))
        await echoed(client)
        assert proxy.asked == [f"::1:{up.port}", f"127.0.0.1:{up.port}"]


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
async def test_an_upstream_with_an_ipv6_address(kind):
    async with Wire([pong], host="::1") as up, kind() as proxy:
        await echoed(await reach(proxy.url, to(up)))
        assert proxy.asked == [f"::1:{up.port}"]


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
async def test_a_dead_address_of_the_proxy_is_followed_by_the_next(kind):
    async with Wire([pong]) as up, kind() as proxy:
        with full("127.0.0.2", proxy.port):
            url = f"{proxy.scheme}://proxy.example:{proxy.port}"
            await echoed(await reach(url, to(up), resolve=resolving("127.0.0.2", "::1", "127.0.0.1")))


@pytest.mark.parametrize("kind", PROXIES)
async def test_bytes_that_come_with_the_proxys_answer_are_the_upstreams(kind, authority):
    async with Wire([raw(b"after")]) as up, made(kind, authority, early=b"before ") as proxy:
        client = await reach(proxy.url, to(up), trusting(authority))
        await until(lambda: len(client.got) == len(b"before after"))
        assert client.got == b"before after"
        client.transport.abort()


async def test_an_answer_of_the_proxy_may_come_in_pieces():
    async def slowly(peer):
        await peer.take(lambda seen: len(seen) if b"\r\n\r\n" in seen else None)
        for byte in b"HTTP/1.0 200 \r\nx: y\r\n\r\nhello":
            peer.transport.write(bytes([byte]))
            await asyncio.sleep(0)

    async with Wire([slowly]) as proxy:
        client = await reach(proxy.url, Origin("http", "api.example", 80))
        await until(lambda: client.got == b"hello")
        client.transport.abort()


@pytest.mark.parametrize("kind", [HttpProxy, HttpsProxy])
async def test_an_upstream_that_leaves_at_once_is_heard_to_leave(kind, authority):
    async with Wire([raw(b"bye"), fin]) as up, made(kind, authority) as proxy:
        client = await reach(proxy.url, to(up), trusting(authority))
        await client.ended.wait()
        assert client.got == b"bye"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size", [1, 200_000])
async def test_what_comes_at_once_with_the_end_is_heard(secure, size, authority):
    async def asked(peer):
        await peer.take(lambda seen: len(seen) if b"\r\n\r\n" in seen else None)

    script = [asked, raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"bye" * size), fin]
    async with Wire(script, tls=serving(authority, "127.0.0.1") if secure else None) as proxy:
        client = await reach(proxy.url, Origin("http", "api.example", 80), trusting(authority))
        await client.ended.wait()
        assert client.got == b"bye" * size


async def test_pieces_that_come_before_the_upstreams_protocol_are_kept_for_it():
    tunnel = Tunnel()
    for piece in (b"HTTP/1.1 200 OK\r\n\r", b"\none ", b"two ", b"three"):
        tunnel.data_received(piece)
    assert await tunnel.head == b"HTTP/1.1 200 OK\r\n\r\n"
    assert tunnel.rest == b"one two three"


async def test_the_password_is_for_the_proxy_only(authority):
    async with Wire([pong]) as up, HttpProxy(user="zoe9", password=SECRET) as proxy:
        client = await reach(proxy.url, to(up))
        await echoed(client)
        assert bytes(up.peers[0].seen) == b""


async def test_the_steps_are_timed(authority):
    async with Wire([pong], tls=serving(authority, "127.0.0.1")) as up, HttpProxy() as proxy:
        url = f"http://localhost:{proxy.port}"
        client, steps = await dial(to(up), Client, connect=20, tls=20, context=trusting(authority), route=Proxy.of(url))
        assert all(step is not None and step >= 0 for step in (steps.dns, steps.connect, steps.tls))
        client.transport.abort()


# === what does not


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
async def test_a_proxy_that_refuses_the_connection(scheme, authority):
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"{scheme}://zoe9:s3cr@127.0.0.1:{unheard.getsockname()[1]}"
        failed = await fault(url, Origin("http", "127.0.0.1", 80), trusting(authority))
    assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.REFUSED)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_cannot_be_reached(scheme):
    failed = await fault(f"{scheme}://{BROADCAST}:80", Origin("http", "127.0.0.1", 80))
    assert failed.kind is Kind.UNREACHABLE


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_nobody_knows(scheme):
    failed = await fault(f"{scheme}://nobody.invalid:80", Origin("http", "127.0.0.1", 80))
    assert failed.kind is Kind.DNS
    assert failed.message.startswith(f"the host of the proxy {scheme}://nobody.invalid:80 is not known on the way to")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_does_not_accept_the_connection(scheme):
    with full("127.0.0.1") as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        failed = await fault(url, Origin("http", "127.0.0.1", 80), connect=0.1)
    assert failed.kind is Kind.CONNECT_TIMEOUT


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_proxy_that_does_not_answer(kind, authority):
    async with made(kind, authority, answer=b"") as proxy:
        failed = await fault(proxy.url, Origin("http", "127.0.0.1", 80), trusting(authority), connect=0.1)
        assert (failed.phase, failed.kind) == (Phase.CONNECT, Kind.CONNECT_TIMEOUT)
        assert "within 0.1 s" in failed.message


@pytest.mark.parametrize("kind", PROXIES)
async def test_an_upstream_that_refuses_the_proxy(kind, authority):
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        async with made(kind, authority) as proxy:
            origin = Origin("http", "127.0.0.1", unheard.getsockname()[1])
            failed = await fault(proxy.url, origin, trusting(authority))
            assert failed.kind is (Kind.BAD_GATEWAY if "http" in kind.scheme else Kind.REFUSED)
            await until(lambda: proxy.open == 0)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (403, Kind.UNREACHABLE, "it says 403 Forbidden"),
        (404, Kind.UNREACHABLE, "it says 404 Not Found"),
        (502, Kind.BAD_GATEWAY, "it says 502 Bad Gateway"),
        (503, Kind.UNAVAILABLE, "it says 503 Service Unavailable"),
        (504, Kind.CONNECT_TIMEOUT, "it says 504 Gateway Timeout"),
        (599, Kind.UNREACHABLE, "it says 599"),
        (301, Kind.UNREACHABLE, "it says 301 Moved Permanently"),
        (101, Kind.UNREACHABLE, "it says 101 Switching Protocols"),
    ],
)
async def test_what_the_proxy_says_instead_is_told_without_repeating_it(status, kind, said):
    answer = b"HTTP/1.1 %d for zoe9 with s3cr:t@/\r\n\r\n" % status
    async with HttpProxy(user="zoe9", password=SECRET, answer=answer) as proxy:
        failed = await fault(proxy.url, Origin("https", "api.example", 443), ssl.create_default_context())
        assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, kind)
        assert failed.message.endswith(said)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (1, Kind.UNREACHABLE, "general socks server failure"),
        (2, Kind.UNREACHABLE, "connection not allowed by ruleset"),
        (4, Kind.UNREACHABLE, "host unreachable"),
        (5, Kind.REFUSED, "connection refused by destination host"),
        (6, Kind.CONNECT_TIMEOUT, "ttl expired"),
        (77, Kind.UNREACHABLE, "invalid reply code"),
    ],
)
async def test_what_a_socks_proxy_replies_is_told(code, kind, said):
    async with NamingSocksProxy(answer=bytes([code])) as proxy:
        failed = await fault(proxy.url, Origin("http", "api.example", 443))
        assert (failed.kind, said in failed.message) == (kind, True)


@pytest.mark.parametrize("kind", PROXIES)
@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_proxy_that_wants_another_user_or_password(kind, password, authority):
    async with made(kind, authority, user="zoe9", password=SECRET) as proxy:
        url = proxy.url_with(None if password is None else "zoe9", password or "")
        failed = await fault(url, Origin("http", "127.0.0.1", 80), trusting(authority))
        assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.UNREACHABLE)
        if "http" in kind.scheme:
            assert ("wants a user" if password is None else "does not accept our user") in failed.message


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([fin], Kind.CLOSED),
        ([rst], Kind.RESET),
        ([raw(b"SSH-2.0-OpenSSH\r\n\r\n")], Kind.BAD_HTTP),
        ([raw(b"HTTP/1.1 2000 OK\r\n\r\n")], Kind.BAD_HTTP),
        ([raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n")], Kind.BAD_HTTP),
        ([raw(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000)], Kind.BAD_HTTP),
    ],
)
async def test_what_answers_is_no_proxy(script, kind):
    async with Wire([pong, *script]) as up:
        failed = await fault(up.url, Origin("http", "api.example", 80))
        assert (failed.phase, failed.kind) == (Phase.CONNECT, kind)
        await up.left()


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([fin], Kind.UNREACHABLE),
        ([rst], Kind.RESET),
        ([raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")], Kind.UNREACHABLE),
        ([raw(b"\x05\x00\x05\x00\x00\x07")], Kind.UNREACHABLE),
    ],
)
async def test_what_answers_is_no_socks_proxy(script, kind):
    async def greeted(peer):
        await peer.take(lambda seen: 3 if len(seen) >= 3 else None)

    async with Wire([greeted, *script]) as up:
        failed = await fault(f"socks5://127.0.0.1:{up.port}", Origin("http", "127.0.0.1", 80))
        assert (failed.phase, failed.kind) == (Phase.CONNECT, kind)
        await up.left()


@pytest.mark.parametrize("user", ["ü", "u" * 300])
async def test_what_socks_cannot_say_is_said_in_the_fault(user):
    async with SocksProxy(user=user, password="p") as proxy:
        failed = await fault(proxy.url, Origin("http", "127.0.0.1", 80))
        assert (failed.kind, "up to 255 plain characters" in failed.message) == (Kind.UNREACHABLE, True)


async def test_an_unusable_proxy_lets_nothing_out():
    async with Wire([]) as up:
        dialling = dial(to(up), Client, connect=20, tls=20, route=Unusable("HTTPS_PROXY is not a URL"))
        failed = await fault_of(dialling)
        assert (failed.party, failed.kind, failed.message) == (Party.OURS, Kind.UNRESOLVED, "HTTPS_PROXY is not a URL")
        assert not up.peers


# === TLS


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_certificate_of_the_upstream_that_nobody_vouches_for(kind, authority):
    async with Wire([], tls=serving(trustme.CA(), "127.0.0.1")) as up, made(kind, authority) as proxy:
        failed = await fault(proxy.url, to(up), trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)
        assert failed.message.startswith(f"TLS with {to(up)} through the proxy")
        assert "unable to get local issuer certificate" in failed.message
        await until(lambda: proxy.open == 0)


async def test_a_certificate_of_the_proxy_that_nobody_vouches_for(authority):
    async with HttpsProxy(tls=serving(trustme.CA(), "127.0.0.1"), user="zoe9", password=SECRET) as proxy:
        failed = await fault(proxy.url, Origin("https", "api.example", 443), trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)
        assert failed.message.startswith(f"TLS with the proxy {proxy.name} failed on the way to api.example:443")
        assert not proxy.asked


@pytest.mark.parametrize("kind", PROXIES)
async def test_an_upstream_that_is_silent_in_the_handshake(kind, authority):
    async with Wire([]) as up, made(kind, authority) as proxy:
        origin = Origin("https", "127.0.0.1", up.port)
        failed = await fault(proxy.url, origin, trusting(authority), tls=0.3)
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS_TIMEOUT)
        await up.left()


@pytest.mark.parametrize("kind", PROXIES)
async def test_an_upstream_that_leaves_in_the_handshake(kind, authority):
    async with Wire([fin]) as up, made(kind, authority) as proxy:
        failed = await fault(proxy.url, Origin("https", "127.0.0.1", up.port), trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)


@pytest.mark.parametrize("secure", [False, True])
async def test_an_upstream_that_leaves_before_the_handshake(secure, authority):
    async def asked(peer):
        await peer.take(lambda seen: len(seen) if b"\r\n\r\n" in seen else None)

    script = [asked, raw(b"HTTP/1.1 200 OK\r\n\r\n"), fin]
    async with Wire(script, tls=serving(authority, "127.0.0.1") if secure else None) as proxy:
        failed = await fault(proxy.url, Origin("https", "api.example", 443), trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)


async def test_a_proxy_that_is_silent_in_the_handshake(authority):
    async with Wire([]) as up:
        url = f"https://127.0.0.1:{up.port}"
        failed = await fault(url, Origin("http", "api.example", 80), trusting(authority), tls=0.1)
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS_TIMEOUT)


# === leaving


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_cancelled_dial_leaves_the_proxy(kind, authority):
    async with made(kind, authority, answer=b"") as proxy:
        dialling = asyncio.create_task(reach(proxy.url, Origin("http", "127.0.0.1", 80), trusting(authority)))
        await until(proxy.hanging.is_set)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling


@pytest.mark.parametrize("kind", PROXIES)
async def test_a_dial_that_is_cancelled_in_the_handshake_leaves_both(kind, authority):
    async with Wire([]) as up, made(kind, authority) as proxy:
        origin = Origin("https", "127.0.0.1", up.port)
        dialling = asyncio.create_task(reach(proxy.url, origin, trusting(authority)))
        await until(lambda: bool(up.peers) and bool(up.peers[0].seen))
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await up.left()
        await until(lambda: proxy.open == 0)
