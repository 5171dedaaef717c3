"""Our HTTP/1.1 server: listens on the loopback addresses and gives every request to one handler.

    server.py       listening, draining, closing
    shared.py       what all connections have in common, and the sums over them that are limited
    connection.py   one connection: order, limits in time, ends
    incoming.py     bytes to requests        admission.py, guard.py   which of them may pass
    http_port.py    answers to bytes         outflow.py               whether the client takes them
    refused.py      what we say no to, and how
    port.py         the door to the handler: all that the rest of the house knows of HTTP/1.1

Settings are asked for anew for every request, so a changed limit holds from the next one on; host and port hold from
the next start on.
"""

import asyncio
import errno
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Final

from companion.clock import Clock
from companion.config.models import ServerSettings
from companion.proxy.connection import LINGER, Connection
from companion.proxy.port import Handler
from companion.proxy.shared import Shared

_BACKLOG: Final = 1024
# What the kernel may hold for a client that does not read; its own choice would be megabytes.
_SEND_BUFFER: Final = 256 * 1024
_LOOPBACKS: Final = ("127.0.0.1", "::1")
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})
# With port 0 the port that is free on one address may be taken on the other.
_TRIES: Final = 16


class Server:
    """Serves until `drain` or `close`. `settings` is asked for every request, `handler` gets each in its own task."""

    def __init__(self, settings: Callable[[], ServerSettings], handler: Handler, clock: Clock) -> None:
        self._shared = Shared(settings, handler, clock)
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[str]:
        """Base URLs, the one to tell users first."""
        return [_url(*listening.getsockname()[:2]) for listening in self._sockets]

    async def start(self) -> None:
        """Listen: 127.0.0.1 means both loopback families, port 0 any that is free on both.

        Raises OSError when the address cannot be had (EADDRINUSE: somebody else has it).
        """
        settings = self._shared.settings()
        self._sockets = listen(_hosts(settings.host), settings.port)
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            made = await loop.create_server(lambda: Connection(self._shared), sock=listening, backlog=_BACKLOG)
            self._listeners.append(made)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, close what is idle, and let running answers end for at most so long; then cancel them."""
        self._stop_listening()
        self._shared.draining = True
        for connection in list(self._shared.connections):
            if connection.idle_since is not None:
                connection.close_idle()
        if not await self._shared.emptied(seconds):
            self._shared.cancel_all()
            await self._shared.emptied(LINGER)

    async def close(self) -> None:
        """End everything at once."""
        self._stop_listening()
        self._shared.draining = True
        for connection in list(self._shared.connections):
            connection.abort()
        self._shared.cancel_all()
        await self._shared.emptied(LINGER)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._sockets.clear()


def _hosts(host: str) -> tuple[str, ...]:
    return _LOOPBACKS if host in {"127.0.0.1", "localhost"} else (host,)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """A listening socket for each host, all on the same port (0: any that is free). Raises OSError."""
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
    raise OSError(errno.EADDRINUSE, "no port is free on both loopback addresses")


def _bind(sockets: list[socket.socket], host: str, port: int) -> None:
    """Add one more. A second family that this machine does not have is left out."""
    v6 = ipaddress.ip_address(host).version == 6
    listening: socket.socket | None = None
    try:
        listening = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
        _set_options(listening, v6=v6)
        listening.bind((host, port))
        # Two sockets may be bound to one port as long as nobody listens: only this finds out whose it is.
        listening.listen(_BACKLOG)
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
