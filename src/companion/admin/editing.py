"""The one way in which the API changes the configuration: read, change a copy, write through the Editor, apply.

What is read comes with secrets masked. What is written is judged whole before the file is touched, and is live when the
answer arrives. One change at a time; when somebody saves the file between our reading and our writing, the change is
made again from what is there now.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from companion.admin.conditions import etag
from companion.admin.ports import Ports
from companion.admin.problems import ApiError, Mistake, mistake
from companion.config.edit import Conflict, Document
from companion.config.file import Loaded
from companion.config.masked import masked, unmasked
from companion.config.stamps import Stamp, stamp
from companion.errors import ConfigError

Data = dict[str, Any]

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """The file as it is: as written, and the same with its secrets masked."""

    document: Document
    data: Data
    masked: Data
    etag: str

    @property
    def endpoints(self) -> list[Data]:
        """The entries under `endpoints` as they are written."""
        return _entries(self.data)

    @property
    def masked_endpoints(self) -> list[Data]:
        return _entries(self.masked)

    @property
    def mistakes(self) -> list[Mistake]:
        """What is wrong with the file."""
        return [mistake(each) for each in self.document.problems]

    def usable(self) -> None:
        """Go on only if the file is in order. Raises ApiError: 409."""
        if self.document.problems:
            said = "The file has mistakes. Mend it first (by hand, or by restoring an earlier version)."
            raise ApiError(409, "config_unusable", said, errors=self.mistakes)


class Editing:
    """Made with the API. `change` and `write` may be called from any number of requests at once."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._lock = asyncio.Lock()
        self._last: tuple[Stamp | None, Seen] | None = None

    def read(self) -> Seen:
        """The file as it is now; for threads."""
        now = stamp(self._ports.loaded().path)
        if self._last is not None and now is not None and self._last[0] == now:
            return self._last[1]
        seen = self._seen()
        self._last = now, seen
        return seen

    async def change(self, why: str, make: Callable[[Seen], Data]) -> Seen:
        """Put what `make` makes of the file in its place. Raises what `make` raises, ConfigError and ApiError."""
        return await self.write(lambda seen: self._changed(why, seen, make))

    async def write(self, put: Callable[[Seen], Loaded]) -> Seen:
        """Let `put` write the file, in a thread, and take over what it has become."""
        return await asyncio.shield(asyncio.ensure_future(self._written(put)))

    async def _written(self, put: Callable[[Seen], Loaded]) -> Seen:
        async with self._lock:
            loaded, seen = await asyncio.to_thread(self._put, put)
            self._ports.apply(loaded)
        return seen

    def _put(self, put: Callable[[Seen], Loaded]) -> tuple[Loaded, Seen]:
        for _ in range(_TRIES):
            try:
                return put(self._seen()), self.read()
            except Conflict:
                continue
        raise ApiError(409, "file_is_busy", "The file changes all the time. Try again.")

    def _seen(self) -> Seen:
        try:
            document = self._ports.editor.read()
        except ConfigError as error:
            document = Document("", "", {}, None, error.problems)
        return Seen(document, document.data, masked(document.data), etag(document.data))

    def _changed(self, why: str, seen: Seen, make: Callable[[Seen], Data]) -> Loaded:
        seen.usable()
        desired = make(seen)
        return self._ports.editor.write(unmasked(desired, seen.data), if_match=seen.document.etag, why=why)


def _entries(data: Mapping[str, Any]) -> list[Data]:
    entries = data.get("endpoints")
    return [each for each in entries if isinstance(each, dict)] if isinstance(entries, list) else []
