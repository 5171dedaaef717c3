"""`companion logs`: what was recorded, read from the store itself, beside a running proxy or without one."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import typer

from companion.cli.settings import opened, refuse
from companion.config.words import duration
from companion.events import OUTCOMES
from companion.records.database import StoreError
from companion.records.queries import Records
from companion.records.views import ExchangeView, Filters

EVERY: Final = 0.5
"""Seconds between two looks with --follow."""

_AT_ONCE: Final = 200
_COLOURS: Final = {
    "complete": "green",
    "repaired": "green",
    "failed over": "yellow",
    "cancelled by client": "yellow",
    "under way": "cyan",
}
_HEADS: Final = ("TIME", "OUTCOME", "STATUS", "MODEL", "ENDPOINT", "TRIES", "IN", "OUT", "SECONDS", "ID")
_WIDTHS: Final = (19, 19, 6, 26, 14, 5, 8, 7, 8, 26)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options say."""

    endpoint: str | None = None
    model: str | None = None
    session: str | None = None
    client: str | None = None
    outcome: tuple[str, ...] = ()
    status: int | None = None
    failed: bool = False
    since: str | None = None

    def filters(self) -> Filters:
        """Exit code 2 for an outcome or a time that there is not."""
        outcomes = tuple(each.replace("-", " ") for each in self.outcome)
        for each in outcomes:
            if each not in OUTCOMES:
                refuse(f"--outcome: there is no {each}, but {', '.join(OUTCOMES)}.")
        return Filters(
            endpoint=self.endpoint,
            model=self.model,
            session=self.session,
            client=self.client,
            outcomes=outcomes,
            status=self.status,
            failed=self.failed,
            since=None if self.since is None else _since(self.since),
        )


def records_of(explicit: str | None) -> Records:
    """The store that the configuration names, or exit code 2."""
    loaded = opened(explicit)
    store = loaded.settings.records.store
    if store is None:
        refuse(f"Nothing is recorded: records.store is none in {loaded.path}.")
    try:
        return Records.open(store, loaded.path.parent)
    except StoreError as error:
        refuse(f"{str(error).capitalize()}.")


def show_list(explicit: str | None, asked: Asked, *, limit: int, follow: bool, as_json: bool) -> None:
    """Print the newest that fit, the oldest of them first; with `follow` also what comes, once it is over."""
    filters = asked.filters()
    records = records_of(explicit)
    page = records.list_exchanges(filters, limit=limit)
    if not as_json:
        print(_line(_HEADS, bold=True))
    for row in reversed(page.items):
        if not follow or row.outcome is not None:
            _tell(row, as_json=as_json)
    if follow:
        running = [row.id for row in reversed(page.items) if row.outcome is None]
        _follow(records, filters, page.items[0].id if page.items else "0", running, as_json=as_json)


def _follow(records: Records, filters: Filters, last: str, running: list[str], *, as_json: bool) -> None:
    while True:
        sys.stdout.flush()
        time.sleep(EVERY)
        for row in [*_over(records, running), *_newer(records, filters, last)]:
            last = max(last, row.id)
            if row.outcome is None:
                running.append(row.id)
            else:
                _tell(row, as_json=as_json)


def _over(records: Records, running: list[str]) -> Iterator[ExchangeView]:
    """Those of the running ones that are over now."""
    for id in list(running):
        found = records.exchange(id)
        if found is None or found.exchange.outcome is not None:
            running.remove(id)
        if found is not None and found.exchange.outcome is not None:
            yield found.exchange


def _newer(records: Records, filters: Filters, last: str) -> list[ExchangeView]:
    return list(reversed(records.list_exchanges(filters, before=last, limit=_AT_ONCE).items))


def _tell(row: ExchangeView, *, as_json: bool) -> None:
    print(json.dumps(msgspec.to_builtins(row)) if as_json else _row(row))


def _row(row: ExchangeView) -> str:
    outcome = row.outcome or "under way"
    cells = (
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.started)),
        outcome,
        _known(row.status),
        _known(row.model),
        _known(row.endpoint),
        _known(row.attempts),
        _known(row.input_tokens),
        _known(row.output_tokens),
        "" if row.seconds is None else f"{row.seconds:.2f}",
        row.id,
    )
    return _line(cells, colour=_COLOURS.get(outcome, "red"))


def _line(cells: tuple[str, ...], *, colour: str | None = None, bold: bool = False) -> str:
    padded = [tame(cell).ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)]
    if colour is not None and sys.stdout.isatty():
        padded[1] = typer.style(padded[1], fg=colour)
    line = "  ".join(padded).rstrip()
    return typer.style(line, bold=True) if bold and sys.stdout.isatty() else line


def tame(text: str) -> str:
    """Without what moves a cursor: names come from outside."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def _known(value: Any) -> str:
    return "" if value is None else str(value)


def _since(word: str) -> float:
    """A time of day, or how long ago."""
    try:
        return datetime.fromisoformat(word).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - duration(word)
    except ValueError:
        refuse(f"--since: {word} is neither a time (2026-11-25T16:00) nor how long ago (30m, 2h, 7d).")
