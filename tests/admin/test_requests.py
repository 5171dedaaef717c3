"""What was recorded, through the API: pages, filters, details, bodies byte for byte, export, and an end to it all."""

import asyncio
import hashlib
import io
import json
import sqlite3
import zipfile
from contextlib import closing

import pytest

from companion.admin import requests
from companion.records import queries
from companion.simulator import Simulator, replies
from tests.admin.client import API, Admin, problem
from tests.support.http import Answer, message
from tests.support.proxy import KEY, Proxy, endpoint, running


@pytest.fixture
async def upstream():
    async with Simulator() as it:
        yield it


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with (
        Simulator() as bad,
        running(tmp_path, endpoint("bad", bad.url), endpoint("good", upstream.url)) as it,
    ):
        bad.queue(replies.status(529), times=None)
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


async def told(proxy: Proxy, admin: Admin, count: int) -> list[str]:
    """That many exchanges, all of them written; ids, newest first."""
    answers = [await message(proxy.url, f"hi {number}") for number in range(count)]
    ids = [answer.headers["x-request-id"] for answer in answers][::-1]
    await settled(admin, ids)
    return ids


async def settled(admin: Admin, ids: list[str]) -> None:
    """The recorder writes beside the way: ask until it has."""
    for _ in range(400):
        page = await admin.get("/requests?limit=1000")
        items = page.json["items"] if page.status == 200 else ()
        if {each["id"] for each in items if each["outcome"] is not None} >= set(ids):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not written")


def at(answer: Answer, rel: str) -> str:
    """Where a Link header leads, as a path of the API."""
    links = {part.split(";")[1].strip(): part.split(";")[0].strip()[1:-1] for part in answer.headers["link"].split(",")}
    return links[f'rel="{rel}"'].removeprefix(API)


async def test_pages_lead_to_the_oldest_and_back(proxy, admin):
    ids = await told(proxy, admin, 5)

    first = await admin.get("/requests?limit=2")
    second = await admin.get(at(first, "next"))
    third = await admin.get(f"/requests?limit=2&after={second.json['next']}")
    back = await admin.get(at(second, "prev"))

    pages = [[each["id"] for each in page.json["items"]] for page in (first, second, third, back)]
    assert pages == [ids[:2], ids[2:4], ids[4:], ids[:2]]
    assert third.json["next"] is None
    assert 'rel="next"' not in third.headers["link"]


async def test_filters_keep_what_fits(proxy, admin):
    ids = await told(proxy, admin, 2)
    other = await message(proxy.url, session="22222222-2222-4333-8444-555555555500", model="another")
    await settled(admin, [*ids, other.headers["x-request-id"]])

    async def found(query: str) -> list[str]:
        return [each["id"] for each in (await admin.get(f"/requests?{query}")).json["items"]]

    assert await found("model=another") == [other.headers["x-request-id"]]
    assert await found("session=22222222-2222-4333-8444-555555555500") == [other.headers["x-request-id"]]
    assert await found("outcome=failed+over&outcome=complete") == [other.headers["x-request-id"], *ids]
    assert await found("outcome=error") == await found("failed=true") == await found("endpoint=bad") == []
    assert await found(f"prefix={ids[0][:26].lower()}") == [ids[0]]
    assert await found("until=1000") == []
    assert len(await found("since=1000&status=200&endpoint=good")) == 3


async def test_a_detail_tells_the_tries_and_why(proxy, admin):
    (id,) = await told(proxy, admin, 1)

    detail = (await admin.get(f"/requests/{id}")).json

    assert detail["exchange"]["outcome"] == "failed over"
    assert detail["exchange"]["output_tokens"] > 0
    assert [(each["endpoint"], each["status"]) for each in detail["attempts"]] == [("bad", 529), ("good", 200)]
    assert detail["attempts"][0]["fault"]["kind"] == "overloaded"
    assert [each["endpoint"] for each in detail["plan"] if each["chosen"]] == ["bad", "good"]
    sides = {(each["attempt"], each["part"]) for each in detail["contents"]}
    assert {(0, "request"), (0, "response"), (1, "request"), (2, "response")} <= sides


