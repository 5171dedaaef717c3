"""What the file was before each edit of the program: the last ones are kept beside it, for its owner only."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

FOLDER: Final = ".companion-backups"
KEPT: Final = 20

_NAME: Final = re.compile(r"(\d{8}T\d{12}Z)(?:\.([^.]*))?\.yaml")
_STAMP: Final = "%Y%m%dT%H%M%S%fZ"
_LONGEST_WHY: Final = 120


@dataclass(frozen=True, slots=True)
class Version:
    """The file as it was until `at` (seconds since 1970), when it was changed because of `why`; `size` in bytes."""

    id: str
    at: float
    why: str
    size: int


class History:
    """The versions of one file, in a folder beside it. All of it may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent / FOLDER
        self._prefix = f"{path.name}."

    def versions(self) -> tuple[Version, ...]:
        """The newest first."""
        return tuple(sorted(self._versions(), key=lambda version: version.id, reverse=True))

    def read(self, id: str) -> bytes:
        """What a version holds. Raises KeyError if there is none of that id."""
        return self._file(id).read_bytes()

    def keep(self, content: bytes, why: str) -> None:
        """One more version; the oldest goes when there are too many."""
        self.make_folder()
        name = f"{self._prefix}{self._new_id()}.{_said(why)}.yaml"
        handle = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        for version in self.versions()[KEPT:]:
            self._file(version.id).unlink(missing_ok=True)

    def make_folder(self) -> None:
        """For its owner only (0700)."""
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _new_id(self) -> str:
        now = datetime.now(UTC).strftime(_STAMP)
        newest = max((version.id for version in self._versions()), default="")
        return max(now, _after(newest)) if newest else now

    def _versions(self) -> Iterator[Version]:
        for path, id, why in self._files():
            at = datetime.strptime(id, _STAMP).replace(tzinfo=UTC).timestamp()
            yield Version(id, at, unquote(why), path.stat().st_size)

    def _files(self) -> Iterator[tuple[Path, str, str]]:
        try:
            found = list(self.folder.iterdir())
        except OSError:
            return
        for path in found:
            match = _NAME.fullmatch(path.name.removeprefix(self._prefix))
            if match is not None and path.name.startswith(self._prefix):
                yield path, match[1], match[2] or ""

    def _file(self, id: str) -> Path:
        return next((path for path, each, _ in self._files() if each == id), None) or self._missing(id)

    def _missing(self, id: str) -> Path:
        raise KeyError(id)


def _after(id: str) -> str:
    """The next id there can be: two versions of one instant are not one."""
    head, digits = id[:9], id[9:-1]
    return f"{head}{int(digits) + 1:012d}Z"


def _said(why: str) -> str:
    """A reason that can be part of a file's name."""
    said = ""
    for each in why:
        more = quote(each, safe=" ,()-_").replace(".", "%2E").replace(" ", "%20")
        if len(said) + len(more) > _LONGEST_WHY:
            break
        said += more
    return said
