"""Pings while a client waits: before the gate has opened for long (`gate.patience`), and in silences after it.

One timer per stream, re-armed by what it finds; writing costs it nothing. No watchdog of a client fires, and since
message_start is still withheld in the first case, failover stays invisible.
"""

import asyncio
from collections.abc import Callable

from companion.protocol.sse import PING
from companion.proxy.port import Port


class Heartbeat:
    """Pings `port` every `every` seconds of silence; the first one after `patience` seconds calls `begin` before it."""

    def __init__(self, port: Port, patience: float, every: float, begin: Callable[[], None]) -> None:
        self._port = port
        self._every = every
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self.last_write = self._loop.time()
        self._timer = self._loop.call_later(patience, self._beat)

    def stop(self) -> None:
        self._timer.cancel()

    def opened(self) -> None:
        """The gate is open: from here on it is silence that counts, not patience."""
        self._timer.cancel()
        self.last_write = self._loop.time()
        self._timer = self._loop.call_later(self._every, self._beat)

    def _beat(self) -> None:
        silent = self._loop.time() - self.last_write
        if not self._port.started:
            self._begin()
        elif silent < self._every:
            self._timer = self._loop.call_later(self._every - silent, self._beat)
            return
        self._port.write(PING)
        self.last_write = self._loop.time()
        self._timer = self._loop.call_later(self._every, self._beat)
