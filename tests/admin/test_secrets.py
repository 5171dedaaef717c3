"""No secret is in any answer: every operation that reads is asked, with everything that there is, and searched."""

import asyncio
import io
import re
import zipfile
from collections.abc import Iterator
from urllib.parse import quote

from companion.records.views import Part
from companion.simulator import Simulator, replies
from tests.admin.client import Admin, following
from tests.support.http import Answer, ask, message
from tests.support.proxy import endpoint, running

KEY = "sk-canary-literal-key-00112233"
OLD = "sk-canary-replaced-key-445566"
FROM_ENV = "canary-of-the-environment-778899"
HEADER = "canary-of-a-header-aabbccdd"
PASSWORD = "canary-of-a-proxy-eeff0011"
COMMENT = "sk-canary-in-a-comment-22334455"
LOGIN = "the-clients-own"
CANARIES = (KEY, OLD, FROM_ENV, HEADER, PASSWORD, COMMENT, LOGIN)


def hidden(answer: Answer) -> None:
    """Head and body, and what is in a zip."""
    texts = [str(answer.headers).encode(), answer.body]
    if answer.headers.get("content-type") == "application/zip":
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            texts += [archive.read(name) for name in archive.namelist()]
    for text in texts:
        for canary in CANARIES:
            assert canary.encode() not in text, canary


def paths(document, values: dict[str, list[str]]) -> Iterator[str]:
    """Every path that can be read, with all values of its parameters."""
    for path, operations in document["paths"].items():
        if "get" not in operations or path == "/events":
            continue
        found = [path]
        for name in re.findall(r"{(\w+)}", path):
            found = [each.replace(f"{{{name}}}", quote(value, safe="")) for each in found for value in values[name]]
        yield from found


async def test_no_secret_is_in_any_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", FROM_ENV)
    echo = f"these were sent: {KEY} {FROM_ENV} {HEADER}"
    async with Simulator() as upstream, Simulator() as good:
        literal = endpoint(
            "literal",
            upstream.url,
            auth={"type": "api_key", "values": [OLD]},
            headers={"set": {"x-token": HEADER}},
        )
        named = endpoint("named", upstream.url, auth={"type": "auth_token", "values": ["${CANARY}"]})
        far = endpoint("far", "http://127.0.0.1:9", proxy=f"http://user:{PASSWORD}@127.0.0.1:9")
        own = endpoint("own", good.url, auth={"type": "passthrough"})
        async with running(tmp_path, literal, named, far, own) as proxy:
            admin = Admin(proxy.url)
            path = tmp_path / "config.yaml"
            path.write_text(path.read_text(encoding="utf-8") + f"# {COMMENT}\n", encoding="utf-8")
            hidden(await admin.patch("/endpoints/literal", {"auth": {"values": [KEY]}}))
            hidden(await admin.post("/endpoints/literal/duplicate"))
            upstream.queue(replies.status(401, message=echo), replies.status(500, message=echo), times=None)
            good.queue(replies.status(401, message=f"this was sent: {LOGIN}"), times=1)
            async with following(proxy.url) as stream:
                answers = [await message(proxy.url) for _ in range(3)]
                ids = [answer.headers["x-request-id"] for answer in answers]
                told = [await stream.frame()]
                while told[-1]["event"] != "exchange_settled":
                    told.append(await asyncio.wait_for(stream.frame(), 5))
            assert not [canary for canary in CANARIES if canary in str(told)]
            for name in ("literal", "named", "far"):
                hidden(await admin.post(f"/endpoints/{name}/test"))
            draft = (await admin.endpoint("literal"))["settings"]
            hidden(await admin.post("/endpoint-test", {"settings": draft}))
            data = (await admin.get("/config")).json
            for body in ({"data": data["data"] | {"validation": "strict"}}, {"text": data["text"] + "\n# more\n"}):
                hidden(await admin.post("/config/preview", body))
                hidden(await admin.post("/config/validate", body))
            token = (await admin.post("/clients", {"name": "ann"})).json["token"]
            await settled(admin, ids)

            document = (await admin.get("/openapi.json")).json
            versions = [each["id"] for each in (await admin.get("/config/history")).json["items"]]
            assert versions
            values = {
                "endpoint": ["literal", "named", "far", "own"],
                "version": versions,
                "id": ids,
                "part": [*Part],
            }
            read = 0
            for each in paths(document, values):
                for attempt in range(5) if each.startswith("/requests/") else [0]:
                    answer = await admin.get(f"{each}?attempt={attempt}")
                    hidden(answer)
                    assert token not in answer.body.decode("latin-1")
                    assert answer.status in {200, 404}, (each, answer.body)
                    read += answer.status == 200
            assert read > 40
            assert (await ask(proxy.url, "/v1/models", headers={"x-api-key": token})).status != 401


async def settled(admin: Admin, ids: list[str]) -> None:
    for _ in range(400):
        page = await admin.get("/requests")
        if page.status == 200 and {each["id"] for each in page.json["items"] if each["outcome"]} >= set(ids):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not written")
