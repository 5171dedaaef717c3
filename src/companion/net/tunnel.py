"""Through an HTTP proxy to an upstream: CONNECT, where wanted with TLS to the proxy.

Not a byte of the proxy's own talk reaches the upstream's protocol, nor is one lost that came right behind it.
"""

import asyncio
import re
import ssl
from base64 import b64encode
from http import HTTPStatus
from typing import Final, cast

from companion.errors import Kind, UpstreamError
from companion.net.errand import Errand
from companion.net.handshake import opened
from companion.net.reach import Resolve, Steps, reach

MAX_HEAD: Final = 64 * 1024

_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r]")
# What a proxy tells about the upstream; every other status is about itself.
_UPSTREAM: Final = {502: Kind.BAD_GATEWAY, 503: Kind.UNAVAILABLE, 504: Kind.CONNECT_TIMEOUT}


class Tunnel(asyncio.Protocol):
    """The proxy's end of a connection until it is the upstream's. `rest` is what came behind the proxy's answer.

    `head` is that answer, empty if it is too long. Whoever awaits it hears of the connection's end: that comes later.
    """

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.rest = b""
        self.transport: asyncio.Transport
        self._seen = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.head.done():
            self.rest += data
            return
        self._seen += data
        if (end := self._seen.find(_END)) >= 0 or len(self._seen) > MAX_HEAD:
            self.rest = bytes(self._seen[end + len(_END) :])
            self.head.set_result(bytes(self._seen[: end + len(_END)]) if 0 <= end <= MAX_HEAD else b"")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.head.done():
            self.head.set_exception(exc or ConnectionAbortedError())
            self.head.exception()  # nobody may be waiting any more

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """From here on it is the upstream's; the first bytes of it may be here already."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self.rest:
            protocol.data_received(self.rest)


async def connect(errand: Errand, tls: float, context: ssl.SSLContext | None, resolve: Resolve, steps: Steps) -> Tunnel:
    """Have an HTTP proxy connect to the origin; `context` is for TLS to the proxy. Raises UpstreamError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + errand.limit
    sock = await reach(errand.stop, errand.limit, resolve, steps)
    left = deadline - loop.time()
    tunnel = await opened(sock, Tunnel, errand.stop, tls, context)
    try:
        tunnel.transport.write(_request(errand))
        _judge(errand, await errand.answered(tunnel.head, left))
    except BaseException:
        tunnel.transport.abort()
        raise
    return tunnel


def _request(errand: Errand) -> bytes:
    lines = [f"CONNECT {errand.origin} HTTP/1.1", f"Host: {errand.origin}"]
    proxy = errand.proxy
    if proxy.user is not None:
        pair = f"{proxy.user}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {b64encode(pair).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _judge(errand: Errand, head: bytes) -> None:
    if not head:
        raise errand.fault(Kind.BAD_HTTP, f"sent more than {MAX_HEAD // 1024} KiB of headers for {errand.origin}")
    if (found := _STATUS.match(head)) is None:
        raise errand.fault(Kind.BAD_HTTP, f"does not speak HTTP/1.1 when asked to connect to {errand.origin}")
    status = int(found[1])
    if not 200 <= status < 300:
        raise _refusal(errand, status)


def _refusal(errand: Errand, status: int) -> UpstreamError:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        why = "wants a user and password" if errand.proxy.user is None else "does not accept our user and password"
        return errand.fault(Kind.UNREACHABLE, f"{why} to connect to {errand.origin} (407)")
    # The status in our words: a proxy might repeat the password in its own.
    words = {int(each): f" {each.phrase}" for each in HTTPStatus}.get(status, "")
    said = f"does not connect to {errand.origin}: it says {status}{words}"
    return errand.fault(_UPSTREAM.get(status, Kind.UNREACHABLE), said)
