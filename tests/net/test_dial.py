"""Each way that a connection fails to come about has its own fault."""

import asyncio
import datetime as dt
import errno
import socket
import ssl
import sys
from contextlib import ExitStack, closing
from typing import cast

import pytest
import trustme

from companion.errors import Fault, Kind, Party, Phase
from companion.net.dial import Address, Origin, Resolve, dial, interleave, resolve
from companion.net.reach import STAGGER, first_of
from tests.upstream.wire import Wire, fault_of, fin, raw, serving, trusting, until

# Addresses of this machine where nothing answers: a broadcast address cannot be reached by TCP.
BROADCAST = "127.255.255.255"


def resolving(*hosts: str) -> Resolve:
    """The host has these addresses."""

    async def resolve(_host: str, port: int) -> list[Address]:
        return [Address(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)) for host in hosts]

    return resolve


async def reach(
    origin: Origin,
    resolve: Resolve = resolve,
    connect: float = 20.0,
    tls: float = 20.0,
    context: ssl.SSLContext | None = None,
) -> asyncio.Transport:
    """Dial; what matters here is only the transport."""
    protocol, _ = await dial(origin, Client, connect=connect, tls=tls, context=context, resolve=resolve)
    return protocol.transport


class Client(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)


async def fault(
    origin: Origin,
    resolve: Resolve = resolve,
    connect: float = 20.0,
    tls: float = 20.0,
    context: ssl.SSLContext | None = None,
) -> Fault:
    failed = await fault_of(reach(origin, resolve, connect, tls, context))
    assert str(origin) in failed.message
    return failed


# === origins


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://api.example", Origin("https", "api.example", 443), "api.example"),
        ("https://user:pass@API.example:443/v1?x=y", Origin("https", "api.example", 443), "api.example"),
        ("http://api.example:443/", Origin("http", "api.example", 443), "api.example:443"),
        ("http://[::1]/v1", Origin("http", "::1", 80), "[::1]"),
        ("http://[::1]:8080", Origin("http", "::1", 8080), "[::1]:8080"),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443), "xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, origin, authority):
    assert Origin.of(url) == origin
    assert origin.authority == authority


@pytest.mark.parametrize("url", ["", "api.example", "ftp://api.example", "http://", "http://api.example:99999"])
def test_what_has_no_origin_is_refused(url):
    with pytest.raises(ValueError):
        Origin.of(url)


# === addresses


def test_families_take_turns_and_the_systems_order_stays():
    four = [Address(socket.AF_INET, (f"127.0.0.{number}", 1)) for number in (1, 2, 3)]
    six = [Address(socket.AF_INET6, (f"::{number}", 1)) for number in (1, 2)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], four[2]]
    assert interleave([*four, *six]) == [four[0], six[0], four[1], six[1], four[2]]


async def test_after_a_dead_address_the_other_family_is_tried():
    async def resolve(_host: str, _port: int) -> list[Address]:
        dead, four = Address(socket.AF_INET, ("127.0.0.2", up.port)), Address(socket.AF_INET, ("127.0.0.1", up.port))
        return [dead, four, Address(socket.AF_INET6, ("::1", other.port))]

    async with Wire([]) as up, Wire([], host="::1") as other:
        transport = await reach(Origin("http", "many.example", 80), resolve)
        assert transport.get_extra_info("peername")[:2] == ("::1", other.port)
        transport.abort()


async def test_a_literal_address_needs_no_look_up():
    assert await resolve("127.0.0.1", 1) == [Address(socket.AF_INET, ("127.0.0.1", 1))]
    assert await resolve("::1", 1) == [Address(socket.AF_INET6, ("::1", 1))]


async def test_the_systems_names_are_known():
    async with Wire([]) as up:
        transport = await reach(Origin("http", "localhost", up.port))
        assert transport.get_extra_info("peername")[1] == up.port
        transport.abort()


@pytest.mark.parametrize("dead", [[BROADCAST], ["127.0.0.2"], ["::1"], [BROADCAST, "127.0.0.2", "::1"]])
async def test_a_dead_address_is_followed_by_the_next(dead):
    async with Wire([]) as up:
        transport = await reach(Origin("http", "many.example", up.port), resolving(*dead, "127.0.0.1"))
        assert transport.get_extra_info("peername") == ("127.0.0.1", up.port)
        transport.abort()


