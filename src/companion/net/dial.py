"""From an origin to an open connection: reach it, or a proxy that connects to it, and shake hands.

`connect` is the limit for look-ups, TCP and what a proxy needs to connect; `tls` is the limit of each handshake.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from socket import socket
from typing import TypeVar

from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.net import tunnel
from companion.net.errand import Errand
from companion.net.handshake import opened, secured
from companion.net.origin import Origin
from companion.net.proxies import Route, Unusable
from companion.net.reach import Address, Resolve, Steps, Stop, interleave, reach, resolve

__all__ = ["Address", "Origin", "Resolve", "Route", "Steps", "dial", "interleave", "resolve"]

P = TypeVar("P", bound=asyncio.Protocol)
_Socks = Callable[[Errand, Resolve, Steps], Awaitable[socket]]


async def dial(
    origin: Origin,
    factory: Callable[[], P],
    *,
    connect: float,
    tls: float,
    context: ssl.SSLContext | None = None,
    route: Route = None,
    resolve: Resolve = resolve,
) -> tuple[P, Steps]:
    """An open connection's protocol, and how long its steps took. Limits in seconds; TLS, if any, needs a `context`.

    Raises UpstreamError: DNS, REFUSED, UNREACHABLE, CONNECT_TIMEOUT, TLS, TLS_TIMEOUT; BUSY if we have no more sockets;
    about a proxy also BAD_GATEWAY, UNAVAILABLE, BAD_HTTP, CLOSED, RESET, and UNRESOLVED if it cannot be used.
    """
    if isinstance(route, Unusable):
        raise UpstreamError(Fault(Party.OURS, Phase.CONNECT, Kind.UNRESOLVED, route.why))
    clock, steps = asyncio.get_running_loop().time, Steps()
    began = clock()
    stop = Stop(origin.host, origin.port, str(origin))
    if route is None:
        way: socket | tunnel.Tunnel = await reach(stop, connect, resolve, steps)
    else:
        stop = Stop(origin.host, origin.port, f"{origin} through the proxy {route}")
        errand = Errand(route, origin, connect)
        if route.speaks_http:
            outer = context if route.secure else None
            way = await tunnel.connect(errand, tls, outer, resolve, steps)
        else:
            ask = await asyncio.get_running_loop().run_in_executor(None, _socks)
            way = await ask(errand, resolve, steps)
    reached = clock()
    steps.connect = reached - began - (steps.dns or 0.0)
    protocol = await _begun(way, factory, stop, tls, context if origin.secure else None)
    steps.tls = clock() - reached if origin.secure else None
    return protocol, steps


def _socks() -> _Socks:
    from companion.net import socks  # noqa: PLC0415 - brings python-socks, which takes 50 ms

    return socks.connect


async def _begun(
    way: socket | tunnel.Tunnel, factory: Callable[[], P], stop: Stop, tls: float, context: ssl.SSLContext | None
) -> P:
    """The protocol, connected to the upstream."""
    if isinstance(way, socket):
        return await opened(way, factory, stop, tls, context)
    protocol = factory()
    if context is not None:
        await secured(way.transport, protocol, stop, tls, context)
    else:
        way.hand_over(protocol)
    return protocol
