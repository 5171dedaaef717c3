"""Endpoints through the API: what is read can be written, what is written is live, what is wrong changes nothing."""

import asyncio
import json
from pathlib import Path

import pytest

from companion.config.file import load
from companion.simulator import Simulator, replies
from tests.admin.client import Admin, problem
from tests.support.http import message
from tests.support.proxy import KEY, endpoint, running

DRAFT = {"name": "third", "url": "http://127.0.0.1:9", "auth": {"type": "api_key", "values": ["sk-of-the-third-one"]}}


@pytest.fixture
async def proxy(tmp_path):
    async with running(
        tmp_path, endpoint("first", "http://127.0.0.1:1"), endpoint("second", "http://127.0.0.1:2")
    ) as it:
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


def written(tmp_path: Path) -> bytes:
    return (tmp_path / "config.yaml").read_bytes()


async def names(admin: Admin) -> list[str]:
    return [each["name"] for each in (await admin.get("/endpoints")).json["items"]]


async def test_the_list_tells_settings_and_state(admin):
    answer = await admin.get("/endpoints")

    first, second = answer.json["items"]
    assert (first["id"], second["id"]) == ("first", "second")
    assert first["settings"]["url"] == "http://127.0.0.1:1"
    assert first["state"]["ready"] is True
    assert first["effective"]["timeouts"]["headers"] == 90.0
    assert answer.headers["etag"] == answer.json["etag"]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_new_endpoint_answers_the_next_request(tmp_path):
    async with Simulator() as upstream, running(tmp_path) as proxy:
        admin = Admin(proxy.url)
        answer = await admin.post("/endpoints", endpoint("new", upstream.url))

        assert answer.status == 201
        assert answer.headers["location"] == "/admin/api/endpoints/new"
        assert answer.json["state"]["ready"] is True
        assert (await message(proxy.url)).status == 200


async def test_an_edit_is_live_when_its_answer_arrives(tmp_path):
    async with Simulator() as one, Simulator() as other, running(tmp_path, endpoint("it", one.url)) as proxy:
        admin = Admin(proxy.url)
        assert (await message(proxy.url)).status == 200
        assert (await admin.patch("/endpoints/it", {"url": other.url})).status == 200
        assert (await message(proxy.url)).status == 200

    assert len(one.ledger) == len(other.ledger) == 1


async def test_a_merge_patch_takes_away_what_is_null_and_leaves_the_rest(admin, tmp_path):
    await admin.patch("/endpoints/first", {"timeouts": {"headers": "3m", "idle": "4m"}, "labels": ["a"]})
    answer = await admin.patch("/endpoints/first", {"timeouts": {"headers": None}, "labels": None})

    assert answer.json["settings"]["timeouts"] == {"idle": "4m"}
    assert "labels" not in answer.json["settings"]
    assert answer.json["effective"]["timeouts"]["idle"] == 240.0
    assert load(tmp_path / "config.yaml").settings.endpoints[0].auth.values == (f"{KEY}-first",)


async def test_what_was_read_can_be_written_back_and_changes_nothing(admin, tmp_path):
    before = load(tmp_path / "config.yaml")
    read = await admin.endpoint("first")

    answer = await admin.put("/endpoints/first", read["settings"], if_match=read["etag"])

    assert answer.status == 200
    assert answer.json["etag"] == read["etag"]
    assert load(tmp_path / "config.yaml") == before


async def test_a_wrong_field_is_named_and_nothing_is_changed(admin, tmp_path, proxy):
    before, loaded = written(tmp_path), proxy.app.loaded
    wrong = {"url": "ftp://x", "timeouts": {"headers": -1}, "wieght": 2}

    said = problem(await admin.patch("/endpoints/second", wrong), 422, "config_invalid")

    assert {each["pointer"] for each in said["errors"]} == {"/url", "/timeouts/headers", "/wieght"}
    assert all(each["code"] and each["detail"] for each in said["errors"])
    assert written(tmp_path) == before
    assert proxy.app.loaded is loaded


