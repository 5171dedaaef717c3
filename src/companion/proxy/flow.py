"""Back-pressure: what the client does not take stops the upstream, by TCP."""

import asyncio

from companion.proxy.port import Port
from companion.upstream.transport import Response


class Flow:
    """Writes to the client, and pauses the upstream's answer while the client's side is full."""

    def __init__(self, port: Port, response: Response) -> None:
        self._port = port
        self._response = response
        self._draining: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        if not self._port.write(data) and self._draining is None:
            self._response.pause()
            self._draining = asyncio.create_task(self._drain())

    def close(self) -> None:
        if self._draining is not None:
            self._draining.cancel()

    async def _drain(self) -> None:
        await self._port.drain()
        self._draining = None
        self._response.resume()
