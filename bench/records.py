"""A store of a million exchanges that nobody had: 90 days of sessions, switches and failures, from a fixed seed.

Rows go into a store that the product made, through the product's own inserts, the indexes last. It takes about a minute
and is kept in build/, under a name that changes with the tables and with this file.
"""

import hashlib
import os
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from bench.traffic import Answers, request
from companion.net import ulid
from companion.records.contents import CLIENT, Contents, Kind, Place
from companion.records.cut import cut_json
from companion.records.database import open_for_writing
from companion.records.mask import Mask
from companion.records.rows import Rows

EXCHANGES: Final = 1_000_000
DAYS: Final = 90
END: Final = 1_795_000_000.0  # 2026-11-18: what the benchmark itself records is newer
PER_SESSION: Final = 25
ENDPOINTS: Final = ("anthropic", "bedrock", "vertex", "work-key", "team-gateway", "relay-eu", "relay-us", "local")
MODELS: Final = tuple(
    f"claude-{family}-{version}"
    for family, version in (
        *(("opus", version) for version in ("5-5", "5-1", "4-8", "4-6")),
        *(("sonnet", version) for version in ("5", "4-8", "4-6", "4-5")),
        *(("haiku", version) for version in ("5", "4-8", "4-5", "4")),
    )
)
CLIENTS: Final = tuple(f"client-{number:02d}" for number in range(20))
OUTCOMES: Final = {
    "complete": 0.890,
    "failed over": 0.055,
    "repaired": 0.010,
    "cancelled by client": 0.015,
    "error": 0.017,
    "truncated": 0.008,
    "rejected": 0.005,
}
# Of an error: status, kind, phase.
FAULTS: Final = (
    (529, "overloaded", "headers"),
    (529, "overloaded", "headers"),
    (429, "rate_limited", "headers"),
    (500, "server_error", "headers"),
    (502, "bad_gateway", "headers"),
    (503, "unavailable", "headers"),
    (401, "unauthorized", "headers"),
    (504, "headers_timeout", "headers"),
    (502, "refused", "connect"),
)
_AT_ONCE: Final = 20
_WITH_BODIES: Final = 0.01
_CHUNK: Final = 5_000
_SEED: Final = 20_261_118


@dataclass(slots=True)
class _Session:
    """One person at one piece of work: mostly the same model at the same endpoint."""

    id: str
    client: str
    endpoint: str
    model: str
    turn: int = 0


