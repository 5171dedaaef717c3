"""A play for two upstreams: what each of many exchanges is to meet, and what was really said, piece by piece.

Every request carries its number. Its case says what the first upstream that is asked does, what the second, and how a
client sees it. The ledgers of the simulators and what was noted here are the truth that records are compared with.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from companion.simulator import Simulator, replies
from companion.simulator.exchange import Exchange, Reply
from companion.simulator.received import Received
from companion.simulator.replies.streams import message
from companion.simulator.routes import reply as usual
from companion.simulator.wire import Pairs, Wire

TOOLS = [("Read", {"file_path": "/a/b"})]

Script = Callable[[int], Reply]


@dataclass(frozen=True)
class Case:
    """What happens to one exchange. `says[0]` is said to the first request of it, and so on; the last one repeats."""

    name: str
    outcome: str
    says: tuple[Script, ...]
    share: int
    path: str = "/v1/messages?beta=true"
    stream: bool = True
    more: dict[str, Any] = field(default_factory=dict)
    agent: str = "claude-cli/2.1.330 (external, sdk-cli)"
    leaves: str = ""
    own_model: bool = False
    counts: bool = False


def usage(number: int) -> dict[str, Any]:
    """Tokens that are another number for each exchange."""
    short, long = number % 11, number % 13
    return {
        "input_tokens": 1000 + number,
        "cache_read_input_tokens": number % 17,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": 1 + number % 101,
    }


def good(number: int) -> Reply:
    return replies.answer(f"Answer {number}. " + "words " * (number % 40), usage=usage(number), piece=24)


def _always(reply: Reply) -> Script:
    return lambda _: reply


def _error(code: int) -> Script:
    return lambda number: replies.status(code, message=f"No, {number}.")


_cut = message("A text that breaks off.", usage=usage(0))
_tool = message("A word.", tools=TOOLS, usage=usage(0))
_JUNK = b'{"model": "m", "messages": 5, "number": %d}'

CASES: tuple[Case, ...] = (
    Case("stream", "complete", (good,), 32, counts=True),
    Case("whole", "complete", (good,), 10, stream=False, counts=True),
    Case("count", "complete", (_always(Reply("count", lambda exchange: usual(exchange.received).play(exchange))),), 8,
         path="/v1/messages/count_tokens", stream=False),
    Case("overloaded", "failed over", (_error(529), good), 4, counts=True),
    Case("broken", "failed over", (_error(500), good), 4, stream=False, counts=True),
    Case("cut early", "failed over", (_always(replies.cut("before_content", of=_cut)), good), 3, counts=True),
    Case("error first", "failed over", (_always(replies.error_first()), good), 2, counts=True),
    Case("web page", "failed over", (_always(replies.html()), good), 2, counts=True),
    Case("closed", "failed over", (_always(replies.close()),) * 2 + (good,), 2, counts=True),
    Case("all fail", "error", (_error(529), _error(500)), 3),
    Case("too long", "error", (_always(replies.too_long()),), 3),
    Case("cut", "truncated", (_always(replies.cut("in_text", of=_cut)),), 3),
    Case("reset", "truncated", (_always(replies.cut("in_text", "rst", of=_cut)),), 2, agent="another/1.0"),
    Case("cut after a tool", "truncated", (_always(replies.cut("after_tool", of=_tool)),), 2),
    Case("left early", "cancelled by client", (_always(replies.hang()),), 3, leaves="early"),
    Case("left late", "cancelled by client", (_always(replies.cut("in_text", "stall", of=_cut)),), 3, leaves="late"),
    Case("odd", "repaired", (_always(replies.no_block_stop()),), 3),
    Case("refused", "repaired", (_always(replies.refuses("context_management")),), 3,
         more={"context_management": {"edits": []}}, own_model=True),
    Case("refused before", "repaired", (_always(replies.refuses("context_management")),), 3,
         more={"context_management": {"edits": []}}),
    Case("rejected", "rejected", (), 3),
)  # fmt: skip


def cast(count: int, seed: int) -> list[Case]:
    """That many cases in the shares that they have, mixed."""
    mix = random.Random(seed)
    return mix.choices(CASES, [case.share for case in CASES], k=count)


def request(case: Case, number: int, filler: str) -> bytes:
    """The body that the client of an exchange sends."""
    if case.outcome == "rejected":
        return _JUNK % number
    size = 60_000 if number % 50 == 0 else 200 + number * 37 % 3000
    start = number * 7919 % (len(filler) - size)
    body = {
        "model": f"claude-{number}" if case.own_model else "claude-opus-5-5",
        "max_tokens": 1000,
        "stream": case.stream,
        "tools": [{"name": "Read", "description": "reads", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [{"role": "user", "content": f"<{number}> {filler[start : start + size]}"}],
        **case.more,
    }
    return json.dumps(body).encode()


@dataclass(eq=False)
class Played:
    """One request as an upstream saw it, and what it said: the status, if any, and the bytes of the body."""

    endpoint: str
    received: Received
    number: int
    status: int | None = None
    said: list[bytes] = field(default_factory=list)


class _Noted(Wire):
    """Notes what is written."""

    def __init__(self, wire: Wire, played: Played) -> None:
        super().__init__(wire._transport, wire._writable, keep=wire.keep, bodyless=wire._bodyless)
        self._played = played

    def head(self, status: int, headers: Pairs, *, length: int | None = None, until_close: bool = False) -> None:
        self._played.status = status
        super().head(status, headers, length=length, until_close=until_close)

    async def write(self, *pieces: bytes) -> None:
        self._played.said += pieces
        await super().write(*pieces)


class Book:
    """Plays for any number of simulators; `asked` tells in which order an exchange's requests came to whom."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.asked: defaultdict[int, list[Played]] = defaultdict(list)
        self._heard: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def play(self, simulator: Simulator, endpoint: str) -> None:
        """From now on this simulator, known as `endpoint`, says what the book wants."""

        async def play(exchange: Exchange) -> None:
            number = _number(exchange.received)
            played = Played(endpoint, exchange.received, number)
            asked = self.asked[number]
            asked.append(played)
            says = self.cases[number].says
            self._heard[number].set()
            wire = _Noted(exchange.wire, played)
            try:
                await says[min(len(asked), len(says)) - 1](number).play(replace(exchange, wire=wire))
            finally:
                exchange.wire.keep = wire.keep

        simulator.queue(Reply("book", play), times=None, match=lambda _: True)

    async def heard(self, number: int) -> None:
        """Wait until an upstream has got this exchange's request."""
        await self._heard[number].wait()


def _number(received: Received) -> int:
    said = received.json["messages"][-1]["content"]
    return int(said[1 : said.index(">")])
