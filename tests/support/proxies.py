"""Real proxies for tests, between us and an upstream: HTTP CONNECT (also over TLS) and SOCKS5, on 127.0.0.1.

    async with HttpProxy(user="ann", password="secret") as proxy:
        ... proxy.url ... proxy.asked == ["127.0.0.1:8080"]

`names` are host names that the proxy knows, and the address of each. Other behaviour is given by `answer`.
"""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from typing import ClassVar, Self
from urllib.parse import quote

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Proxy:
    """`asked` is what clients wanted to reach, in order, `open` how many connections of clients there are."""

    scheme: ClassVar[str]

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        tls: ssl.SSLContext | None = None,
        names: Mapping[str, str] | None = None,
        answer: bytes | None = None,
        early: bytes = b"",
        host: str = "127.0.0.1",
    ) -> None:
        self.user, self.password = user, password
        self.names = names or {}
        self.answer = answer
        self.early = early
        self.host = host
        self.asked: list[str] = []
        self.open = 0
        self.seen = 0
        self.port = 0
        self.hanging = asyncio.Event()
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def name(self) -> str:
        """As faults should call it."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """With its user and password."""
        return self.url_with(self.user, self.password)

    def url_with(self, user: str | None, password: str = "") -> str:
        signed = "" if user is None else f"{quote(user, safe='')}:{quote(password, safe='')}@"
        return f"{self.scheme}://{signed}{self.host}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open += 1
        self.seen += 1
        try:
            if (upstream := await self._agree(reader, writer)) is not None:
                await _joined((reader, writer), upstream)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _agree(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        raise NotImplementedError

    async def _connect(self, host: str, port: int) -> Streams:
        self.asked.append(f"{host}:{port}")
        return await asyncio.open_connection(self.names.get(host, host), port)

    async def hang(self) -> None:
        self.hanging.set()
        await asyncio.Event().wait()


class HttpProxy(_Proxy):
    """CONNECT. `answer` is said instead of a 200, and nothing is connected; `b""` hangs."""

    scheme = "http"

    async def _agree(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, version = head.split("\r\n")[0].split(" ")
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        assert f"\r\nHost: {target}\r\n" in head
        host, _, port = target.rpartition(":")
        if self.answer is not None:
            self.asked.append(target)
            await self._refuse(writer, self.answer)
            return None
        if self.user is not None and f"\r\nProxy-Authorization: Basic {self._pair()}\r\n" not in head:
            await self._refuse(writer, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        try:
            upstream = await self._connect(host.strip("[]"), int(port))
        except ConnectionError:
            await self._refuse(writer, b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nno\n")
            return None
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n" + self.early)
        return upstream

    def _pair(self) -> str:
        return b64encode(f"{self.user}:{self.password}".encode()).decode()

    async def _refuse(self, writer: asyncio.StreamWriter, said: bytes) -> None:
        if not said:
            await self.hang()
        writer.write(said)
        await writer.drain()
        writer.close()


class HttpsProxy(HttpProxy):
    """CONNECT over TLS."""

    scheme = "https"


class SocksProxy(_Proxy):
    """SOCKS5. `answer` is the reply code instead of 0; `b""` hangs."""

    scheme = "socks5"

    async def _agree(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        assert version == 5
        if self.answer == b"":
            await self.hang()
        wanted = 0 if self.user is None else 2
        writer.write(bytes([5, wanted if wanted in methods else 0xFF]))
        if wanted not in methods:
            return None
        if wanted and not await self._signed_in(reader, writer):
            return None
        host, port = await self._target(reader)
        code = 0 if self.answer is None else self.answer[0]
        try:
            if code:
                self.asked.append(f"{host}:{port}")
            upstream = None if code else await self._connect(host, port)
        except ConnectionError:
            upstream, code = None, 5
        writer.write(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]) + self.early)
        await writer.drain()
        return upstream

    async def _signed_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, size = await reader.readexactly(2)
        user = await reader.readexactly(size)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        fits = (user.decode(), password.decode()) == (self.user, self.password)
        writer.write(bytes([1, 0 if fits else 1]))
        return fits

    async def _target(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, await reader.readexactly(size))
        return host, int.from_bytes(await reader.readexactly(2), "big")


class NamingSocksProxy(SocksProxy):
    """SOCKS5 that is left to look names up."""

    scheme = "socks5h"


async def _joined(client: Streams, upstream: Streams) -> None:
    try:
        await asyncio.gather(_copied(client[0], upstream[1]), _copied(upstream[0], client[1]))
    finally:
        upstream[1].transport.abort()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
