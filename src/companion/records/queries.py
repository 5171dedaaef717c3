"""Lists and details, for the API and `companion logs`: read-only, beside a proxy that writes, never a scan of all rows.

Pages go by key: the id of the last exchange seen. No OFFSET, no count(*). All of it is for threads.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Self, cast

import msgspec
from sqlalchemy import (
    Engine,
    Row,
    bindparam,
    create_engine,
    select,
)
from sqlalchemy.engine import Connection
from sqlalchemy.pool import QueuePool

from companion.protocol import sse
from companion.records.contents import CLIENT, Kind, cooked, numbers, times_of, unpacked
from companion.records.database import open_for_reading, path_of
from companion.records.lists import walk
from companion.records.schema import attempts, blobs, contents, exchanges, learned
from companion.records.views import (
    AttemptView,
    Body,
    ContentView,
    Detail,
    ExchangeView,
    FaultView,
    Filters,
    Page,
    Part,
    PlanView,
    StreamEvent,
)

MOST: Final = 1000
"""The longest page."""

EVERYTHING: Final = Filters()

_AT_ONCE: Final = 500
_KINDS: Final = {
    Part.REQUEST_HEADERS: Kind.REQUEST_HEADERS,
    Part.REQUEST_BODY: Kind.REQUEST_BODY,
    Part.RESPONSE_HEADERS: Kind.RESPONSE_HEADERS,
    Part.RESPONSE_BODY: Kind.RESPONSE_BODY,
}
_PARTS: Final = {kind: part for part, kind in _KINDS.items()}
_FAULT_COLUMNS: Final = ("fault_party", "fault_phase", "fault_kind", "fault_message", "fault_error_type")
_STREAM: Final = exchanges.c.keys().index("stream")
_LABELS: Final = exchanges.c.keys().index("labels")
_FAULT: Final = exchanges.c.keys().index(_FAULT_COLUMNS[0])
_FAULT_END: Final = _FAULT + len(_FAULT_COLUMNS)
_considered: Final = msgspec.json.Decoder(list[PlanView])
_words: Final = msgspec.json.Decoder(tuple[str, ...])


class Records:
    """Reads a store. Raises StoreError when there is none yet; `close` when done."""

    def __init__(self, path: Path) -> None:
        open_for_reading(path).close()
        self.path = path
        # A file that was set aside meanwhile is not read much longer.
        self._engine: Engine = create_engine(
            "sqlite://", creator=lambda: open_for_reading(path), poolclass=QueuePool, pool_size=2, pool_recycle=30
        )

    @classmethod
    def open(cls, url: str, folder: Path) -> Self:
        """Of the same `records.store` and folder as the proxy's."""
        return cls(path_of(url, folder))

    def close(self) -> None:
        self._engine.dispose()

    def list_exchanges(
        self, filters: Filters = EVERYTHING, *, after: str | None = None, before: str | None = None, limit: int = 50
    ) -> Page:
        """A page of what is older than the key `after`, or newer than `before`; the newest of all without either."""
        limit = max(1, min(limit, MOST))
        with closing(self._engine.raw_connection()) as pooled:
            found = walk(cast("sqlite3.Connection", pooled.dbapi_connection), filters, after, before, limit + 1)
        more, found = len(found) > limit, found[:limit]
        if before is not None:
            found.reverse()
            older, newer = bool(found), more
        else:
            older, newer = more, after is not None and bool(found)
        return Page(
            tuple(map(_exchange, found)),
            next=found[-1][0] if older else None,
            previous=found[0][0] if newer else None,
        )

    def exchange(self, id: str) -> Detail | None:
        """All about one, or None where there is none."""
        with self._engine.connect() as connection:
            row = connection.execute(select(exchanges).where(exchanges.c.id == id)).first()
            if row is None:
                return None
            tries = connection.execute(select(attempts).where(attempts.c.exchange_id == id).order_by(attempts.c.number))
            kept = _contents(connection, id)
            plan = _read(connection, [each for each in kept if each.kind == Kind.PLAN])
            heads = {
                f"{each.attempt}.{_PARTS[Kind(each.kind)]}": _fields(_read(connection, [each]).data)
                for each in kept
                if each.kind in {Kind.REQUEST_HEADERS, Kind.RESPONSE_HEADERS}
            }
            return Detail(
                _exchange(row),
                tuple(map(_attempt, tries)),
                tuple(_considered.decode(plan.data)) if plan.data else (),
                tuple(_kept(kept)),
                heads,
            )

    def body(self, id: str, part: Part, attempt: int = CLIENT) -> Body | None:
        """The bytes of one part as they were on the wire, but for what was masked; None where nothing was kept."""
        with self._engine.connect() as connection:
            rows = _contents(connection, id, _KINDS[part], attempt)
            if rows and rows[0].same_as is not None:
                rows = _contents(connection, id, _KINDS[part], rows[0].same_as)
            return _read(connection, rows) if rows else None

    def stream_events(self, id: str, attempt: int = CLIENT) -> list[StreamEvent]:
        """The events of an answer that was streamed, each with its time."""
        with self._engine.connect() as connection:
            rows = _contents(connection, id, Kind.RESPONSE_BODY, attempt)
            whole = _read(connection, rows)
        decoder, found, position = sse.Decoder(), [], 0
        for length, at in (time for row in rows if row.times is not None for time in times_of(row.times)):
            for frame in decoder.feed(whole.data[position : position + length]):
                name = None if frame.event is None else frame.event.decode("utf-8", "replace")
                if name is not None or frame.data:
                    found.append(StreamEvent(at, name, frame.data.decode("utf-8", "replace")))
            position += length
        return found

    def learned(self) -> list[Row[Any]]:
        """What upstreams were found to need: rows of about, model, repair, endpoint, said, at."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(learned).order_by(learned.c.at)))


# === rows


def _exchange(row: Sequence[Any]) -> ExchangeView:
    """By position, because a page is fifty of them: the columns are in the order of the fields."""
    values: tuple[Any, ...] = tuple(row)
    stream = values[_STREAM]
    fields: tuple[Any, ...] = (
        *values[:_STREAM],
        None if stream is None else bool(stream),
        *values[_STREAM + 1 : _LABELS],
        _list(values[_LABELS]),
        *values[_LABELS + 1 : _FAULT],
        _fault(values[_FAULT:_FAULT_END]),
        _list(values[_FAULT_END]),
        _list(values[_FAULT_END + 1]),
        *values[_FAULT_END + 2 :],
    )
    return ExchangeView(*fields)


def _attempt(row: Row[Any]) -> AttemptView:
    values = dict(row._mapping)
    del values["exchange_id"]
    fault = _fault(tuple(values.pop(name) for name in _FAULT_COLUMNS))
    violations, repairs = _list(values.pop("violations")), _list(values.pop("repairs"))
    return AttemptView(**values, violations=violations, repairs=repairs, fault=fault)


def _fault(values: tuple[Any, ...]) -> FaultView | None:
    return None if values[2] is None else FaultView(*values)


def _list(value: str | None) -> tuple[str, ...]:
    return () if value is None else _words.decode(value)


# === contents


def _contents(
    connection: Connection, id: str, kind: Kind | None = None, attempt: int | None = None
) -> Sequence[Row[Any]]:
    asked = select(contents).where(contents.c.exchange_id == id)
    if kind is not None:
        asked = asked.where(contents.c.kind == int(kind), contents.c.attempt == attempt)
    return connection.execute(asked.order_by(contents.c.attempt, contents.c.kind, contents.c.part)).all()


def _read(connection: Connection, rows: Sequence[Row[Any]]) -> Body:
    wanted = sorted({number for row in rows for number in numbers(row.recipe)})
    pieces: dict[int, bytes] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        for number, size, data in connection.execute(_pieces, {"some": some}):
            pieces[number] = unpacked(data, size)
    return Body(
        b"".join([cooked(row.recipe, pieces.__getitem__) for row in rows if row.recipe is not None]),
        sum(row.size for row in rows if row.recipe is None),
    )


_pieces: Final = select(blobs).where(blobs.c.id.in_(bindparam("some", expanding=True)))


def _kept(rows: Sequence[Row[Any]]) -> Iterator[ContentView]:
    """One for all parts of a stream."""
    sizes: dict[tuple[int, int], list[Any]] = {}
    for row in rows:
        if row.kind in _PARTS:
            known = sizes.setdefault((row.attempt, row.kind), [0, 0, row.same_as])
            known[0] += row.size
            known[1] += row.size if row.recipe is None and row.same_as is None else 0
    for (attempt, kind), (size, missing, same_as) in sizes.items():
        yield ContentView(attempt, _PARTS[Kind(kind)], size, missing, same_as)


def _fields(written: bytes) -> tuple[tuple[str, str], ...]:
    lines = (line.partition(": ") for line in written.decode("latin-1").split("\n") if line)
    return tuple((name, value) for name, _, value in lines)
