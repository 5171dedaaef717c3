"""From a host's name to an open socket (RFC 8305): look up, then connect to its addresses, staggered, to the first one.

IPv6 and IPv4 take turns. The next address is tried when the one before it has failed or has been silent for 250 ms;
what is under way goes on meanwhile, and the first that connects wins. One limit holds for all of it. A look-up is done
for every connection anew, so that a changed name is followed at once.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, zip_longest
from typing import Final, NoReturn, cast

from companion.errors import Fault, Kind, Party, Phase, UpstreamError

STAGGER: Final = 0.25

# Not the peer's fault: we have run out of sockets.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# What tells most when every address failed: one that answered, then one that is silent.
_TELLING: Final = (Kind.REFUSED, Kind.CONNECT_TIMEOUT, Kind.UNREACHABLE)


@dataclass(slots=True)
class Steps:
    """How long the steps to one connection took, in seconds; None for those that were not needed.

    `connect` has in it whatever a proxy needed, `tls` is the handshake with the upstream.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Whom to connect to, and how a fault speaks of it: by `name`, and with `way` behind it, if that is not the end."""

    host: str
    port: int
    name: str
    way: str = ""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a host: the family, and what `connect` takes (for IPv6 it may have flow and scope, too)."""

    family: int
    where: tuple[str | int, ...]


Resolve = Callable[[str, int], Awaitable[list[Address]]]
Attempt = Callable[[], Awaitable[socket.socket]]


async def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a host in the system's order; a literal address needs no look-up. Raises OSError."""
    if (known := literal(host, port)) is not None:
        return [known]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, cast("tuple[str | int, ...]", where)) for family, _, _, _, where in found]


def literal(host: str, port: int) -> Address | None:
    """The address of a host that is given by one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, UnicodeError):
            continue
        return Address(family, (host, port))
    return None


def interleave(addresses: list[Address]) -> list[Address]:
    """The families in turn, beginning with the first address's; the order within a family stays."""
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]


async def reach(stop: Stop, limit: float, resolve: Resolve, steps: Steps) -> socket.socket:
    """A connected socket, `limit` seconds for everything. Raises UpstreamError: DNS, REFUSED, UNREACHABLE,
    CONNECT_TIMEOUT; BUSY if we have no more sockets.
    """
    deadline = asyncio.get_running_loop().time() + limit
    addresses = await look_up(stop, limit, resolve, steps)
    attempts = [partial(_connect, stop, address, limit) for address in addresses]
    left = deadline - asyncio.get_running_loop().time()
    return await first_of(attempts, left, missed(stop, TimeoutError(), limit))


async def look_up(stop: Stop, limit: float, resolve: Resolve, steps: Steps) -> list[Address]:
    """The addresses in the order to try them. Raises UpstreamError (DNS)."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(limit):
            addresses = await resolve(stop.host, stop.port)
    except TimeoutError:
        _unknown(stop, f"the look-up took longer than {limit:g} s")
    except (OSError, UnicodeError) as error:
        _unknown(stop, (error.strerror if isinstance(error, OSError) else None) or str(error))
    if not addresses:
        _unknown(stop, "it has no address")
    if literal(stop.host, stop.port) is None:
        steps.dns = (steps.dns or 0.0) + asyncio.get_running_loop().time() - began
    return interleave(addresses)


async def first_of(attempts: Sequence[Attempt], limit: float, silent: Fault) -> socket.socket:
    """The socket of the attempt that succeeds first; the others end. Raises UpstreamError with the fault that tells
    most, which is `silent` for attempts that have not ended within `limit` seconds.
    """
    faults: list[Fault] = []
    waiting = deque(attempts)
    running: set[asyncio.Task[socket.socket]] = set()
    try:
        async with asyncio.timeout(limit):
            if len(attempts) == 1:
                return await attempts[0]()
            while waiting or running:
                if waiting:
                    running.add(asyncio.ensure_future(waiting.popleft()()))
                pause = STAGGER if waiting else None
                done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    running.remove(task)
                    if (fault := _fault_of(task)) is None:
                        return task.result()
                    faults.append(fault)
    except TimeoutError:
        faults.append(silent)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)
    raise UpstreamError(min(faults, key=_rank))


def missed(stop: Stop, error: OSError, limit: float, address: str = "") -> Fault:
    """What it means that a connection did not come about."""
    where = f"{stop.name} ({address})" if address not in {"", stop.host} else stop.name
    fault = Fault(Party.UPSTREAM, Phase.CONNECT, Kind.UNREACHABLE)
    if isinstance(error, ConnectionRefusedError):
        return replace(fault, kind=Kind.REFUSED, message=f"{where} refused the connection{stop.way}")
    if isinstance(error, TimeoutError):
        message = f"{where} did not accept the connection within {limit:g} s{stop.way}"
        return replace(fault, kind=Kind.CONNECT_TIMEOUT, message=message)
    if error.errno in _OURS:
        message = f"no socket left to connect to {where}: {error.strerror}"
        return replace(fault, party=Party.OURS, kind=Kind.BUSY, message=message)
    return replace(fault, message=f"{where} cannot be reached{stop.way}: {error.strerror or error}")


def _unknown(stop: Stop, why: str) -> NoReturn:
    message = f"the host of {stop.name} is not known{stop.way}: {why}"
    raise UpstreamError(Fault(Party.UPSTREAM, Phase.CONNECT, Kind.DNS, message))


async def _connect(stop: Stop, address: Address, limit: float) -> socket.socket:
    try:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await asyncio.get_running_loop().sock_connect(sock, address.where)
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise UpstreamError(missed(stop, error, limit, str(address.where[0]))) from None
    return sock


def _fault_of(task: asyncio.Task[socket.socket]) -> Fault | None:
    error = task.exception()
    if error is None:
        return None
    if isinstance(error, UpstreamError):
        return error.fault
    raise error


def _discard(late: asyncio.Task[socket.socket]) -> None:
    """It has lost, whatever it brings."""
    if not late.cancelled() and late.exception() is None:
        late.result().close()


def _rank(fault: Fault) -> int:
    return _TELLING.index(fault.kind) if fault.kind in _TELLING else -1