async def test_a_silent_address_leaves_time_for_the_next():
    async with Wire([]) as up:
        with full("127.0.0.2", up.port):
            resolve = resolving("127.0.0.2", "127.0.0.1")
            transport = await reach(Origin("http", "many.example", up.port), resolve, connect=1.0)
            assert transport.get_extra_info("peername") == ("127.0.0.1", up.port)
            transport.abort()


async def test_of_many_failures_the_one_that_tells_most_is_told():
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        origin = Origin("http", "many.example", unheard.getsockname()[1])
        failed = await fault(origin, resolving(BROADCAST, "127.0.0.1", BROADCAST))
    assert (failed.kind, "(127.0.0.1)" in failed.message) == (Kind.REFUSED, True)


async def test_addresses_that_fail_do_not_keep_the_next_one_waiting():
    began = asyncio.get_running_loop().time()
    async with Wire([]) as up:
        dead = [f"127.0.0.{number}" for number in range(2, 26)]
        transport = await reach(Origin("http", "many.example", up.port), resolving(*dead, "127.0.0.1"))
        transport.abort()
    assert asyncio.get_running_loop().time() - began < len(dead) * STAGGER / 2


async def test_the_limit_is_for_all_addresses_together():
    began = asyncio.get_running_loop().time()
    with full("127.0.0.2") as first:
        port = first.getsockname()[1]
        with full("127.0.0.3", port), full("127.0.0.4", port):
            silent = resolving("127.0.0.2", "127.0.0.3", "127.0.0.4")
            failed = await fault(Origin("http", "many.example", port), silent, connect=0.4)
    assert (failed.kind, "within 0.4 s" in failed.message) == (Kind.CONNECT_TIMEOUT, True)
    assert asyncio.get_running_loop().time() - began < 3 * 0.4


async def test_a_refusal_tells_more_than_silence():
    with full("127.0.0.2") as silent:
        origin = Origin("http", "many.example", silent.getsockname()[1])
        failed = await fault(origin, resolving("127.0.0.2", "127.0.0.3"), connect=0.4)
    assert (failed.kind, "(127.0.0.3)" in failed.message) == (Kind.REFUSED, True)


SILENT = Fault(Party.UPSTREAM, Phase.CONNECT, Kind.CONNECT_TIMEOUT)


