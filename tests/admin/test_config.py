"""The whole file through the API: masked, judged, compared, written, and as it was before."""

import pytest

from companion.config.file import load
from tests.admin.client import Admin, problem
from tests.support.proxy import KEY, endpoint, running

COMMENTED = f"""\
# Mine; sk-ant-an-old-key-0123456789
server: {{port: 0}}
endpoints:
  - name: first  # the good one
    url: http://127.0.0.1:1
    auth: {{type: api_key, values: ["{KEY}-first", "${{ANOTHER}}"]}}
"""


@pytest.fixture
async def proxy(tmp_path):
    async with running(tmp_path, endpoint("first", "http://127.0.0.1:1")) as it:
        (tmp_path / "config.yaml").write_text(COMMENTED, encoding="utf-8")
        yield it


@pytest.fixture
def admin(proxy):
    return Admin(proxy.url)


@pytest.fixture
def text(tmp_path):
    return lambda: (tmp_path / "config.yaml").read_text(encoding="utf-8")


async def test_the_file_is_shown_with_its_comments_and_without_its_secrets(admin):
    answer = await admin.get("/config")

    shown = answer.json
    assert answer.headers["etag"] == shown["etag"]
    assert shown["data"]["endpoints"][0]["auth"]["values"][1] == "${ANOTHER}"
    assert shown["data"]["endpoints"][0]["auth"]["values"][0].startswith("•••")
    assert "# the good one" in shown["text"]
    assert "${ANOTHER}" in shown["text"]
    assert KEY not in answer.body.decode()
    assert "an-old-key" not in answer.body.decode()


async def test_what_was_read_as_text_can_be_written_as_text(admin, text, tmp_path):
    shown = (await admin.get("/config")).json
    changed = shown["text"].replace("# the good one", "# the best one")

    answer = await admin.put("/config", {"text": changed}, if_match=shown["etag"])

    assert answer.status == 200, answer.body
    assert text() == COMMENTED.replace("good", "best")


async def test_what_was_read_as_data_can_be_written_as_data(admin, proxy, tmp_path):
    shown = (await admin.get("/config")).json
    shown["data"]["gate"] = {"patience": "20s"}

    answer = await admin.put("/config", {"data": shown["data"]}, if_match=shown["etag"])

    assert answer.status == 200, answer.body
    assert proxy.app.loaded.settings.gate.patience == 20.0
    assert load(tmp_path / "config.yaml").settings.endpoints[0].auth.values == (f"{KEY}-first", "${ANOTHER}")


async def test_a_mask_that_stands_for_nothing_is_refused(admin, text):
    shown = (await admin.get("/config")).json
    wrong = shown["text"].replace("•••", "•••x", 2)

    said = problem(await admin.put("/config", {"text": wrong}), 422, "config_invalid")

    mistakes = [(each["code"], each["pointer"]) for each in said["errors"]]
    assert mistakes == [("unknown_mask", "/endpoints/0/auth/values/0")]
    assert text() == COMMENTED


@pytest.mark.parametrize(
    ("draft", "pointer"),
    [
        ({"data": {"server": {"port": "x"}}}, "/server/port"),
        ({"text": "server:\n  port: x\n"}, "/server/port"),
        (
            {"data": {"endpoints": [{"name": "a", "url": "http://x", "auth": {"type": "api_key"}}]}},
            "/endpoints/0/auth/values",
        ),
    ],
)
async def test_a_wrong_draft_is_judged_and_refused_and_changes_nothing(admin, text, proxy, draft, pointer):
    loaded = proxy.app.loaded
    verdict = (await admin.post("/config/validate", draft)).json
    assert verdict["ok"] is False
    assert [each["pointer"] for each in verdict["problems"]] == [pointer]

    said = problem(await admin.put("/config", draft), 422, "config_invalid")

    assert [each["pointer"] for each in said["errors"]] == [pointer]
    assert text() == COMMENTED
    assert proxy.app.loaded is loaded


async def test_a_good_draft_is_judged_and_not_written(admin, text):
    assert (await admin.post("/config/validate", {"text": "server: {port: 0}"})).json == {"ok": True, "problems": []}
    assert text() == COMMENTED


