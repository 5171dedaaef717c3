"""What a reply has in its hands: the request, the scripted answer to it, and the wire."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from companion.simulator.messages import Message, Refusal, Stamp, dumps, error
from companion.simulator.received import Received
from companion.simulator.wire import Wire

Fields = tuple[tuple[str, str], ...]

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and all that is needed to answer it.

    `scripted` tells whether the answer belongs to a conversation with a marker, which a reply must not replace by
    another. `pace` is in seconds an event, `fields` go on every answer, `limits` on those that are successes.
    """

    received: Received
    wire: Wire
    answer: Message | Refusal
    scripted: bool
    stamp: Stamp
    pace: float = 0.0
    fields: Fields = ()
    limits: Fields = ()

    def head_fields(self, status: int, type: str, more: Fields = ()) -> Fields:
        """The fields of an answer; what a reply sets by itself wins."""
        own = {name.lower() for name, _ in more}
        usual = (("content-type", type), *self.fields, *(self.limits if status < 300 else ()))
        return (*((name, value) for name, value in usual if name not in own), *more)

    async def give(self, status: int, body: bytes, type: str = JSON, more: Fields = ()) -> None:
        """Answer with a whole body."""
        self.wire.head(status, self.head_fields(status, type, more), length=len(body))
        await self.wire.write(body)

    async def refuse(self, refusal: Refusal, more: Fields = ()) -> None:
        """Answer with the error envelope."""
        request_id = dict(self.fields).get("request-id")
        await self.give(
            refusal.status,
            dumps({**error(refusal.type, refusal.message), "request_id": request_id}),
            more=more,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What the simulator does with a request. One that does not fit an answer waits for the next one."""

    name: str
    play: Callable[[Exchange], Awaitable[None]]
    fits: Callable[[Exchange], bool] = lambda _: True
