"""Our HTTP/1.1 server: listens, with TLS or without, and gives every request to one handler.

    server.py       accepting, draining, closing
    sockets.py      addresses and ports      tls.py               the way in, where there is a certificate
    shared.py       what all connections have in common, and the sums over them that are limited
    connection.py   one connection: order, limits in time, ends
    incoming.py     bytes to requests        admission.py, guard.py   which of them may pass
    http_port.py    answers to bytes         outflow.py               whether the client takes them
    refused.py      what we say no to, and how
    port.py         the door to the handler: all that the rest of the house knows of HTTP/1.1

Settings are asked for anew for every request, so a changed limit holds from the next one on; host and port, and whether
there is TLS at all, hold from the next start on.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from companion.clock import Clock
from companion.config.models import ServerSettings
from companion.proxy.connection import LINGER, Connection
from companion.proxy.port import Handler
from companion.proxy.shared import Check, Shared
from companion.proxy.sockets import BACKLOG, addresses_of, base_urls, listen
from companion.proxy.tls import TlsTransport, server_context

_log = structlog.get_logger("companion.proxy.server")


class Server:
    """Serves until `drain` or `close`. `settings` is asked for every request, `handler` gets each in its own task.

    `check` may refuse a request before its body is read. `addresses` are base URLs, the one to tell users first.
    """

    def __init__(
        self, settings: Callable[[], ServerSettings], handler: Handler, clock: Clock, check: Check | None = None
    ) -> None:
        self._shared = Shared(settings, handler, clock, check)
        self.addresses: list[str] = []
        self._sockets: list[socket.socket] = []
        self._listeners: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen where server.host says; port 0 is any that is free on all its addresses.

        Raises OSError when an address cannot be had (EADDRINUSE: somebody else has it), or the certificate.
        """
        settings = self._shared.settings()
        if settings.tls.certificate is not None:
            self._tls = await asyncio.to_thread(server_context, settings.tls)
        self._sockets = listen(await asyncio.to_thread(addresses_of, settings.host), settings.port)
        self.addresses = base_urls(self._sockets, "http" if self._tls is None else "https")
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            self._listeners.append(await loop.create_server(self._accept, sock=listening, backlog=BACKLOG))

    def renew_certificate(self) -> None:
        """Read the files of server.tls again; whoever connects from then on sees what is in them."""
        if self._tls is not None and self._shared.settings().tls.certificate is not None:
            self._renewing = asyncio.create_task(self._renew(self._renewing))

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

    def _accept(self) -> asyncio.Protocol:
        connection = Connection(self._shared)
        if self._tls is None:
            return connection
        return TlsTransport(self._tls, connection, self._shared.settings().header_timeout)

    async def _renew(self, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            self._tls = await asyncio.to_thread(server_context, self._shared.settings().tls)
        except OSError as error:
            _log.warning("certificate_not_renewed", why=str(error), instead="the one before it stays")

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._sockets.clear()
