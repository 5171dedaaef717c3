"""Who may use the proxy: a token is told once, and counts from the answer on."""

import pytest

from companion.simulator import Simulator
from tests.admin.client import Admin, problem
from tests.support.http import ask
from tests.support.proxy import endpoint, running

BODY = {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def proxy(tmp_path):
    async with Simulator() as upstream, running(tmp_path, endpoint("it", upstream.url)) as it:
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


async def test_a_token_is_told_once_and_opens_the_door(admin, proxy, tmp_path):
    added = await admin.post("/clients", {"name": "ann"})
    assert added.status == 201
    token = added.json["token"]
    assert token not in (tmp_path / "config.yaml").read_text(encoding="utf-8")

    listed = await admin.get("/clients")
    assert listed.json["items"] == [{"name": "ann"}]
    for path in ("/clients", "/config", "/config/history", "/status"):
        body = (await admin.get(path)).body.decode()
        assert token not in body
        assert "sha256:" not in body

    assert (await ask(proxy.url, "/v1/messages", BODY)).status == 401
    assert (await ask(proxy.url, "/v1/messages", BODY, {"x-api-key": token})).status == 200


async def test_who_is_removed_is_out(admin, proxy):
    token = (await admin.post("/clients", {"name": "ann"})).json["token"]
    await admin.post("/clients", {"name": "bob"})
    old = (await admin.get("/clients")).headers["etag"]

    problem(await admin.delete("/clients/ann", if_match=None), 428, "if_match_needed")
    assert (await admin.delete("/clients/ann", if_match=old)).status == 204
    problem(await admin.delete("/clients/bob", if_match=old), 412, "changed_meanwhile")
    problem(await admin.delete("/clients/ann"), 404, "no_such_client")

    assert (await ask(proxy.url, "/v1/messages", BODY, {"x-api-key": token})).status == 401


@pytest.mark.parametrize("name", ["ann", " ", "", "x" * 101])
async def test_a_name_must_be_free_and_be_one(admin, name, tmp_path):
    await admin.post("/clients", {"name": "ann"})
    before = (tmp_path / "config.yaml").read_bytes()

    answer = await admin.post("/clients", {"name": name})

    assert answer.status in {409, 422}
    assert answer.json["errors"][0]["pointer"] == "/name"
    assert (tmp_path / "config.yaml").read_bytes() == before
