"""The records for readers: opened when somebody asks for the first time."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from companion.admin.ports import Ports
from companion.admin.problems import ApiError
from companion.records.database import StoreError

if TYPE_CHECKING:
    from companion.records.queries import Records


class Archive:
    """For threads; made with the API."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._lock = Lock()
        self._records: Records | None = None

    @contextmanager
    def records(self) -> "Iterator[Records]":
        """The store that is written to. Raises ApiError (503) if there is none, or none yet, or it is in trouble."""
        records = self._opened()

        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - came with the records

        try:
            yield records
        except (StoreError, sqlite3.Error, SQLAlchemyError) as error:
            said = str(getattr(error, "orig", None) or error)
            raise _unreadable(said) from error

    def _opened(self) -> "Records":
        from companion.records.queries import Records  # noqa: PLC0415 - SQLAlchemy is for those who look at records

        store = self._ports.store
        if store is None:
            raise ApiError(503, "records_off", "Nothing is recorded (records.store is none).")
        with self._lock:
            if self._records is None:
                try:
                    self._records = Records.open(store, self._ports.loaded().path.parent)
                except StoreError as error:
                    raise _unreadable(str(error)) from error
            return self._records


def _unreadable(said: str) -> ApiError:
    return ApiError(503, "no_records", f"The records cannot be read: {said}.")