async def test_a_draft_is_data_or_text(admin):
    for draft in ({}, {"data": {}, "text": ""}, {"data": None, "text": None}):
        problem(await admin.put("/config", draft), 422, "invalid")


async def test_what_a_draft_changes_is_shown_as_a_difference(admin, text):
    shown = (await admin.get("/config")).json
    shown["data"]["endpoints"][0]["weight"] = 3
    by_data = (await admin.post("/config/preview", {"data": shown["data"]})).json["diff"]
    by_text = (await admin.post("/config/preview", {"text": shown["text"] + "validation: strict\n"})).json["diff"]

    assert [line for line in by_data.splitlines() if line[0] == "+" and "weight" in line]
    assert "\n+validation: strict\n" in by_text
    assert KEY not in by_data + by_text
    assert text() == COMMENTED


async def test_a_write_says_what_it_is_a_change_of(admin, text):
    shown = (await admin.get("/config")).json
    changed = await admin.put("/config", {"text": shown["text"] + "# more\n"}, if_match=shown["etag"])
    assert changed.json["etag"] == shown["etag"], "a comment changes no setting"
    changed = await admin.put("/config", {"text": shown["text"] + "validation: strict\n"}, if_match=shown["etag"])
    assert changed.headers["etag"] == changed.json["etag"] != shown["etag"]
    now = text()

    problem(await admin.put("/config", {"data": {}}, if_match=None), 428, "if_match_needed")
    problem(await admin.put("/config", {"data": {}}, if_match=shown["etag"]), 412, "changed_meanwhile")
    assert text() == now


async def test_earlier_versions_can_be_seen_and_come_back(admin, text, proxy):
    await admin.patch("/endpoints/first", {"weight": 3})
    await admin.patch("/endpoints/first", {"weight": 4})
    newest, older = (await admin.get("/config/history")).json["items"]
    assert newest["at"] >= older["at"] > 1_600_000_000
    assert older["why"] == "endpoint first changed"

    seen = await admin.get(f"/config/history/{older['id']}")
    assert "# the good one" in seen.json["text"]
    assert KEY not in seen.body.decode()

    problem(await admin.post(f"/config/history/{older['id']}/restore"), 428, "if_match_needed")
    etag = (await admin.get("/config")).json["etag"]
    restored = await admin.post(f"/config/history/{older['id']}/restore", if_match=etag)
    assert restored.status == 200, restored.body
    assert text() == COMMENTED
    assert proxy.app.loaded.settings.endpoints[0].weight == 1.0
    problem(await admin.get("/config/history/none"), 404, "no_such_version")
    problem(await admin.post("/config/history/none/restore", if_match="*"), 404, "no_such_version")


async def test_a_broken_file_is_told_and_can_be_replaced_by_an_earlier_version(admin, tmp_path, text):
    await admin.patch("/endpoints/first", {"weight": 3})
    (tmp_path / "config.yaml").write_text("server: [", encoding="utf-8")

    shown = (await admin.get("/config")).json
    assert shown["text"] is None
    assert shown["problems"][0]["line"] == 1
    problem(await admin.put("/config", {"data": {}}), 409, "config_unusable")

    version = (await admin.get("/config/history")).json["items"][0]["id"]
    assert (await admin.post(f"/config/history/{version}/restore", if_match="*")).status == 200
    assert text() == COMMENTED


async def test_the_schema_takes_what_the_file_takes(admin):
    schema = (await admin.get("/config/schema")).json

    timeouts = schema["$defs"]["Timeouts"]["properties"]
    assert {option["type"] for option in timeouts["headers"]["anyOf"]} == {"number", "string", "null"}
    assert {option["type"] for option in timeouts["first_content"]["anyOf"]} == {"number", "string", "null"}
    assert schema["$defs"]["EndpointSettings"]["required"] == ["name", "url", "auth"]


async def test_the_schema_marks_what_holds_from_the_next_start_on(admin):
    parts = (await admin.get("/config/schema")).json["$defs"]

    marked = {
        f"{name}.{key}" for name, part in parts.items() for key, it in part["properties"].items() if "restart" in it
    }
    assert marked == {
        *("ServerSettings.host", "ServerSettings.port", "LoggingSettings.format", "LoggingSettings.file"),
        "RecordsSettings.store",
    }
