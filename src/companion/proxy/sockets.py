"""Listening sockets: which addresses a host stands for, and all of them on one port."""

import errno
import ipaddress
import socket
import sys
from collections.abc import Iterable
from typing import Final

from companion.config.hosts import is_loopback

BACKLOG: Final = 1024
LOOPBACKS: Final = ("127.0.0.1", "::1")
_EVERY: Final = {"0.0.0.0": ("0.0.0.0", "::1"), "::": ("::", "0.0.0.0")}
# What the kernel may hold for a client that does not read; its own choice would be megabytes.
_SEND_BUFFER: Final = 256 * 1024
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
# With port 0 the port that is free on one address may be taken on the other.
_TRIES: Final = 16


def addresses_of(host: str) -> tuple[str, ...]:
    """Where to listen for `server.host`; blocks where it is a name. Raises OSError when there is no such name.

    127.0.0.1 and localhost mean both loopback families, 0.0.0.0 every IPv4 address, :: every address. Whatever it is,
    loopback is among them: /admin answers nowhere else.
    """
    if host in {"127.0.0.1", "localhost"}:
        return LOOPBACKS
    if host in _EVERY:
        return _EVERY[host]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise OSError(errno.EINVAL, "no host can have this name") from None
    addresses = [str(socket.getnameinfo(each[4], socket.NI_NUMERICHOST)[0]) for each in found]
    return tuple(dict.fromkeys(addresses if is_loopback(addresses[0]) else [*addresses, *LOOPBACKS]))


def base_urls(sockets: Iterable[socket.socket], scheme: str) -> list[str]:
    """How to ask them, loopback first; `every address` is asked by loopback, too."""
    hosts = [each.getsockname()[:2] for each in sockets]
    usable = [({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port) for host, port in hosts]
    usable.sort(key=lambda each: not is_loopback(each[0]))
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host, port in dict.fromkeys(usable)]


def listen(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """A listening socket for each address, all on the same port (0: any that is free). Raises OSError."""
    for _ in range(_TRIES):
        sockets: list[socket.socket] = []
        try:
            for host in hosts:
                _bind(sockets, host, port or (sockets[0].getsockname()[1] if sockets else 0))
        except OSError as error:
            for bound in sockets:
                bound.close()
            if port or not sockets or error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets
    raise OSError(errno.EADDRINUSE, "no port is free on all addresses")


def _bind(sockets: list[socket.socket], host: str, port: int) -> None:
    """Add one more. A second family that this machine does not have is left out."""
    v6 = ipaddress.ip_address(host).version == 6
    listening: socket.socket | None = None
    try:
        listening = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
        _set_options(listening, v6=v6)
        # The address with its zone (fe80::1%eth0) as a number, if it has one.
        listening.bind(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4])
        # Two sockets may be bound to one port as long as nobody listens: only this finds out whose it is.
        listening.listen(BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        if sockets and error.errno in _NO_SUCH_FAMILY:
            return
        raise
    sockets.append(listening)


def _set_options(listening: socket.socket, *, v6: bool) -> None:
    """Every accepted connection inherits the last two."""
    if sys.platform != "win32":
        # Elsewhere it means: bind although the last owner's connections still time out. There: steal the port.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if v6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