async def test_a_name_that_is_taken_is_refused(admin, tmp_path):
    before = written(tmp_path)
    said = problem(await admin.post("/endpoints", {**DRAFT, "name": "first"}), 422, "config_invalid")

    assert [each["pointer"] for each in said["errors"]] == ["/name"]
    assert written(tmp_path) == before


async def test_a_write_says_what_it_is_a_change_of(admin, tmp_path):
    before = written(tmp_path)
    old = (await admin.endpoint("first"))["etag"]
    changed = await admin.patch("/endpoints/first", {"weight": 2})
    assert changed.headers["etag"] == changed.json["etag"] != old
    now = written(tmp_path)
    assert now != before

    for method, path, body in (
        ("PUT", "/endpoints/first", DRAFT),
        ("PATCH", "/endpoints/first", {"weight": 3}),
        ("DELETE", "/endpoints/first", None),
        ("POST", "/endpoints/first/disable", None),
        ("PUT", "/endpoint-order", {"groups": [["second"], ["first"]]}),
    ):
        problem(await admin.send(method, path, body), 428, "if_match_needed")
        problem(await admin.send(method, path, body, if_match=old), 412, "changed_meanwhile")
    assert written(tmp_path) == now


async def test_of_two_changes_of_the_same_thing_one_wins(admin):
    etag = (await admin.endpoint("first"))["etag"]

    answers = await asyncio.gather(
        *(admin.patch("/endpoints/first", {"weight": weight}, if_match=etag) for weight in (2, 3, 4))
    )

    assert sorted(answer.status for answer in answers) == [200, 412, 412]
    won = next(answer for answer in answers if answer.status == 200)
    assert (await admin.endpoint("first"))["settings"]["weight"] == won.json["settings"]["weight"]


async def test_changes_at_the_same_time_do_not_undo_each_other(admin, proxy):
    drafts = [{**DRAFT, "name": f"new {number}", "auth": {"type": "none"}} for number in range(6)]

    answers = await asyncio.gather(*(admin.post("/endpoints", draft) for draft in drafts))

    assert [answer.status for answer in answers] == [201] * 6
    assert set(await names(admin)) == {"first", "second", *(draft["name"] for draft in drafts)}
    assert len(proxy.app.loaded.settings.endpoints) == 8


async def test_a_new_name_leaves_the_id_and_the_key(admin, tmp_path):
    read = await admin.endpoint("first")
    answer = await admin.put("/endpoints/first", {**read["settings"], "name": "other"}, if_match=read["etag"])

    assert (answer.json["id"], answer.json["name"]) == ("first", "other")
    settings = load(tmp_path / "config.yaml").settings.endpoints[0]
    assert (settings.id, settings.name, settings.auth.values) == ("first", "other", (f"{KEY}-first",))
    assert (await admin.endpoint("other"))["id"] == "first"


async def test_an_id_stays_what_it_is(admin, tmp_path):
    before = written(tmp_path)
    problem(await admin.patch("/endpoints/first", {"id": "another"}), 422, "id_is_fixed")
    assert written(tmp_path) == before


async def test_a_duplicate_has_the_key_and_a_name_and_an_id_of_its_own(admin, tmp_path):
    assert (await admin.post("/endpoints/first/duplicate")).json["name"] == "first copy"
    assert (await admin.post("/endpoints/first/duplicate")).json["name"] == "first copy 2"
    assert (await admin.post("/endpoints/first/duplicate", {"name": "mine"})).json["id"] == "mine"

    settings = load(tmp_path / "config.yaml").settings.endpoints
    assert [each.name for each in settings] == ["first", "mine", "first copy 2", "first copy", "second"]
    assert settings[1].auth.values == (f"{KEY}-first",)


async def test_switching_off_and_on_again(admin, proxy):
    off = await admin.post("/endpoints/first/disable", if_match="*")
    assert off.json["state"]["enabled"] is False
    assert off.json["state"]["credentials"][0]["unusable"]["code"] == "disabled"
    assert proxy.app.loaded.settings.endpoints[0].enabled is False

    on = await admin.post("/endpoints/first/enable", if_match=off.json["etag"])
    assert on.json["state"]["ready"] is True


