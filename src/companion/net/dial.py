"""From an origin to an open connection: look up, connect, shake hands, each with its own limit and its own fault.

Addresses are tried one after the other, IPv6 and IPv4 in turn. What is left of the `connect` limit is shared among the
addresses that are left, so a silent first address never costs the second one its chance.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final, NoReturn, TypeVar, cast
from urllib.parse import urlsplit

from companion.errors import Fault, Kind, Party, Phase, UpstreamError

_PORTS: Final = {"http": 80, "https": 443}
# Not the peer's fault: we have run out of sockets.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What tells most when every address failed: one that answered, then one that is silent.
_TELLING: Final = (Kind.REFUSED, Kind.CONNECT_TIMEOUT, Kind.UNREACHABLE)
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})

P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go: `http` or `https`, a host name or a literal address without brackets, and a port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """The origin of a URL; what else is in the URL is ignored. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("an upstream's URL begins with http:// or https:// and a host")
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
        return cls(parts.scheme, host, parts.port or _PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        """As the Host header says it: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a host: the family, and what `connect` takes (for IPv6 it may have flow and scope, too)."""

    family: int
    where: tuple[str | int, ...]


Resolve = Callable[[str, int], Awaitable[list[Address]]]


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a host in the system's order; a literal address needs no look-up. Raises OSError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [Address(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, cast("tuple[str | int, ...]", where)) for family, _, _, _, where in found]


def interleave(addresses: list[Address]) -> list[Address]:
    """The families in turn, beginning with the first address's; the order within a family stays."""
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]


async def dial(
    origin: Origin,
    factory: Callable[[], P],
    *,
    connect: float,
    tls: float,
    context: ssl.SSLContext | None = None,
    resolve: Resolve = resolve,
) -> P:
    """An open connection's protocol. `connect` seconds for look-up and TCP, `tls` for the handshake (with a `context`).

    Raises UpstreamError: DNS, REFUSED, UNREACHABLE, CONNECT_TIMEOUT, TLS, TLS_TIMEOUT; BUSY if we have no more sockets.
    """
    sock = await _reach(origin, connect, resolve)
    secure = context is not None
    try:
        _, protocol = await asyncio.get_running_loop().create_connection(
            factory,
            sock=sock,
            ssl=context,
            server_hostname=origin.host.rstrip(".") if secure else None,
            ssl_handshake_timeout=tls if secure else None,
        )
    except OSError as error:
        raise UpstreamError(_not_secured(origin, error, tls) if secure else _missed(origin, error, connect)) from None
    return protocol


async def _reach(origin: Origin, limit: float, resolve: Resolve) -> socket.socket:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    addresses = await _look_up(origin, limit, resolve)
    faults: list[Fault] = []
    for position, address in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - position)
        try:
            return await _connect(address, share)
        except OSError as error:
            faults.append(_missed(origin, error, limit, str(address.where[0])))
    raise UpstreamError(min(faults, key=lambda fault: _rank(fault.kind)))


async def _look_up(origin: Origin, limit: float, resolve: Resolve) -> list[Address]:
    try:
        async with asyncio.timeout(limit):
            addresses = await resolve(origin.host, origin.port)
    except TimeoutError:
        _unknown(origin, f"the look-up took longer than {limit:g} s")
    except (OSError, UnicodeError) as error:
        _unknown(origin, (error.strerror if isinstance(error, OSError) else None) or str(error))
    if not addresses:
        _unknown(origin, "it has no address")
    return interleave(addresses)


def _unknown(origin: Origin, why: str) -> NoReturn:
    raise UpstreamError(Fault(Party.UPSTREAM, Phase.CONNECT, Kind.DNS, f"the host of {origin} is not known: {why}"))


async def _connect(address: Address, limit: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.timeout(limit):
            await asyncio.get_running_loop().sock_connect(sock, address.where)
    except BaseException:
        sock.close()
        raise
    return sock


def _missed(origin: Origin, error: OSError, limit: float, address: str = "") -> Fault:
    where = f"{origin} ({address})" if address not in {"", origin.host} else str(origin)
    if isinstance(error, ConnectionRefusedError):
        return Fault(Party.UPSTREAM, Phase.CONNECT, Kind.REFUSED, f"{where} refused the connection")
    if isinstance(error, TimeoutError):
        message = f"{where} did not accept the connection within {limit:g} s"
        return Fault(Party.UPSTREAM, Phase.CONNECT, Kind.CONNECT_TIMEOUT, message)
    if error.errno in _OURS:
        return Fault(Party.OURS, Phase.CONNECT, Kind.BUSY, f"no socket left to connect to {where}: {error.strerror}")
    message = f"{where} cannot be reached: {error.strerror or error}"
    return Fault(Party.UPSTREAM, Phase.CONNECT, Kind.UNREACHABLE, message)


def _rank(kind: Kind) -> int:
    return _TELLING.index(kind) if kind in _TELLING else -1


def _not_secured(origin: Origin, error: OSError, limit: float) -> Fault:
    if isinstance(error, ConnectionAbortedError):
        message = f"{origin} did not finish the TLS handshake within {limit:g} s"
        return Fault(Party.UPSTREAM, Phase.TLS, Kind.TLS_TIMEOUT, message)
    return Fault(Party.UPSTREAM, Phase.TLS, Kind.TLS, f"TLS with {origin} failed: {_in_words(error)}")


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        if error.reason in _NO_TLS:
            return "it does not speak TLS on this port (should the URL begin with http:// ?)"
        return (error.reason or str(error)).lower().replace("_", " ")
    return "it closed the connection during the handshake"
