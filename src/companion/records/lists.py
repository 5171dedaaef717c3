"""Pages of exchanges: walks in the order of ids, by the index of what is rarest among the filters.

SQLAlchemy writes a statement once for each set of filters. The driver itself runs it: fifty rows of forty columns take
SQLAlchemy longer than SQLite.
"""

from collections.abc import Mapping
from functools import lru_cache
from heapq import merge
from operator import itemgetter
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, TextClause, bindparam, func, literal_column, select, text
from sqlalchemy.dialects import sqlite

from companion.records.retention import oldest_kept
from companion.records.schema import FAILED, FAILURES, exchanges
from companion.records.views import Filters

COUNTED: Final = 1000

Found = tuple[Any, ...]
"""The columns of an exchange, in the order of the table."""

_Condition = tuple[str, ...]
"""What one index can find: names of columns that have a value, `failed`, or `running`."""

# Usually rare ones first: that counts where all of them are frequent.
_BY_VALUE: Final = ("session", "status", "client", "endpoint", "model")
_TOGETHER: Final = (("failed", "endpoint"), ("endpoint", "model"))
_ID: Final = exchanges.c.id
_BOUNDS: Final[Mapping[str, ColumnElement[bool]]] = {
    "since": bindparam("since") <= _ID,
    "until": bindparam("until") > _ID,
    "first": bindparam("first") <= _ID,
    "last": bindparam("last") > _ID,
    "after": bindparam("after") > _ID,
    "before": bindparam("before") < _ID,
}
_DIALECT: Final = sqlite.dialect(paramstyle="named")


def walk(connection: Connection, filters: Filters, after: str | None, before: str | None, limit: int) -> list[Found]:
    """In the order of the walk. Of several outcomes each is a walk of its own, by its own index."""
    wanted = {name: value for name in _BY_VALUE if (value := getattr(filters, name)) is not None}
    if filters.failed:
        wanted = {"failed": True, **wanted}
    bounds = _bounds(filters, after, before)
    newest_first = before is None
    chosen: list[dict[str, Any]] = [{"outcome": each} for each in filters.outcomes]
    if filters.running:
        chosen.append({"running": True})
    walks = [_walk(connection, {**each, **wanted}, bounds, limit, newest_first=newest_first) for each in chosen or [{}]]
    if len(walks) == 1:
        return walks[0]
    return list(merge(*walks, key=itemgetter(0), reverse=newest_first))[:limit]


def _bounds(filters: Filters, after: str | None, before: str | None) -> dict[str, str]:
    """Times and keys are both bounds of the id."""
    prefix = filters.id.upper() if filters.id else None
    bounds = {
        "since": None if filters.since is None else oldest_kept(filters.since),
        "until": None if filters.until is None else oldest_kept(filters.until),
        "first": prefix,
        "last": prefix and prefix + "~",
        "after": after,
        "before": before,
    }
    return {name: value for name, value in bounds.items() if value is not None}


def _walk(
    connection: Connection, wanted: dict[str, Any], bounds: dict[str, str], limit: int, *, newest_first: bool
) -> list[Found]:
    """By the index of the rarest condition: the database itself knows only how rare its values are on average."""
    values = {**wanted, **bounds, "limit": limit}
    conditions, within = _conditions(wanted), tuple(bounds)
    if len(conditions) > 1:
        conditions.sort(key=lambda each: _count(each, within).run(connection, values)[0][0])
    first, others = (conditions[0], tuple(conditions[1:])) if conditions else ((), ())
    return _page(first, others, within, newest_first=newest_first).run(connection, values)


def _conditions(wanted: Mapping[str, Any]) -> list[_Condition]:
    for pair in _TOGETHER:
        if wanted.keys() >= {*pair}:
            return [pair, *((name,) for name in wanted if name not in pair)]
    return [(name,) for name in wanted]


class _Statement(NamedTuple):
    """SQL, and the values in it that are always the same."""

    sql: str
    constant: Mapping[str, Any]

    def run(self, connection: Connection, values: Mapping[str, Any]) -> list[Found]:
        return connection.execute(self.sql, {**values, **self.constant}).fetchall()


@lru_cache(maxsize=256)
def _page(
    first: _Condition, others: tuple[_Condition, ...], bounds: tuple[str, ...], *, newest_first: bool
) -> _Statement:
    where = [*map(_found, first), *(_checked(name) for each in others for name in each)]
    order = _ID.desc() if newest_first else _ID.asc()
    asked = select(exchanges).where(*where, *map(_BOUNDS.__getitem__, bounds)).order_by(order)
    return _statement(asked.limit(bindparam("limit")))


@lru_cache(maxsize=256)
def _count(condition: _Condition, bounds: tuple[str, ...]) -> _Statement:
    """How many there are within the bounds, up to COUNTED."""
    some = select(_ID).where(*map(_found, condition), *map(_BOUNDS.__getitem__, bounds)).limit(COUNTED).subquery()
    return _statement(select(func.count()).select_from(some))


def _statement(asked: Select[Any]) -> _Statement:
    compiled = asked.compile(dialect=_DIALECT)
    return _Statement(str(compiled), {name: value for name, value in compiled.params.items() if value is not None})


def _found(name: str) -> ColumnElement[bool] | TextClause:
    if name == "failed":
        return text(FAILED)
    return exchanges.c.outcome.is_(None) if name == "running" else exchanges.c[name] == bindparam(name)


def _checked(name: str) -> ColumnElement[bool] | TextClause:
    """The same, but no index will be used for it."""
    if name == "running":
        return _found(name)
    if name == "failed":
        return text(f"coalesce(outcome, '-') IN {FAILURES}")
    unknown: ColumnElement[Any] = literal_column("-1" if name == "status" else "''")
    checked: ColumnElement[bool] = func.coalesce(exchanges.c[name], unknown) == bindparam(name)
    return checked
