"""The words of ASGI 3, and its lifespan: an application may want to be told when it begins and when it ends."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import structlog

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

# Before 2.4 `http.disconnect` ends a stream; from then on its next send does, and a silent stream sends nothing.
VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}

# How long, in seconds, an application may take to begin or to end.
PATIENCE: Final = 10.0

_log = structlog.get_logger("companion.proxy.bridge")


class Lifespan:
    """One application's life. `state` is what it gives to all its requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Tell it to begin. Raises RuntimeError when it says that it cannot, or nothing at all for PATIENCE."""
        self._task = asyncio.create_task(self._run())
        said = await self._tell("startup")
        if said is not None and said["type"] != "lifespan.startup.complete":
            self._task.cancel()
            raise RuntimeError(f"the application cannot begin: {said.get('message') or said['type']}")

    async def shutdown(self) -> None:
        """Tell it to end, and see that it does."""
        task = self._task
        if task is not None and not task.done():
            await self._tell("shutdown")
            task.cancel()

    async def _tell(self, what: str) -> Message | None:
        """What it answers; None if it does not know of lifespans, which is its right."""
        assert self._task is not None, "startup made it"
        self._heard.put_nowait({"type": f"lifespan.{what}"})
        answer = asyncio.create_task(self._said.get())
        await asyncio.wait({answer, self._task}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None if self._task.done() else {"type": f"no answer within {PATIENCE:g} s"}

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        try:
            await self.app(scope, self._heard.get, self._send)
        except Exception as error:
            # This is how an application says that it knows no lifespan.
            _log.debug("application without lifespan", why=str(error))

    async def _send(self, message: Message) -> None:
        if not message["type"].startswith("lifespan."):
            raise RuntimeError("this is no answer within a lifespan")
        self._said.put_nowait(message)
