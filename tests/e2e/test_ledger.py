"""Ten thousand exchanges of every kind: what was recorded agrees with both ends of the wire, one by one."""

import asyncio
import hashlib
import json
import random
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from companion.records.queries import Records
from companion.records.recorder import Recorder
from companion.records.views import Part
from companion.simulator import Simulator
from tests.e2e.book import Book, Case, Played, cast, request, usage
from tests.e2e.support import STORE, living, rows, written
from tests.support.http import Answer, Connection
from tests.support.proxy import endpoint

COUNT = 10_000
MANY = 16 * 1024 * 1024
CLIENTS = 32
REREAD = 500
# One fault more or less is no reason to ask anybody else first.
PATIENT = {"failures": 1_000_000, "window": "1ms"}


@dataclass
class Seen:
    """What the client knows of its exchange: what it sent, and what came back, if anything did."""

    sent: bytes
    answer: Answer | None


class Clients:
    """Each works through its share of the exchanges, on one connection as long as that lasts."""

    def __init__(self, url: str, book: Book, recorder: Recorder) -> None:
        self.url = url
        self.recorder = recorder
        self.book = book
        self.seen: dict[int, Seen] = {}
        self._filler = "".join(random.Random(5).choices('abcdefghij \\n{}[]",', k=200_000))
        self._left = iter(enumerate(book.cases))

    async def work(self) -> None:
        connection: Connection | None = None
        for number, case in self._left:
            # What a recorder drops that cannot follow is another test's business.
            async with asyncio.timeout(120):
                while self.recorder.stats.queued_bytes > MANY:  # noqa: ASYNC110 -- a thread takes it: there is no event
                    await asyncio.sleep(0.01)
            if connection is None:
                connection = await Connection(self.url).__aenter__()
            answer = await self._exchange(connection, number, case)
            if answer is None or not answer.whole or answer.headers.get("connection") == "close":
                await hang_up(connection)
                connection = None
        if connection is not None:
            await hang_up(connection)

    async def _exchange(self, connection: Connection, number: int, case: Case) -> Answer | None:
        body = request(case, number, self._filler)
        headers = {"User-Agent": case.agent, "X-Claude-Code-Session-Id": session(number), "X-Api-Key": "whatever-key"}
        seen = self.seen[number] = Seen(body, None)
        await connection.send("POST", case.path, headers, body)
        if case.leaves == "early":
            await self.book.heard(number)
            return None
        answer = seen.answer = await connection.head()
        if case.leaves == "late":
            answer.body = await connection.reader.readexactly(int(await connection.reader.readline(), 16))
            return answer
        await connection.rest(answer)
        return answer


async def hang_up(connection: Connection) -> None:
    connection.writer.transport.abort()
    with suppress(ConnectionError):
        await connection.writer.wait_closed()


def session(number: int) -> str:
    return f"{number:08x}-2222-4333-8444-555555555500"


@pytest.mark.timeout(300)
async def test_rows_agree_with_the_ledger_and_with_the_clients_one_by_one(tmp_path: Path):
    book = Book(cast(COUNT, seed=11))
    async with Simulator(keep=2 * COUNT) as first, Simulator(keep=2 * COUNT) as second:
        book.play(first, "first")
        book.play(second, "second")
        ends = (endpoint("first", first.url), endpoint("second", second.url))
        async with living(tmp_path, *ends, health=PATIENT, server={"max_connections": 200}) as proxy:
            clients = Clients(proxy.url, book, proxy.app.recorder)
            async with asyncio.timeout(240):
                await asyncio.gather(*(clients.work() for _ in range(CLIENTS)))
            await written(proxy)
            stats = proxy.app.recorder.stats
            assert (stats.bodies_dropped, stats.rows_lost, stats.failing) == (0, 0, None)
        assert len(first.ledger) + len(second.ledger) == sum(map(len, book.asked.values()))
        known = {id(played.received) for asked in book.asked.values() for played in asked}
        assert all(id(received) in known for received in [*first.ledger, *second.ledger])

    store = tmp_path / STORE
    exchanges = await asyncio.to_thread(rows, store, "exchanges")
    attempts: dict[str, list[dict[str, Any]]] = {
        key: list(group)
        for key, group in groupby(await asyncio.to_thread(rows, store, "attempts"), lambda row: row["exchange_id"])
    }
    assert len(exchanges) == COUNT
    by_number = numbered(exchanges, clients)
    assert len(by_number) == COUNT
    for number, row in by_number.items():
        case, seen, asked = book.cases[number], clients.seen[number], book.asked.get(number, [])
        tries = attempts.pop(row["id"], [])
        agrees_with_the_ledger(case, row, tries, asked)
        agrees_with_the_client(case, row, seen)
        agrees_about_tokens(case, row, number)
    assert attempts == {}
    await asyncio.to_thread(reread, store, by_number, book, clients)