async def test_what_is_deleted_is_gone(admin, proxy):
    answer = await admin.delete("/endpoints/first")

    assert (answer.status, answer.body) == (204, b"")
    assert await names(admin) == ["second"]
    assert [view.name for view in proxy.app.endpoints.views()] == ["second"]
    problem(await admin.get("/endpoints/first"), 404, "no_such_endpoint")


async def test_the_order_is_that_of_the_groups(admin, proxy):
    await admin.post("/endpoints", {**DRAFT, "priority": 7})
    etag = (await admin.get("/endpoints")).json["etag"]

    answer = await admin.put("/endpoint-order", {"groups": [["third"], ["first", "second"]]}, if_match=etag)

    assert [(each["name"], each["settings"]["priority"]) for each in answer.json["items"]] == [
        ("third", 1),
        ("first", 2),
        ("second", 2),
    ]
    assert [view.name for view in proxy.app.endpoints.views()] == ["third", "first", "second"]


async def test_priorities_that_fit_stay_in_use(admin):
    await admin.patch("/endpoints/first", {"priority": 10})
    await admin.patch("/endpoints/second", {"priority": 20})

    answer = await admin.put("/endpoint-order", {"groups": [["second"], ["first"]]})

    assert [(each["name"], each["settings"]["priority"]) for each in answer.json["items"]] == [
        ("second", 10),
        ("first", 20),
    ]


@pytest.mark.parametrize("groups", [[["first"]], [["first", "first"], ["second"]], [["first"], ["second", "none"]], []])
async def test_an_order_names_everyone_once(admin, groups, tmp_path):
    before = written(tmp_path)
    problem(await admin.put("/endpoint-order", {"groups": groups}), 422, "not_each_once")
    assert written(tmp_path) == before


async def test_names_may_hold_anything_that_a_line_can(admin):
    name = "a/b?c#d %2F é"
    answer = await admin.post("/endpoints", {**DRAFT, "name": name})

    path = answer.headers["location"].removeprefix("/admin/api")
    assert (await admin.get(path)).json["name"] == name
    assert (await admin.post(f"{path}/disable", if_match="*")).status == 200
    assert (await admin.delete(path)).status == 204


async def test_a_reset_closes_the_circuit(tmp_path):
    async with (
        Simulator() as bad,
        Simulator() as good,
        running(tmp_path, endpoint("it", bad.url), endpoint("other", good.url)) as proxy,
    ):
        admin = Admin(proxy.url)
        bad.queue(replies.status(500), times=3)
        for _ in range(3):
            await message(proxy.url)
        assert (await admin.endpoint("it"))["state"]["credentials"][0]["state"] == "open"

        answer = await admin.post("/endpoints/it/reset")

        assert answer.json["state"]["credentials"][0]["state"] == "closed"


async def test_while_the_file_is_broken_the_living_are_shown_and_nothing_is_written(admin, tmp_path):
    broken = written(tmp_path) + b"\nnonsense: [\n"
    (tmp_path / "config.yaml").write_bytes(broken)

    answer = await admin.get("/endpoints")
    assert [each["name"] for each in answer.json["items"]] == ["first", "second"]
    assert answer.json["problems"]
    said = problem(await admin.patch("/endpoints/first", {"weight": 2}), 409, "config_unusable")
    assert said["errors"]
    assert written(tmp_path) == broken


async def test_halves_of_characters_and_endless_numbers_are_refused(admin, tmp_path):
    before = written(tmp_path)
    for raw in (rb'{"name": "\ud800"}', b'{"weight": NaN}', b'{"body": {"set": {"a": Infinity}}}'):
        problem(await admin.patch("/endpoints/first", raw), 422, "invalid")
    problem(await admin.patch("/endpoints/first", b"[" * 5000), 400, "unreadable")
    assert written(tmp_path) == before


async def test_names_and_keys_are_kept_apart(admin):
    answer = await admin.post("/endpoints", DRAFT)
    assert "sk-of-the-third-one" not in answer.body.decode()
    assert json.loads(answer.body)["settings"]["auth"]["values"][0].startswith("•••")