async def test_bodies_come_as_they_were_and_are_not_to_be_run(proxy, admin, upstream):
    answer = await message(proxy.url, "hello")
    id = answer.headers["x-request-id"]
    await settled(admin, [id])

    sent = await admin.get(f"/requests/{id}/request?attempt=2")
    got = await admin.get(f"/requests/{id}/response")

    assert hashlib.sha256(sent.body).hexdigest() == upstream.ledger[-1].sha256
    assert got.body == answer.body
    assert sent.headers["content-type"] == "application/json"
    assert got.headers["content-type"] == "text/event-stream"
    for each in (sent, got):
        assert each.headers["x-content-type-options"] == "nosniff"
        assert each.headers["content-disposition"].startswith("attachment")
        assert each.headers["x-companion-missing"] == "0"
    head = await admin.get(f"/requests/{id}/request_headers?attempt=2")
    assert b"content-type: application/json" in head.body.lower()
    assert KEY.encode() not in head.body


async def test_the_events_of_a_stream_have_their_times(proxy, admin):
    answer = await message(proxy.url)
    id = answer.headers["x-request-id"]
    await settled(admin, [id])

    events = (await admin.get(f"/requests/{id}/events")).json["items"]

    assert [each["event"] for each in events] == answer.types
    assert [json.loads(each["data"]) for each in events] == answer.events
    times = [each["at"] for each in events]
    assert times == sorted(times)


async def test_an_export_is_a_zip_without_keys(proxy, admin):
    ids = await told(proxy, admin, 3)

    answer = await admin.get(f"/requests.zip?id={ids[0]}&id={ids[1]}")
    newest = await admin.get("/requests.zip?limit=1")

    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"README.txt", ids[0], ids[1]}
        assert all(KEY.encode() not in archive.read(name) for name in archive.namelist())
    with zipfile.ZipFile(io.BytesIO(newest.body)) as archive:
        assert f"{ids[0]}/exchange.json" in archive.namelist()
        assert not any(name.startswith(ids[1]) for name in archive.namelist())


async def test_what_is_deleted_is_gone(proxy, admin):
    a, b, c, d, e = await told(proxy, admin, 5)

    assert (await admin.delete(f"/requests/{a}")).json == {"deleted": 1}
    problem(await admin.get(f"/requests/{a}"), 404, "no_such_request")
    problem(await admin.delete(f"/requests/{a}"), 404, "no_such_request")
    assert (await admin.delete(f"/requests?id={b}&id={c}")).json == {"deleted": 2}
    assert (await admin.delete("/requests?until=1000")).json == {"deleted": 0}
    problem(await admin.delete("/requests"), 422, "nothing_named")
    assert (await admin.delete(f"/requests?endpoint=good&prefix={d}")).json == {"deleted": 1}
    assert [each["id"] for each in (await admin.get("/requests")).json["items"]] == [e]
    assert (await admin.delete("/requests?all=true")).json == {"deleted": 1}


async def test_what_is_not_there_is_a_404(proxy, admin):
    await told(proxy, admin, 1)
    nobody = "0" * 26
    for path in ("", "/events", "/request"):
        problem(await admin.get(f"/requests/{nobody}{path}"), 404, "no_such_request")
    (id,) = [each["id"] for each in (await admin.get("/requests")).json["items"]]
    problem(await admin.get(f"/requests/{id}/response?attempt=9"), 404, "not_kept")
    problem(await admin.get("/requests/short"), 422, "invalid")


@pytest.mark.parametrize("when", ["NaN", "Infinity", "1e400", "1e12", "-1"])
async def test_a_time_that_there_is_not_is_refused(admin, when):
    for name in ("since", "until"):
        problem(await admin.get(f"/requests?{name}={when}"), 422, "invalid")


async def test_a_store_in_trouble_is_said_and_is_no_mistake_of_ours(proxy, admin, tmp_path):
    (id,) = await told(proxy, admin, 1)
    with closing(sqlite3.connect(tmp_path / "companion.db")) as connection:
        connection.execute("DROP TABLE exchanges")
    for path in ("/requests", f"/requests/{id}"):
        assert "exchanges" in problem(await admin.get(path), 503, "no_records")["detail"]
    problem(await admin.delete("/requests?all=true"), 503, "no_records")


async def test_without_records_that_is_said(tmp_path):
    async with running(tmp_path, records={"store": "none"}) as proxy:
        admin = Admin(proxy.url)
        problem(await admin.get("/requests"), 503, "records_off")
        assert (await admin.get("/status")).json["recorder"] is None


def test_the_longest_page_is_that_of_the_records():
    assert requests.MOST == queries.MOST
