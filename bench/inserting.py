"""The row `insert`: what one more exchange costs the recorder's thread when a million are there already."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Final

from bench.machine import PROXY_CORE, on_core
from bench.peers import Make
from bench.records import CLIENTS, ENDPOINTS, MODELS, PER_SESSION
from bench.row import Bench, Sample
from bench.traffic import Answers, fields, request
from companion.clock import SystemClock
from companion.events import (
    AttemptEnded,
    AttemptStarted,
    Consideration,
    ExchangePlanned,
    ExchangeSettled,
    ExchangeStarted,
    Timings,
)
from companion.net import ulid
from companion.records.contents import CLIENT
from companion.records.store import Store
from companion.records.tape import TapePart
from companion.records.worker import BATCH

COUNT: Final = 20_000


def inserted(bench: Bench, _make: Make) -> Sample:
    """Small requests with whole answers, in batches as the thread gathers them. There is no proxy."""
    count = min(COUNT, bench.exchanges)
    news = _news(count)
    wall = cpu = 0.0
    with on_core(PROXY_CORE), closing(Store.open(f"sqlite:///{bench.archive}", bench.folder)) as store:
        while batch := list(islice(news, BATCH)):
            at, used = time.perf_counter(), time.process_time()
            store.write(batch, 0.0)
            wall += time.perf_counter() - at
            cpu += time.process_time() - used
    return Sample(cpu / count * 1e6, {"exchanges": count, "per_second": count / wall})


def _news(count: int) -> Iterator[Any]:
    """What the recorder hears of so many exchanges; each has another last line, and its session's credential."""
    clock, answer = SystemClock(), Answers().whole
    head, _, body = request(2048, stream=False, tokens=420).partition(b"\r\n\r\n")
    asked, answered = fields(head), fields(Answers().blocks().partition(b"\r\n\r\n")[0])
    for number in range(count):
        turn = number // PER_SESSION
        yield from _exchange(
            ulid.new(clock),
            clock.wall(),
            asked=asked,
            answered=answered,
            body=body.replace(b"@FILL@", b"%06d" % number),
            answer=answer,
            session=f"{turn:032x}",
            client=CLIENTS[turn % len(CLIENTS)],
            endpoint=ENDPOINTS[turn % len(ENDPOINTS)],
            model=MODELS[turn % len(MODELS)],
        )


def _exchange(
    id: str,
    now: float,
    *,
    asked: list[tuple[bytes, bytes]],
    answered: list[tuple[bytes, bytes]],
    body: bytes,
    answer: bytes,
    session: str,
    client: str,
    endpoint: str,
    model: str,
) -> Iterator[Any]:
    path, url = "/v1/messages", f"https://{endpoint}.test/v1/messages?beta=true"
    yield ExchangeStarted(
        id, now, "POST", path, model, stream=False, session=session, query=b"beta=true",
        headers=asked, body=body, peer="127.0.0.1", client=client,
    )  # fmt: skip
    yield ExchangePlanned(id, now, tuple(Consideration(each, 0, each == endpoint, "healthy") for each in ENDPOINTS))
    yield AttemptStarted(id, 1, now, endpoint, 0, model, url, asked, (body,))
    for attempt in (1, CLIENT):
        yield TapePart(id, attempt, (answer,), (now + 1,), len(answer), end=True)
    yield AttemptEnded(
        id, 1, now + 1, endpoint, 0, 200, None, now + 1, now + 1, Timings(reused=True, write=0.001), answered
    )
    yield ExchangeSettled(
        id, now + 1, now, "POST", path, "complete", 200, endpoint, 1, model, model, 12, 420, (), None, 0,
        cache_read_tokens=38_211, stop_reason="end_turn", session=session, client=client,
        first_byte=now + 1, first_content=now + 1, headers=answered,
    )  # fmt: skip
