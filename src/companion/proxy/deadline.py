"""A limit for a whole block. `asyncio.timeout` is the same for any place; every request passes this one, and it costs a
third. Like it, it ends the block by cancelling the task, and tells its own cancelling from anybody else's.
"""

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """`with Deadline(seconds):` raises TimeoutError from the block when the time is up."""

    __slots__ = ("_before", "_handle", "_rung", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rung = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._task: asyncio.Task[object] = task
        self._before = task.cancelling()
        self._handle = asyncio.get_running_loop().call_later(max(0.0, self._seconds), self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if self._rung and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _ring(self) -> None:
        self._rung = True
        self._task.cancel()
