"""The whole proxy over real sockets: what was recorded agrees with what the client got and the upstream was asked."""

import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from companion.records.export import export
from companion.records.views import Filters, Part
from companion.simulator import Simulator, replies
from tests.records.news import Read
from tests.records.test_canary import unmasked
from tests.support.http import Answer, ask, message
from tests.support.proxy import KEY, Proxy, endpoint, running


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[Proxy, Simulator, Simulator]]:
    async with (
        Simulator() as first,
        Simulator() as second,
        running(folder, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        yield proxy, first, second


def read(folder: Path) -> Read:
    return Read(folder / "companion.db")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def agrees(records: Read, answer: Answer) -> None:
    """The client's side of an exchange is what the client saw."""
    id = answer.headers["x-request-id"]
    detail = records.there(id)
    assert detail.exchange.status == answer.status
    assert records.bytes_of(id, Part.RESPONSE_BODY) == answer.body
    assert dict(detail.headers["0.response_headers"])["x-request-id"] == id


async def test_a_failover_is_recorded_as_both_upstreams_and_the_client_saw_it(tmp_path):
    async with two(tmp_path) as (proxy, first, second):
        first.queue(replies.status(529, message="we are full"))
        answer = await message(proxy.url)

    records = read(tmp_path)
    agrees(records, answer)
    id = answer.headers["x-request-id"]
    detail = records.there(id)
    assert (detail.exchange.outcome, detail.exchange.endpoint) == ("failed over", "second")
    assert [(each.endpoint, each.status, each.fault and each.fault.kind) for each in detail.attempts] == [
        ("first", 529, "overloaded"),
        ("second", 200, None),
    ]
    for attempt, asked in zip(detail.attempts, (first.ledger[0], second.ledger[0]), strict=True):
        assert sha(records.bytes_of(id, Part.REQUEST_BODY, attempt.number)) == asked.sha256
        assert attempt.sent_bytes == len(asked.body)
    assert b"we are full" in records.bytes_of(id, Part.RESPONSE_BODY, 1)
    assert records.bytes_of(id, Part.RESPONSE_BODY, 2) == answer.body
    assert [event.event for event in records.stream_events(id, 2)] == answer.types
    assert detail.exchange.input_tokens is not None
    assert detail.plan[0].endpoint == "first"


async def test_all_kinds_of_exchanges_agree_with_the_ledger_one_by_one(tmp_path):
    async with two(tmp_path) as (proxy, first, second):
        answers = []
        for number in range(40):
            if number % 5 == 1:
                first.queue(replies.status(503))
            if number % 5 == 2:
                first.queue(replies.gzip())
            if number % 5 == 3:
                first.queue(replies.status(400, message="no"))
            answers.append(await message(proxy.url, f"{number}", stream=number % 4 != 3, session=f"s{number}"))

    records = read(tmp_path)
    assert len(records.list_exchanges(Filters(), limit=1000).items) == 40
    asked = {received.sha256 for received in first.ledger + second.ledger}
    tries = 0
    for answer in answers:
        agrees(records, answer)
        detail = records.there(answer.headers["x-request-id"])
        tries += len(detail.attempts)
        assert detail.exchange.attempts == len(detail.attempts)
        assert sha(records.bytes_of(detail.exchange.id, Part.REQUEST_BODY)) in asked
        last = records.bytes_of(detail.exchange.id, Part.RESPONSE_BODY, len(detail.attempts))
        assert last == answer.body or detail.exchange.outcome == "repaired"
    assert tries == len(first.ledger) + len(second.ledger)


async def test_a_credential_that_upstreams_echo_is_neither_stored_nor_exported(tmp_path):
    keys = [f"{KEY}-first", f"{KEY}-second", "the-clients-own"]
    echo = " ".join(keys)
    async with two(tmp_path) as (proxy, first, second):
        first.queue(replies.status(401, message=f"wrong: {echo}", headers={"x-echo": echo}))
        ids = [(await message(proxy.url, f"my login is {echo}")).headers["x-request-id"]]
        second.queue(replies.status(400, message=f"wrong: {echo}", headers={"x-echo": echo}))
        ids.append((await message(proxy.url, f"again {echo}")).headers["x-request-id"])

    packed = io.BytesIO()
    records = read(tmp_path)
    assert export(records, ids, packed) == 2
    with zipfile.ZipFile(packed) as archive:
        exported = b"".join(map(archive.read, archive.namelist()))
    assert b"my login is ***" in exported
    assert b"wrong: ***" in exported
    for key in keys:
        assert key.encode() not in exported
        assert key.encode() not in unmasked(tmp_path)


async def test_a_request_that_is_rejected_is_recorded_as_it_came(tmp_path):
    broken = b'{"model": "m", "messages": ['
    async with two(tmp_path) as (proxy, _, _):
        answer = await ask(proxy.url, "/v1/messages", broken)

    records = read(tmp_path)
    agrees(records, answer)
    detail = records.there(answer.headers["x-request-id"])
    assert (answer.status, detail.exchange.outcome, detail.exchange.attempts) == (400, "rejected", 0)
    assert records.bytes_of(detail.exchange.id, Part.REQUEST_BODY) == broken