def numbered(exchanges: list[dict[str, Any]], clients: Clients) -> dict[int, dict[str, Any]]:
    """Rows by the number that is in the session; what was rejected unread is found by the id that the client got."""
    ids = {seen.answer.headers["x-request-id"]: n for n, seen in clients.seen.items() if seen.answer is not None}
    return {int(row["session"].partition("-")[0], 16) if row["session"] else ids[row["id"]]: row for row in exchanges}


def agrees_with_the_ledger(case: Case, row: dict[str, Any], tries: list[dict[str, Any]], asked: list[Played]) -> None:
    """Each request of an upstream's ledger is one try; but what dies on a used connection is said again in the same."""
    told = [(played.endpoint, played.status) for played in asked]
    if case.name == "closed":
        told = [list(again)[-1] for _, again in groupby(told, lambda each: each[0])]
    assert [(each["endpoint"], each["status"]) for each in tries] == told, case.name
    assert [each["number"] for each in tries] == list(range(1, len(tries) + 1))
    assert all(each["ended"] is not None for each in tries)
    assert (row["attempts"] or 0) == len(tries), case.name
    for each, played in zip(tries, asked if case.name != "closed" else [], strict=False):
        assert each["sent_bytes"] == len(played.received.body)
    if case.outcome not in {"cancelled by client", "rejected", "error"}:
        assert row["endpoint"] == tries[-1]["endpoint"]


def agrees_with_the_client(case: Case, row: dict[str, Any], seen: Seen) -> None:
    expected = case.outcome
    if case.name == "closed" and row["attempts"] == 1:
        expected = "complete"
    assert row["outcome"] == expected, (case.name, row)
    assert row["request_bytes"] == len(seen.sent) or case.outcome == "rejected"
    answer = seen.answer
    if answer is None:
        return
    assert (row["id"], row["status"]) == (answer.headers["x-request-id"], answer.status), case.name
    if row["attempts"]:
        assert answer.headers["x-companion-attempts"] == str(row["attempts"])
    if case.outcome in {"complete", "failed over", "repaired"}:
        assert answer.whole
        assert (row["endpoint"], answer.status) == (answer.headers["x-companion-endpoint"], 200)
    if case.leaves:
        assert row["response_bytes"] >= len(answer.body)
    elif answer.whole and case.outcome != "rejected":
        assert row["response_bytes"] == len(answer.body), case.name


def agrees_about_tokens(case: Case, row: dict[str, Any], number: int) -> None:
    if not case.counts:
        return
    told = usage(number)
    assert {name: row[name] for name in row if name.endswith("_tokens")} == {
        "input_tokens": told["input_tokens"],
        "output_tokens": told["output_tokens"],
        "cache_read_tokens": told["cache_read_input_tokens"],
        "cache_5m_tokens": told["cache_creation"]["ephemeral_5m_input_tokens"],
        "cache_1h_tokens": told["cache_creation"]["ephemeral_1h_input_tokens"],
        "reasoning_tokens": None,
    }, case.name
    assert row["stop_reason"] == "end_turn"


def reread(store: Path, by_number: dict[int, dict[str, Any]], book: Book, clients: Clients) -> None:
    """What was sent and said, byte for byte, of as many of each kind as there is time for."""
    records = Records(store)
    some = random.Random(3).sample(sorted(by_number), REREAD)
    names = {book.cases[number].name for number in some}
    assert len(names) >= 19
    for number in some:
        case, id = book.cases[number], by_number[number]["id"]
        seen, asked = clients.seen[number], book.asked.get(number, [])
        if case.outcome == "rejected":
            continue
        assert digest(records, id, Part.REQUEST_BODY) == sha256(seen.sent), case.name
        if seen.answer is not None:
            got = records.body(id, Part.RESPONSE_BODY)
            assert got is not None
            assert (got.data[: len(seen.answer.body)], got.missing) == (seen.answer.body, 0), case.name
            assert case.leaves or not seen.answer.whole or got.data == seen.answer.body
        for attempt, played in enumerate(asked if case.name != "closed" else [], 1):
            assert digest(records, id, Part.REQUEST_BODY, attempt) == played.received.sha256, case.name
            said = b"".join(played.said)
            if said and not case.leaves:
                assert digest(records, id, Part.RESPONSE_BODY, attempt) == sha256(said), case.name
    records.close()


def digest(records: Records, id: str, part: Part, attempt: int = 0) -> str:
    found = records.body(id, part, attempt)
    return "" if found is None or found.missing else sha256(found.data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_book_covers_every_outcome_there_is():
    from companion.events import OUTCOMES
    from tests.e2e.book import CASES

    assert {case.outcome for case in CASES} == set(OUTCOMES)
    assert json.loads(request(CASES[0], 50, "x" * 100_000))["messages"][0]["content"].startswith("<50> ")
