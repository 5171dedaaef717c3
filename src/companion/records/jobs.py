"""The thread's work: a batch of news becomes rows and contents, in one transaction.

An exchange is remembered from its start until it is settled and its tapes have ended: what its client presented must
be masked in all that belongs to it, and its times count from its start.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any, Final, Literal

import msgspec

from companion.errors import Fault
from companion.events import (
    AttemptEnded,
    AttemptStarted,
    ExchangePlanned,
    ExchangeSettled,
    ExchangeStarted,
    Fields,
    RepairLearned,
)
from companion.net.h1 import header
from companion.records.contents import BODIES, CLIENT, Contents, Kind, Place
from companion.records.cut import Piece, cut_headers, cut_json
from companion.records.mask import Mask, presented, written
from companion.records.rows import Rows
from companion.records.tape import Stream, TapePart

Bodies = Literal["full", "failed", "none"]

_WELL: Final = frozenset({"complete", "repaired", "cancelled by client"})
_FINISHED_KEPT: Final = 256
_NOTHING: Final = Mask()

_LEARN: Final = (
    "INSERT INTO learned (about, model, repair, endpoint, said, at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_FORGET: Final = "DELETE FROM learned WHERE about = ? AND model = ?"


class WithoutBody(msgspec.Struct, frozen=True):
    """News whose body of `size` bytes was dropped because the thread is behind."""

    news: Any
    size: int


@dataclass(slots=True)
class _Exchange:
    """What has to be known of one while news of it come."""

    started: float
    mask: Mask
    like: tuple[Hashable, ...]
    discarded: bool = False
    reasons: Mapping[tuple[str, int], str] = field(default_factory=dict)
    streams: dict[int, Stream] = field(default_factory=dict)


class Jobs:
    """Applies batches over one connection. After an error inside `apply`, call `forget` when it is rolled back."""

    def __init__(self, connection: Connection) -> None:
        self.contents = Contents(connection)
        self.mask = _NOTHING
        self.bodies: Bodies = "full"
        self._connection = connection
        self._exchanges = Rows("exchanges", "id")
        self._attempts = Rows("attempts", "exchange_id", "number")
        # Of this batch only: what the client sent is most often what goes upstream, the same object.
        self._bodies: dict[str, bytes] = {}
        self._open: dict[str, _Exchange] = {}
        self._finished: OrderedDict[str, _Exchange] = OrderedDict()
        self._touched: list[Stream] = []
        self._offset = 0.0
        self._does: Mapping[type, Callable[[Any], None]] = {
            ExchangeStarted: self._started,
            ExchangePlanned: self._planned,
            AttemptStarted: self._attempt_started,
            AttemptEnded: self._attempt_ended,
            ExchangeSettled: self._settled,
            TapePart: self._taped,
            RepairLearned: self._learned,
            WithoutBody: self._without_body,
        }

    def apply(self, batch: Iterable[Any], offset: float) -> None:
        """Write these. `offset` is what makes a wall time of a monotonic one."""
        self._offset = offset
        for job in batch:
            self._does[type(job)](job)
        self._exchanges.flush(self._connection)
        self._attempts.flush(self._connection)
        self.contents.flush()
        self._bodies.clear()
        self._touched.clear()

    def forget(self) -> None:
        self._bodies.clear()
        for stream in self._touched:
            stream.restore()
        self._touched.clear()
        self._exchanges.clear()
        self._attempts.clear()
        self.contents.forget()

    # === one method a kind of news

    def _started(self, event: ExchangeStarted, dropped: int | None = None) -> None:
        mask = self.mask.also(presented(event.headers, event.query))
        like = (mask.secrets, event.client, event.session, event.agent, event.path)
        self._open[event.id] = _Exchange(event.at, mask, like)
        self._bodies[event.id] = event.body
        self._exchanges.insert(
            (event.id,),
            {
                "started": event.at + self._offset,
                "method": event.method,
                "path": mask.text(event.path),
                "query": mask.text(event.query.decode("latin-1")) if event.query else None,
                "model": mask.text_or_none(event.model),
                "stream": event.stream,
                "client": event.client,
                "session": mask.text_or_none(event.session),
                "agent": mask.text_or_none(event.agent),
                "parent_agent": mask.text_or_none(event.parent_agent),
                "labels": _listed(event.labels),
                "peer": event.peer or None,
                "user_agent": mask.text((header(event.headers, b"user-agent") or b"").decode("latin-1")) or None,
                "request_bytes": len(event.body) if dropped is None else dropped,
            },
        )
        self._headers(Place(event.id, CLIENT, Kind.REQUEST_HEADERS), event.headers, mask)
        place = Place(event.id, CLIENT, Kind.REQUEST_BODY)
        if dropped is not None:
            self.contents.put_missing(place, dropped)
        elif event.body and self.bodies != "none":
            self.contents.put(place, event.body, mask, cut_json, like=like)

    def _planned(self, event: ExchangePlanned) -> None:
        found = self._open.get(event.exchange)
        if found is None:
            return
        found.reasons = {(each.endpoint, each.credential): str(each.reason) for each in event.considered}
        plan = msgspec.json.encode(event.considered)
        self.contents.put(Place(event.exchange, CLIENT, Kind.PLAN), plan, found.mask, _whole, like="plan")

    def _attempt_started(self, event: AttemptStarted, dropped: int | None = None) -> None:
        found = self._open.get(event.exchange)
        if found is None:
            return
        size = sum(map(len, event.body)) if dropped is None else dropped
        self._attempts.insert(
            (event.exchange, event.number),
            {
                "endpoint": event.endpoint,
                "credential": event.credential,
                "reason": found.reasons.get((event.endpoint, event.credential)),
                "model": found.mask.text_or_none(event.model),
                "url": found.mask.text(event.url) or None,
                "started": event.at - found.started,
                "repairs": _listed(event.repairs),
                "sent_bytes": size,
            },
        )
        self._headers(Place(event.exchange, event.number, Kind.REQUEST_HEADERS), event.headers, found.mask)
        place = Place(event.exchange, event.number, Kind.REQUEST_BODY)
        if dropped is not None:
            self.contents.put_missing(place, size)
        elif size and self.bodies != "none":
            self._sent(place, event.body, size, found)

    def _sent(self, place: Place, splices: tuple[bytes, ...], size: int, found: _Exchange) -> None:
        """What went upstream: most often the very bytes that came."""
        if splices[0] is self._bodies.get(place.exchange) or (
            len(splices) == 1 and self.contents.repeats(splices[0], found.like)
        ):
            self.contents.put_same(place, size, CLIENT)
        else:
            self.contents.put(place, b"".join(splices), found.mask, cut_json, like=found.like, remember=False)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        found = self._open.get(event.exchange)
        if found is None:
            return
        started, mask, timings = found.started, found.mask, event.timings
        values = {
            "ended": event.at - started,
            "status": event.status,
            "first_byte": _since(event.first_byte, started),
            "first_content": _since(event.first_content, started),
            "request_id": mask.text(event.request_id) if event.request_id else None,
            "violations": _listed(event.violations),
            **_fault(event.fault, mask),
        }
        if timings is not None:
            values.update(msgspec.structs.asdict(timings))
        self._attempts.update((event.exchange, event.number), values)
        answer = event.fault.answer if event.fault is not None else None
        headers = event.headers or (answer.headers if answer is not None else ())
        self._headers(Place(event.exchange, event.number, Kind.RESPONSE_HEADERS), headers, mask)
        taped = found.streams.get(event.number)
        if answer is not None and answer.body and not (taped and taped.size) and self.bodies != "none":
            pieces = (answer.body,)
            self._taped(TapePart(event.exchange, event.number, pieces, (event.at,), len(answer.body), end=True))

    def _settled(self, event: ExchangeSettled) -> None:
        # It is among the finished where this batch is tried again.
        found = self._open.pop(event.id, None) or self._finished.get(event.id)
        mask = self.mask if found is None else found.mask
        values = {
            "ended": event.at + self._offset,
            "seconds": event.at - event.started,
            "outcome": str(event.outcome),
            "status": event.status,
            "endpoint": event.endpoint,
            "credential": event.credential,
            "attempts": event.attempts,
            "model_sent": mask.text_or_none(event.model_sent),
            "first_byte": _since(event.first_byte, event.started),
            "first_content": _since(event.first_content, event.started),
            "input_tokens": event.input_tokens,
            "output_tokens": event.output_tokens,
            "cache_read_tokens": event.cache_read_tokens,
            "cache_5m_tokens": event.cache_5m_tokens,
            "cache_1h_tokens": event.cache_1h_tokens,
            "reasoning_tokens": event.reasoning_tokens,
            "stop_reason": mask.text_or_none(event.stop_reason),
            "violations": _listed(event.violations),
            "repairs": _listed(event.repairs),
            **_fault(event.fault, mask),
        }
        if found is None:
            self._exchanges.insert((event.id,), values | self._never_started(event, mask))
        else:
            self._exchanges.update((event.id,), values)
            self._finished[event.id] = found
            while len(self._finished) > _FINISHED_KEPT:
                self._finished.popitem(last=False)
        self._headers(Place(event.id, CLIENT, Kind.RESPONSE_HEADERS), event.headers, mask)
        if self.bodies == "failed" and event.outcome in _WELL:
            self.contents.delete([event.id], BODIES)
            if found is not None:
                found.discarded = True

    def _never_started(self, event: ExchangeSettled, mask: Mask) -> dict[str, Any]:
        """A request that was refused before it could be described."""
        return {
            "started": event.started + self._offset,
            "method": event.method,
            "path": mask.text(event.path),
            "model": mask.text_or_none(event.model),
            "session": mask.text_or_none(event.session),
            "client": event.client,
        }

    def _taped(self, part: TapePart) -> None:
        found = self._open.get(part.exchange) or self._finished.get(part.exchange)
        if found is None or found.discarded:
            return
        stream = self._stream(found, part)
        for number, data, times in stream.feed(part, found.started, found.mask):
            self.contents.put_part(Place(part.exchange, part.attempt, Kind.RESPONSE_BODY, number), data, times)
        if part.end:
            self._tape_ended(part.exchange, part.attempt, stream.size)

    def _stream(self, found: _Exchange, part: TapePart) -> Stream:
        stream = found.streams.setdefault(part.attempt, Stream())
        if stream not in self._touched:
            stream.save()
            self._touched.append(stream)
        return stream

    def _tape_ended(self, exchange: str, attempt: int, size: int) -> None:
        if attempt == CLIENT:
            self._exchanges.update((exchange,), {"response_bytes": size})
        else:
            self._attempts.update((exchange, attempt), {"received_bytes": size})

    def _learned(self, event: RepairLearned) -> None:
        model = event.model or ""
        if event.repair is None:
            self._connection.execute("DELETE FROM learned WHERE about = ?", (event.about,))
        elif event.forgotten:
            self._connection.execute(f"{_FORGET} AND repair = ?", (event.about, model, event.repair))
        else:
            at, said = event.at + self._offset, self.mask.text(event.said)
            self._connection.execute(_LEARN, (event.about, model, event.repair, event.endpoint, said, at))

    def _without_body(self, job: WithoutBody) -> None:
        news = job.news
        if isinstance(news, ExchangeStarted):
            self._started(news, job.size)
        elif isinstance(news, AttemptStarted):
            self._attempt_started(news, job.size)
        elif isinstance(news, TapePart):
            self._part_missing(news, job.size)
        else:
            self._does[type(news)](news)

    def _part_missing(self, part: TapePart, size: int) -> None:
        found = self._open.get(part.exchange) or self._finished.get(part.exchange)
        if found is None or found.discarded:
            return
        stream = self._stream(found, part)
        number, missing = stream.skip(size)
        self.contents.put_missing(Place(part.exchange, part.attempt, Kind.RESPONSE_BODY, number), missing)
        if part.end:
            self._tape_ended(part.exchange, part.attempt, stream.size)

    def _headers(self, place: Place, headers: Fields, mask: Mask) -> None:
        if headers:
            like = (mask.secrets, place.kind, place.attempt > 0)
            self.contents.put(place, written(headers), mask, cut_headers, like=like)


def _whole(data: bytes) -> list[Piece]:
    return [Piece(data)] if data else []


def _since(at: float | None, started: float) -> float | None:
    return None if at is None else at - started


def _listed(words: tuple[str, ...]) -> str | None:
    return msgspec.json.encode(words).decode() if words else None


def _fault(fault: Fault | None, mask: Mask) -> dict[str, str | None]:
    if fault is None:
        return {}
    return {
        "fault_party": str(fault.party),
        "fault_phase": str(fault.phase),
        "fault_kind": str(fault.kind),
        "fault_message": mask.text(fault.message),
        "fault_error_type": mask.text_or_none(fault.error_type),
    }
