"""Tests of an endpoint through the API: step by step, saved or not, without touching its health."""

import json

import pytest

from companion.simulator import Simulator, replies
from tests.admin.client import Admin, problem
from tests.support.proxy import KEY, endpoint, running

STEPS = ["dns", "connect", "tls", "models", "count_tokens", "auth", "first_byte", "stream", "valid", "tool_call"]


@pytest.fixture
async def upstream():
    async with Simulator() as it:
        yield it


@pytest.fixture
async def proxy(tmp_path, upstream):
    async with running(tmp_path, endpoint("it", upstream.url), endpoint("off", upstream.url, enabled=False)) as it:
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


def names(steps: list[dict[str, str]]) -> list[str]:
    return list(dict.fromkeys(step["name"] for step in steps))


async def test_a_good_endpoint_passes_every_step(admin):
    result = (await admin.post("/endpoints/it/test")).json

    assert result["ok"] is True
    assert names(result["steps"]) == STEPS
    assert all(step["code"] and step["sentence"] for step in result["steps"])
    assert (await admin.post("/endpoints/off/test")).json["ok"] is True


async def test_the_steps_come_as_lines_to_who_takes_them(admin):
    answer = await admin.send("POST", "/endpoints/it/test", headers={"accept": "application/x-ndjson"})

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert names([json.loads(line) for line in answer.body.splitlines()]) == STEPS


async def test_a_refused_key_is_told_and_opens_nothing(admin, upstream, proxy):
    upstream.queue(replies.status(401, message=f"bad key {KEY}-it"), times=None)

    answer = await admin.post("/endpoints/it/test")

    assert answer.json["ok"] is False
    assert {step["code"] for step in answer.json["steps"] if step["state"] == "failed"} & {"key_refused"}
    assert KEY not in answer.body.decode()
    assert (await admin.endpoint("it"))["state"]["credentials"][0]["state"] == "closed"


async def test_a_draft_is_tested_and_not_saved(admin, upstream, tmp_path):
    before = (tmp_path / "config.yaml").read_bytes()
    answer = await admin.post("/endpoint-test", {"settings": endpoint("new", upstream.url)})

    assert answer.json["ok"] is True
    assert dict(upstream.ledger[-1].headers)[b"x-api-key"] == f"{KEY}-new".encode()
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert [each["id"] for each in (await admin.get("/endpoints")).json["items"]] == ["it", "off"]


async def test_a_draft_of_what_is_there_may_hold_masks(admin, upstream):
    settings = (await admin.endpoint("it"))["settings"]
    assert KEY not in str(settings)

    answer = await admin.post("/endpoint-test", {"settings": settings | {"weight": 3}, "model": "some-model"})

    assert answer.json["ok"] is True
    assert dict(upstream.ledger[-1].headers)[b"x-api-key"] == f"{KEY}-it".encode()


async def test_a_draft_that_is_wrong_is_refused_with_its_fields(admin):
    draft = {"settings": {"name": "new", "url": "nowhere", "auth": {"type": "none"}}}
    said = problem(await admin.post("/endpoint-test", draft), 422, "config_invalid")
    assert [each["pointer"] for each in said["errors"]] == ["/settings/url"]


async def test_what_is_not_there_cannot_be_tested(admin, upstream):
    problem(await admin.post("/endpoints/nobody/test"), 404, "no_such_endpoint")
    problem(await admin.post("/endpoints/it/test", {"credential": 1}), 404, "no_such_credential")
    draft = {"settings": endpoint("new", upstream.url), "credential": 1}
    problem(await admin.post("/endpoint-test", draft), 404, "no_such_credential")


async def test_an_endpoint_that_is_down_fails_at_the_first_step_that_it_fails(admin, tmp_path):
    answer = await admin.post("/endpoint-test", {"settings": endpoint("down", "http://127.0.0.1:9")})

    states = {step["name"]: step["state"] for step in answer.json["steps"]}
    assert answer.json["ok"] is False
    assert (states["connect"], states["stream"]) == ("failed", "skipped")
