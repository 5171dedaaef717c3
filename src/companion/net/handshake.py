"""From a socket, or a tunnel, to a protocol that is connected; over TLS where there is a context."""

import asyncio
import ssl
import sys
from collections.abc import Callable
from socket import socket
from typing import Any, Final, TypeVar

from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.net.reach import Stop, missed

_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})

P = TypeVar("P", bound=asyncio.Protocol)


async def opened(sock: socket, factory: Callable[[], P], stop: Stop, limit: float, context: ssl.SSLContext | None) -> P:
    """The protocol on a connected socket; `limit` seconds for TLS. Raises UpstreamError: TLS, TLS_TIMEOUT."""
    secure = context is not None
    try:
        _, protocol = await asyncio.get_running_loop().create_connection(
            factory,
            sock=sock,
            ssl=context,
            server_hostname=stop.host.rstrip(".") if secure else None,
            ssl_handshake_timeout=limit if secure else None,
        )
    except OSError as error:
        raise UpstreamError(_not_secured(stop, error, limit) if secure else missed(stop, error, limit)) from None
    return protocol


async def secured(
    transport: asyncio.Transport, protocol: asyncio.Protocol, stop: Stop, limit: float, context: ssl.SSLContext
) -> None:
    """Shake hands over a connection that is open already, and hand it to the protocol. Raises UpstreamError."""
    try:
        if transport.is_closing():
            raise ConnectionResetError
        _mend(transport)
        inner = await asyncio.get_running_loop().start_tls(
            transport,
            protocol,
            context,
            server_hostname=stop.host.rstrip("."),
            ssl_handshake_timeout=limit,
        )
    except OSError as error:
        transport.abort()
        raise UpstreamError(_not_secured(stop, error, limit)) from None
    except BaseException:
        transport.abort()
        raise
    assert inner is not None
    protocol.connection_made(inner)


def _mend(transport: Any) -> None:
    """Let the TLS below the TLS be closed by force: before 3.12.2, asyncio's own way to do it fails (gh-113214)."""
    if sys.version_info < (3, 12, 2) and type(transport).__module__ == "asyncio.sslproto":
        transport._force_close = transport._ssl_protocol._transport._force_close


def _not_secured(stop: Stop, error: OSError, limit: float) -> Fault:
    if isinstance(error, ConnectionAbortedError):
        message = f"{stop.name} did not finish the TLS handshake within {limit:g} s{stop.way}"
        return Fault(Party.UPSTREAM, Phase.TLS, Kind.TLS_TIMEOUT, message)
    message = f"TLS with {stop.name} failed{stop.way}: {_in_words(error)}"
    return Fault(Party.UPSTREAM, Phase.TLS, Kind.TLS, message)


def _in_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        if error.reason in _NO_TLS:
            return "it does not speak TLS on this port (should the URL begin with http:// ?)"
        return (error.reason or str(error)).lower().replace("_", " ")
    return "it closed the connection during the handshake"
