"""The rows `list` and `filter`: how long a page of a million exchanges takes, through the API of a running proxy."""

import random
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from bench.machine import BenchError, cpu_seconds
from bench.peers import Make, running
from bench.records import CLIENTS, DAYS, END, ENDPOINTS, MODELS, OUTCOMES
from bench.row import RECORDED, Bench, Sample
from companion.records.retention import oldest_kept

PAGE: Final = 50
TURNS: Final = 4
IN_TURN: Final = 10
_FAILED: Final = ("error", "truncated", "rejected")
_decode: Final = msgspec.json.decode

Query = Mapping[str, Any]
Kind = Callable[[random.Random, sqlite3.Connection], Query]
"""Thinks of a query; no two need to be the same."""


def paged(bench: Bench, make: Make) -> Sample:
    """The newest, and a page from deep inside."""
    return _measured(bench, make, {"first": lambda *_: {}, "deep": lambda dice, _: {"after": _somewhere(dice)}})


def filtered(bench: Bench, make: Make) -> Sample:
    """By each filter that the list has, with values frequent and rare."""
    return _measured(bench, make, FILTERS)


def _model_and_endpoint(dice: random.Random, _: sqlite3.Connection, *, apart: int) -> Query:
    """An endpoint has every other model of its own; `apart` 1: one that it answered for in an emergency only."""
    endpoint = dice.randrange(len(ENDPOINTS))
    model = dice.randrange(0, len(MODELS), 2) + (endpoint + apart) % 2
    return {"endpoint": ENDPOINTS[endpoint], "model": MODELS[model]}


def _session(dice: random.Random, connection: sqlite3.Connection) -> Query:
    asked = "SELECT session FROM exchanges WHERE id > ? AND session IS NOT NULL ORDER BY id LIMIT 1"
    return {"session": connection.execute(asked, (_somewhere(dice),)).fetchone()[0]}


FILTERS: Final[Mapping[str, Kind]] = {
    "endpoint": lambda dice, _: {"endpoint": dice.choice(ENDPOINTS)},
    "model_and_endpoint": partial(_model_and_endpoint, apart=0),
    "seldom_together": partial(_model_and_endpoint, apart=1),
    "session": _session,
    "client": lambda dice, _: {"client": dice.choice(CLIENTS)},
    "errors": lambda *_: {"failed": "true"},
    "outcome": lambda dice, _: {"outcome": dice.choice(list(OUTCOMES))},
    "status_529": lambda *_: {"status": 529},
    "errors_of_an_endpoint": lambda dice, _: {"failed": "true", "endpoint": dice.choice(ENDPOINTS)},
}


def _somewhere(dice: random.Random) -> str:
    """The key of a moment between the first tenth and the last."""
    return oldest_kept(END - DAYS * 86_400 * (0.1 + 0.8 * dice.random()))


def _measured(bench: Bench, make: Make, kinds: Mapping[str, Kind]) -> Sample:
    """All kinds in turn, a few requests each, so that they see the same machine. The slowest kind's median counts."""
    peer = make(replace(RECORDED, archive=bench.archive))
    dice, taken, used = random.Random(4), {name: list[float]() for name in kinds}, dict.fromkeys(kinds, 0.0)
    with (
        bench.upstream(),
        running(peer, bench.folder) as (pid, _),
        closing(sqlite3.connect(f"file:{bench.archive}?mode=ro", uri=True)) as connection,
        _visitor(peer.port) as visit,
    ):
        for turn in range(1 + TURNS):
            for name, kind in kinds.items():
                queries = [kind(dice, connection) for _ in range(IN_TURN)]
                before = cpu_seconds(pid)
                times, answers = _pages(visit, queries)
                if turn:  # the first is to get warm
                    used[name] += cpu_seconds(pid) - before
                    taken[name] += times
                _check(queries, answers)
    found = {f"{name}_p50_ms": median(each) * 1e3 for name, each in taken.items()}
    spent = {f"{name}_cpu_ms": each / TURNS / IN_TURN * 1e3 for name, each in used.items()}
    return Sample(max(found.values()), {**found, **spent})


def _pages(visit: Callable[[str], bytes], queries: list[Query]) -> tuple[list[float], list[bytes]]:
    """The seconds that each takes, and what comes."""
    paths = [f"/admin/api/requests?{urlencode({'limit': PAGE, **query})}" for query in queries]
    times, answers = [], []
    for path in paths:
        started = time.perf_counter()
        answers.append(visit(path))
        times.append(time.perf_counter() - started)
    return times, answers


def _check(queries: list[Query], answers: list[bytes]) -> None:
    for query, answer in zip(queries, answers, strict=True):
        if not all(_fits(item, query) for item in _decode(answer)["items"]):
            raise BenchError(f"{dict(query)} brought what was not asked for")


def _fits(item: Mapping[str, Any], query: Query) -> bool:
    for name, value in query.items():
        if name == "after":
            fits = item["id"] < value
        elif name == "failed":
            fits = item["outcome"] in _FAILED
        else:
            fits = item[name] == value
        if not fits:
            return False
    return True


@contextmanager
def _visitor(port: int) -> Iterator[Callable[[str], bytes]]:
    """Asks over one connection; `http.client` would take as long as the proxy."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, connection.makefile("rb") as answers:

        def visit(path: str) -> bytes:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            status, length = answers.readline().split()[1], 0
            while (line := answers.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = answers.read(length)
            if status != b"200":
                raise BenchError(f"{path} is answered with {status.decode()}: {body[:200]!r}")
            return body

        yield visit
