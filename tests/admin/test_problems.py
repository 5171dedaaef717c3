"""Errors are problem+json, whatever goes wrong, and nothing is done without the header that pages cannot send."""

import pytest

from companion.admin.api import MAX_BODY
from tests.admin.client import API, Admin, problem
from tests.support.http import ask
from tests.support.proxy import endpoint, running


@pytest.fixture
async def proxy(tmp_path):
    async with running(tmp_path, endpoint("first", "http://127.0.0.1:1")) as it:
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


async def test_a_path_that_is_not_there(admin):
    problem(await admin.get("/nothing"), 404, "not_found")


async def test_a_method_that_a_path_does_not_take(admin):
    answer = await admin.delete("/status")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    assert (await admin.post("/endpoints/first")).headers["allow"] == "DELETE, GET, PATCH, PUT"


async def test_a_body_that_is_no_json(admin):
    said = problem(await admin.post("/endpoints", b"{"), 422, "invalid")
    assert said["errors"][0]["pointer"] == ""
    assert said["errors"][0]["code"] == "json_invalid"


async def test_a_body_that_is_no_object_and_a_field_that_is_missing(admin):
    said = problem(await admin.post("/endpoints", b"[]"), 422, "invalid")
    assert said["errors"][0]["pointer"] == ""
    said = problem(await admin.put("/endpoint-order", {}), 422, "invalid")
    assert [(each["pointer"], each["code"]) for each in said["errors"]] == [("/groups", "missing")]


async def test_a_parameter_that_is_wrong_is_named(admin):
    said = problem(await admin.get("/events?type=nothing"), 422, "invalid")
    assert said["errors"][0]["parameter"] == "type"


async def test_a_body_beyond_any_sense(admin):
    said = problem(await admin.post("/endpoints", b" " * (MAX_BODY + 1)), 413, "too_large")
    assert said["parameters"] == {"limit": MAX_BODY}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_changes_need_the_header_that_no_page_can_send(admin, tmp_path, method):
    before = (tmp_path / "config.yaml").read_bytes()
    headers = {"if-match": "*", "content-type": "application/json"}
    for path in ("/endpoints/first", "/endpoints", "/endpoints/first/disable", "/config", "/clients/x"):
        problem(await ask(admin.url, API + path, {}, headers, method), 403, "csrf")
    assert (tmp_path / "config.yaml").read_bytes() == before


async def test_an_answer_is_not_kept_and_not_taken_for_something_else(admin):
    for path in ("/status", "/nothing"):
        answer = await admin.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
