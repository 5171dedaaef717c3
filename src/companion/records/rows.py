"""Rows of one table, gathered for a batch: what begins and ends within it is one insert."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from sqlite3 import Connection
from typing import Any

Key = tuple[Any, ...]


class Rows:
    """Inserts and updates by key. `keys` are the columns of the primary key."""

    def __init__(self, table: str, *keys: str) -> None:
        self._table = table
        self._keys = keys
        self._new: dict[Key, dict[str, Any]] = {}
        self._changed: dict[Key, dict[str, Any]] = {}

    def insert(self, key: Key, values: dict[str, Any]) -> None:
        self._new[key] = values

    def update(self, key: Key, values: Mapping[str, Any]) -> None:
        """Of a row in this batch, or of one that is there."""
        row = self._new.get(key)
        if row is None:
            row = self._changed.setdefault(key, {})
        row.update(values)

    def clear(self) -> None:
        self._new.clear()
        self._changed.clear()

    def flush(self, connection: Connection) -> None:
        """Write all of them; rows with the same columns by one statement."""
        for statement, rows in (
            (_insert, self._alike(self._new)),
            (_update, self._alike(self._changed)),
        ):
            for columns, values in rows.items():
                connection.executemany(statement(self._table, self._keys, columns), values)
        self.clear()

    def _alike(self, rows: dict[Key, dict[str, Any]]) -> dict[tuple[str, ...], list[tuple[Any, ...]]]:
        alike: defaultdict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for key, values in rows.items():
            alike[tuple(values)].append((*values.values(), *key))
        return alike


@lru_cache(maxsize=64)
def _insert(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    names = (*columns, *keys)
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - names of ours


@lru_cache(maxsize=64)
def _update(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{column} = ?" for column in columns)
    where = " AND ".join(f"{key} = ?" for key in keys)
    return f"UPDATE {table} SET {changes} WHERE {where}"  # noqa: S608 - names of ours
