"""The records for readers: opened when somebody asks for the first time."""

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
        """The store that is written to. Raises ApiError (503) if there is none, or none yet."""
        try:
            yield self._opened()
        except StoreError as error:
            raise ApiError(503, "no_records", f"The records cannot be read: {error}.") from error

    def _opened(self) -> "Records":
        from companion.records.queries import Records  # noqa: PLC0415 - SQLAlchemy is for those who look at records

        store = self._ports.store
        if store is None:
            raise ApiError(503, "records_off", "Nothing is recorded (records.store is none).")
        with self._lock:
            if self._records is None:
                self._records = Records.open(store, self._ports.loaded().path.parent)
            return self._records
