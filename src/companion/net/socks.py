"""Through a SOCKS5 proxy to an upstream. Brings python-socks, so it is imported when it is needed, in a thread."""

import asyncio
import socket
from functools import partial
from typing import Any, Final

from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as Library

from companion.errors import Kind
from companion.net.errand import Errand
from companion.net.reach import Resolve, Steps, Stop, first_of, look_up, reach

# What a proxy tells about the upstream; every other reply is about itself.
_UPSTREAM: Final = {5: Kind.REFUSED, 6: Kind.CONNECT_TIMEOUT}


async def connect(errand: Errand, resolve: Resolve, steps: Steps) -> socket.socket:
    """A socket that the proxy has connected to the origin. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + errand.limit
    origin, hosts = errand.origin, [errand.origin.host]
    if not errand.proxy.resolves:
        found = await look_up(Stop(origin.host, origin.port, str(origin)), errand.limit, resolve, steps)
        hosts = [str(address.where[0]) for address in found]

    async def one(host: str) -> socket.socket:
        sock = await reach(errand.stop, deadline - loop.time(), resolve, steps)
        try:
            return await errand.answered(_asked(sock, errand, host), deadline - loop.time())
        except BaseException:
            sock.close()
            raise

    return await first_of([partial(one, host) for host in hosts], deadline - loop.time(), errand.late().fault)


class _Connected(Library):
    """Stands where the library would connect to the proxy: we have, by our own rules."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, *_: Any, **__: Any) -> socket.socket:
        return self._sock


async def _asked(sock: socket.socket, errand: Errand, host: str) -> socket.socket:
    proxy = errand.proxy
    asking = Library(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        username=proxy.user,
        password=proxy.password,
        rdns=True,
        forward=_Connected(sock),
    )
    try:
        return await asking.connect(host, errand.origin.port, timeout=errand.limit)
    except ProxyError as error:
        kind = _UPSTREAM.get(error.error_code or 0, Kind.UNREACHABLE)
        raise errand.fault(kind, f"does not connect to {errand.origin}: {str(error).lower()}") from None
    except ValueError:
        said = f"cannot be asked to connect to {errand.origin}: SOCKS5 takes up to 255 plain characters each"
        raise errand.fault(Kind.UNREACHABLE, f"{said} for user, password and host") from None
