"""What goes out to one client, and whether the client takes it: back-pressure as a thing of its own.

The transport tells when its buffer is above high water; a look at the buffer now and then tells whether anything at all
has gone out since. Nothing is counted per write but bytes.
"""

import asyncio
import math
from typing import Final

from companion.net.h1 import HIGH_WATER

# So often within client_write_timeout we look whether the client has taken anything.
_LOOKS: Final = 4


class Outflow:
    """The writing side of a connection. `behind` says that the client should catch up before much more is written.

    `look_at` is when (monotonic seconds) it is worth looking again.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.behind = False
        self.sent = 0
        self.look_at = math.inf
        self._transport = transport
        self._caught_up: asyncio.Future[None] | None = None
        self._taken = 0
        self._taken_at = 0.0

    @property
    def pending(self) -> int:
        """How many bytes are still in our hands."""
        return self._transport.get_write_buffer_size()

    def send(self, buffers: tuple[bytes, ...]) -> bool:
        """Send; False when the client is behind."""
        if len(buffers) == 1:
            self.sent += len(buffers[0])
            self._transport.write(buffers[0])
        else:
            self.sent += sum(map(len, buffers))
            self._transport.writelines(buffers)
        return not self.behind

    async def caught_up(self) -> None:
        """Wait until the client is not behind any more, or has left."""
        if self.behind:
            if self._caught_up is None:
                self._caught_up = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._caught_up)

    def flows(self) -> None:
        """The client has caught up, or has left: nobody needs to wait."""
        self.behind = False
        if self._caught_up is not None:
            self._caught_up.set_result(None)
            self._caught_up = None

    def watch(self, now: float, limit: float) -> float:
        """From now on the client has to take something within `limit` seconds; returns `look_at`."""
        self._taken, self._taken_at = self.sent - self.pending, now
        self.look_at = now + limit / _LOOKS
        return self.look_at

    def stuck(self, now: float, limit: float) -> bool:
        """Look: has the client taken nothing for `limit` seconds?"""
        taken = self.sent - self.pending
        if taken > self._taken:
            self._taken, self._taken_at = taken, now
        self.look_at = now + limit / _LOOKS
        return now - self._taken_at >= limit