class Racer:
    """An attempt that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.gone = False
        self.sock = socket.socket()

    async def __call__(self) -> socket.socket:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.gone = True
            self.sock.close()
            raise
        return self.sock


async def test_a_silent_address_goes_on_while_the_next_is_tried_and_may_win():
    racers = [Racer() for _ in range(4)]
    racing = asyncio.create_task(first_of(racers, 20, SILENT))
    await racers[2].begun.wait()
    racers[0].go.set()
    assert await racing is racers[0].sock
    await until(lambda: racers[1].gone and racers[2].gone)
    assert not racers[3].begun.is_set()
    for racer in racers:
        racer.sock.close()


async def test_one_that_connects_together_with_the_winner_is_closed():
    racers = [Racer(), Racer()]
    racing = asyncio.create_task(first_of(racers, 20, SILENT))
    await racers[1].begun.wait()
    for racer in racers:
        racer.go.set()
    won = await racing
    await until(lambda: any(racer.sock.fileno() == -1 for racer in racers))
    assert won.fileno() != -1
    won.close()


async def test_whoever_leaves_takes_all_attempts_with_it():
    racers = [Racer(), Racer()]
    racing = asyncio.create_task(first_of(racers, 20, SILENT))
    await racers[1].begun.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    await until(lambda: all(racer.gone for racer in racers))


# === connecting


def full(host: str, port: int = 0) -> closing[socket.socket]:
    """A listener whose queue is full: it never answers another connection."""
    listener = socket.socket()
    listener.bind((host, port))
    listener.listen(0)
    callers = []
    for _ in range(4):
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(listener.getsockname())
        callers.append(caller)

    class Full(closing[socket.socket]):
        def __exit__(self, *exc):
            for caller in callers:
                caller.close()
            super().__exit__(*exc)

    return Full(listener)


async def test_a_refused_connection():
    with closing(socket.socket()) as unheard:
        unheard.bind(("127.0.0.1", 0))
        failed = await fault(Origin("http", "127.0.0.1", unheard.getsockname()[1]))
    assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.REFUSED)


async def test_a_host_that_cannot_be_reached():
    failed = await fault(Origin("http", BROADCAST, 80))
    assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.UNREACHABLE)


async def test_a_host_that_does_not_answer():
    with full("127.0.0.1") as listener:
        failed = await fault(Origin("http", "127.0.0.1", listener.getsockname()[1]), connect=0.1)
    assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.CONNECT_TIMEOUT)


@pytest.mark.parametrize("host", ["nobody.invalid", "x" * 64 + ".invalid", "a..b"])
async def test_a_host_that_nobody_knows(host):
    failed = await fault(Origin("http", host, 80))
    assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.CONNECT, Kind.DNS)


async def test_a_host_without_addresses():
    assert (await fault(Origin("http", "none.example", 80), resolving())).kind is Kind.DNS


async def test_a_look_up_that_takes_too_long():
    async def hanging(_host: str, _port: int) -> list[Address]:
        await asyncio.sleep(60)
        return []

    assert (await fault(Origin("http", "slow.example", 80), hanging, connect=0.05)).kind is Kind.DNS


if sys.platform != "win32":
    import resource

    def fill(taken: ExitStack) -> None:
        while True:
            taken.enter_context(socket.socket())

    async def test_a_lack_of_sockets_is_our_fault():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as spare:
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare.fileno(), hard))
        try:
            with ExitStack() as taken:
                with pytest.raises(OSError, check=lambda error: error.errno == errno.EMFILE):
                    fill(taken)
                failed = await fault(Origin("http", "127.0.0.1", 80))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (failed.party, failed.phase, failed.kind) == (Party.OURS, Phase.CONNECT, Kind.BUSY)


async def test_a_cancelled_dial_closes_its_socket():
    with full("127.0.0.1") as listener:
        dialling = asyncio.create_task(reach(Origin("http", "127.0.0.1", listener.getsockname()[1])))
        await asyncio.sleep(0.02)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling


# === TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_trusted_certificate(authority):
    async with Wire([], tls=serving(authority, "127.0.0.1")) as up:
        transport = await reach(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        await until(lambda: bool(up.peers))
        transport.abort()
        await up.left()


async def test_a_name_with_a_dot_at_its_end(authority):
    async with Wire([], tls=serving(authority, "some.example")) as up:
        origin = Origin("https", "some.example.", up.port)
        transport = await reach(origin, resolving("127.0.0.1"), context=trusting(authority))
        transport.abort()


async def test_a_certificate_for_another_name(authority):
    async with Wire([], tls=serving(authority, "other.example")) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.TLS, Kind.TLS)
        assert "certificate is not valid for '127.0.0.1'" in failed.message


async def test_an_expired_certificate(authority):
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    expired = serving(authority, "127.0.0.1", since=long_ago)
    async with Wire([], tls=expired) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.phase, failed.kind, "has expired" in failed.message) == (Phase.TLS, Kind.TLS, True)


async def test_a_certificate_that_nobody_vouches_for(authority):
    async with Wire([], tls=serving(trustme.CA(), "127.0.0.1")) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)
        assert "unable to get local issuer certificate" in failed.message


async def test_a_port_that_does_not_speak_tls(authority):
    async with Wire([raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")]) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)
        assert "does not speak TLS" in failed.message


async def test_what_the_other_side_objects_to_is_told_in_words(authority):
    protocol_version = raw(b"\x15\x03\x01\x00\x02\x02\x46")
    async with Wire([protocol_version]) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.kind, "alert protocol version" in failed.message) == (Kind.TLS, True)


async def test_a_connection_that_ends_in_the_handshake(authority):
    async with Wire([fin]) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority))
        assert (failed.phase, failed.kind) == (Phase.TLS, Kind.TLS)
        assert "closed the connection during the handshake" in failed.message


async def test_a_silent_handshake(authority):
    async with Wire([]) as up:
        failed = await fault(Origin("https", "127.0.0.1", up.port), context=trusting(authority), tls=0.1)
        assert (failed.party, failed.phase, failed.kind) == (Party.UPSTREAM, Phase.TLS, Kind.TLS_TIMEOUT)
        await up.left()


async def test_a_cancelled_handshake_closes_the_connection(authority):
    async with Wire([]) as up:
        dialling = asyncio.create_task(reach(Origin("https", "127.0.0.1", up.port), context=trusting(authority)))
        await asyncio.sleep(0.05)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await up.left()