class _Past:
    """A clock that is set."""

    def __init__(self, dice: random.Random) -> None:
        self.now = END - DAYS * 86_400
        self.random = dice.random

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Generator:
    """Makes `count` exchanges, oldest first, as rows of `exchanges` and `attempts`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._dice = random.Random(_SEED)
        self._clock = _Past(self._dice)
        self._sessions = [self._session() for _ in range(_AT_ONCE)]

    def exchanges(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Each with its tries."""
        dice, clock = self._dice, self._clock
        outcomes = dice.choices(list(OUTCOMES), list(OUTCOMES.values()), k=self.count)
        gap = DAYS * 86_400 / self.count
        for outcome in outcomes:
            clock.now += dice.random() * 2 * gap
            place = int(dice.random() * _AT_ONCE)
            if dice.random() < 1 / PER_SESSION:
                self._sessions[place] = self._session()
            yield self._exchange(self._sessions[place], outcome)

    def _session(self) -> _Session:
        dice = self._dice
        number = f"{dice.getrandbits(128):032x}"
        id = "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))
        # Clients and endpoints of very different size; each endpoint has half of the models.
        endpoint = _skewed(dice, len(ENDPOINTS))
        model = (_skewed(dice, len(MODELS) // 2) * 2 + endpoint) % len(MODELS)
        return _Session(id, CLIENTS[_skewed(dice, len(CLIENTS))], ENDPOINTS[endpoint], MODELS[model])

    def _exchange(self, session: _Session, outcome: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        dice, now = self._dice, self._clock.now
        session.turn += 1
        seconds = 0.4 + dice.random() ** 3 * 60
        row: dict[str, Any] = {
            "id": ulid.new(self._clock),
            "started": now,
            "ended": now + seconds,
            "method": "POST",
            "path": "/v1/messages",
            "query": "beta=true",
            "model": session.model,
            "model_sent": session.model,
            "stream": True,
            "client": session.client,
            "session": session.id,
            "agent": "agent-1" if dice.random() < 0.1 else None,
            "peer": "127.0.0.1",
            "user_agent": "claude-cli/2.1.330 (external, sdk-cli)",
            "outcome": outcome,
            "status": 200,
            "endpoint": session.endpoint,
            "credential": 0,
            "attempts": 1,
            "first_byte": seconds * 0.1,
            "first_content": seconds * 0.12,
            "seconds": seconds,
            "input_tokens": int(dice.random() * 4_000),
            "output_tokens": int(seconds * 70),
            "cache_read_tokens": session.turn * 4_000,
            "cache_5m_tokens": 1_200,
            "stop_reason": "tool_use" if dice.random() < 0.7 else "end_turn",
            "request_bytes": 60_000 + session.turn * 8_000,
            "response_bytes": int(seconds * 700),
        }
        return row, [] if outcome == "rejected" else self._tries(row, outcome)

    def _tries(self, row: dict[str, Any], outcome: str) -> list[dict[str, Any]]:
        """Changes the row to what becomes of it."""
        dice = self._dice
        tries = [self._try(row, row["endpoint"])]
        if outcome in {"failed over", "error"}:
            status, kind, phase = FAULTS[int(dice.random() * len(FAULTS))]
            fault = _fault(kind, phase)
            others = [each for each in ENDPOINTS if each != row["endpoint"]]
            tries += [self._try(row, each) for each in dice.sample(others, 1 if dice.random() < 0.6 else 2)]
            failed = tries if outcome == "error" else tries[:-1]
            for each in failed:
                each.update(fault, status=None if phase == "connect" else status)
            row.update(endpoint=tries[-1]["endpoint"], attempts=len(tries))
            if outcome == "error":
                row.update(fault, status=status, output_tokens=None, stop_reason=None, first_content=None)
        elif outcome == "truncated":
            fault = _fault("closed", "body")
            tries[0].update(fault)
            row.update(fault, stop_reason=None)
        elif outcome == "repaired":
            tries[0]["repairs"] = row["repairs"] = '["thinking_signature"]'
        for number, each in enumerate(tries, 1):
            each["number"] = number
        return tries

    def _try(self, row: dict[str, Any], endpoint: str) -> dict[str, Any]:
        return {
            "exchange_id": row["id"],
            "number": 1,
            "endpoint": endpoint,
            "credential": 0,
            "reason": "healthy",
            "model": row["model"],
            "url": f"https://{endpoint}.test/v1/messages?beta=true",
            "started": 0.002,
            "reused": True,
            "write": 0.001,
            "first_byte": row["first_byte"],
            "first_content": row["first_content"],
            "ended": row["seconds"],
            "status": 200,
            "request_id": "req_011CWbenchbenchbenchbench",
            "sent_bytes": row["request_bytes"],
            "received_bytes": row["response_bytes"],
        }


def _skewed(dice: random.Random, count: int) -> int:
    """The first ones far more often than the last."""
    return int(dice.random() ** 2 * count)


def _fault(kind: str, phase: str) -> dict[str, str]:
    said = f"The upstream failed ({kind.replace('_', ' ')}) while it was asked for the answer."
    return {"fault_party": "upstream", "fault_phase": phase, "fault_kind": kind, "fault_message": said}


def store(folder: Path, count: int = EXCHANGES) -> Path:
    """The store with that many exchanges in `folder`, made if it is not there; those of older tables are deleted."""
    likeness = _likeness()
    path = folder / f"records-{likeness}-{count}.db"
    if path.exists():
        return path
    unfinished = path.with_suffix(".unfinished")
    for left in folder.glob("records-*"):
        if likeness not in left.name or left.name.startswith(unfinished.name):
            left.unlink()
    started = time.perf_counter()
    _fill(unfinished, count)
    unfinished.rename(path)
    seconds, size = time.perf_counter() - started, path.stat().st_size / 1e6
    print(f"{count} exchanges written in {seconds:.0f} s, {size:.0f} MB", file=sys.stderr, flush=True)
    return path


def _likeness() -> str:
    tables = (files("companion.records") / "schema.sql").read_bytes()
    return hashlib.sha256(tables + Path(__file__).read_bytes()).hexdigest()[:12]


def _fill(path: Path, count: int) -> None:
    opened = open_for_writing(path)
    connection = opened.connection
    try:
        with _in_bulk(connection), _without_indexes(connection):
            _write(connection, Generator(count))
    finally:
        connection.close()
        os.close(opened.lock)
        path.with_name(path.name + ".lock").unlink(missing_ok=True)


@contextmanager
def _in_bulk(connection: sqlite3.Connection) -> Iterator[None]:
    """One transaction of which nothing is left if it fails: nobody will miss an unfinished store."""
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def _without_indexes(connection: sqlite3.Connection) -> Iterator[None]:
    """Made afterwards, from sorted rows, they take a tenth of the time."""
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'exchanges'")
    indexes = [(name, sql) for name, sql in made if sql]
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    for _, sql in indexes:
        connection.execute(sql)


def _write(connection: sqlite3.Connection, generator: Generator) -> None:
    exchanges, attempts = Rows("exchanges", "id"), Rows("attempts", "exchange_id", "number")
    contents, bodies = Contents(connection), _Bodies()
    for number, (row, tries) in enumerate(generator.exchanges()):
        id, session = row.pop("id"), row["session"]
        exchanges.insert((id,), row)
        for each in tries:
            attempts.insert((each.pop("exchange_id"), each.pop("number")), each)
        if bodies.wanted(number):
            bodies.put(contents, id, number, session)
        if number % _CHUNK == _CHUNK - 1:
            exchanges.flush(connection)
            attempts.flush(connection)
            contents.flush()
    exchanges.flush(connection)
    attempts.flush(connection)
    contents.flush()


class _Bodies:
    """Requests and answers for a few."""

    def __init__(self) -> None:
        self._request = request(2048, stream=False, tokens=420).partition(b"\r\n\r\n")[2]
        self._answer = Answers().whole

    def wanted(self, number: int) -> bool:
        return number % round(1 / _WITH_BODIES) == 0

    def put(self, contents: Contents, id: str, number: int, session: str) -> None:
        asked = self._request.replace(b"@FILL@", b"%06d" % (number % 1_000_000))
        put = partial(contents.put, mask=Mask(), cut=cut_json)
        put(Place(id, CLIENT, Kind.REQUEST_BODY), asked, like=(session, "asked"))
        put(Place(id, CLIENT, Kind.RESPONSE_BODY), self._answer, like="answer")
