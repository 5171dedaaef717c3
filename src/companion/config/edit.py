"""The one way by which this program changes the file: judged on a copy, kept in the history, replaced as a whole.

Two programs that edit at once wait for each other, by a lock beside the history; an edit by hand in between is noticed
by the etag. All of this is for threads: it reads and writes files.
"""

import contextlib
import copy
import difflib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from companion.config.editing.rewriting import rewritten
from companion.config.file import MAX_FILE, Loaded, bytes_of, decoded, parse, replace, resolved
from companion.config.history import History, Version
from companion.config.masked import masked_text
from companion.config.models import Settings
from companion.config.source import sections, source_of
from companion.config.stamps import stamp
from companion.errors import CompanionError, ConfigError, Problem
from companion.net.posix import hold_alone

_BOM: Final = b"\xef\xbb\xbf"
_PATIENCE: Final = 10.0
_ROUND: Final = 0.02


class Conflict(CompanionError):
    """The file is another one than the edit was made for, or somebody else is editing it."""


@dataclass(frozen=True, slots=True)
class Document:
    """The file as it is. `data` is what is written there, secrets included; `settings` is None if it cannot be used.

    `etag` stands for its bytes. `problems` say why it cannot be used.
    """

    text: str = field(repr=False)
    etag: str
    data: dict[str, Any] = field(repr=False)
    settings: Settings | None
    problems: tuple[Problem, ...] = ()


class Editor:
    """Reads and changes one file, which need not be in force or even right."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._history = History(path)

    def read(self) -> Document:
        """What is there; what is no YAML has no data. Raises ConfigError if the file cannot be read at all."""
        return self._document(self._bytes())

    def write(self, desired: Mapping[str, Any], *, if_match: str | None = None, why: str) -> Loaded:
        """Make the file mean `desired`, the whole tree; what does not change keeps its bytes and its comments.

        Raises Conflict if the file has not the etag `if_match`, ConfigError if it would not be right, OSError if it
        cannot be written; the file is then as it was.
        """
        with self._alone():
            before = self._matching(if_match)
            return self._replace(before, rewritten(self._text(before), _plain(desired), self._path.name), why)

    def change(self, edit: Callable[[dict[str, Any]], None], *, if_match: str | None = None, why: str) -> Loaded:
        """Like `write`, with what `edit` makes of the data that is there: nobody comes in between."""
        with self._alone():
            before = self._matching(if_match)
            text = self._text(before)
            data = _data(text, self._path.name)
            edit(data)
            return self._replace(before, rewritten(text, _plain(data), self._path.name), why)

    def write_text(self, text: str, *, if_match: str | None = None, why: str) -> Loaded:
        """Put a text in the file's place, as it is. Raises what `write` raises."""
        with self._alone():
            return self._replace(self._matching(if_match), text, why)

    def preview(self, desired: Mapping[str, Any]) -> str:
        """What `write` would change, as a unified diff without secrets. Raises ConfigError if it would not be right."""
        name, text = self._path.name, self._text(self._bytes())
        new = rewritten(text, _plain(desired), name)
        parse(new, self._path)
        old, shown = (masked_text(each, _data(each, name)).splitlines(keepends=True) for each in (text, new))
        return "".join(_ended(line) for line in difflib.unified_diff(old, shown, name, name))

    def history(self) -> tuple[Version, ...]:
        """What the file was before each edit of the program, the newest first."""
        return self._history.versions()

    def version(self, id: str) -> str:
        """The text of a version, secrets included. Raises KeyError if there is none."""
        return self._text(self._history.read(id))

    def restore(self, id: str, *, if_match: str | None = None) -> Loaded:
        """Make the file what it was. Raises KeyError, and what `write` raises."""
        return self.write_text(self.version(id), if_match=if_match, why=f"restored {id}")

    def _document(self, content: bytes) -> Document:
        etag = _etag(content)
        try:
            text = self._text(content)
            data = _data(text, self._path.name)
        except ConfigError as error:
            return Document(content.decode("utf-8", "replace"), etag, {}, None, error.problems)
        try:
            return Document(text, etag, data, parse(text, self._path))
        except ConfigError as error:
            return Document(text, etag, data, None, error.problems)

    def _matching(self, if_match: str | None) -> bytes:
        before = self._bytes()
        if if_match is not None and if_match != _etag(before):
            raise Conflict(f"{self._path.name} was changed in the meantime; look at it again")
        return before

    def _replace(self, before: bytes, text: str, why: str) -> Loaded:
        settings = parse(text, self._path)
        content = (_BOM if before.startswith(_BOM) else b"") + text.encode()
        if len(content) > MAX_FILE:
            raise ConfigError((Problem(self._path.name, f"would be larger than {MAX_FILE // 1024} KiB"),))
        if content == before:
            return resolved(settings, self._path, stamp(self._path))
        self._history.keep(before, why)
        return resolved(settings, self._path, replace(self._path, content))

    def _bytes(self) -> bytes:
        return bytes_of(self._path)

    def _text(self, content: bytes) -> str:
        return decoded(content, self._path.name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While this lasts no other editor, of this process or another, is in here."""
        self._history.make_folder()
        lock = self._history.folder / f"{self._path.name}.lock"
        until = time.monotonic() + _PATIENCE
        while (held := hold_alone(lock)) is None:
            if time.monotonic() > until:
                raise Conflict(f"somebody else is changing {self._path.name}; try again")
            time.sleep(_ROUND)
        try:
            yield
        finally:
            os.close(held)


def _data(text: str, name: str) -> dict[str, Any]:
    """What a text says, as the caller's own."""
    source = source_of(text, name)
    if source.problems:
        raise ConfigError(tuple(source.problems))
    return copy.deepcopy(dict(sections(source.data, name)))


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _plain(value: Any) -> Any:
    """The same in dicts and lists, as the file's own data are."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"
