"""What was learned, through the API: it is told, and forgotten when somebody wants it to be."""

from companion.protocol.repairs.record import Made
from tests.admin.client import Admin, problem
from tests.support.proxy import endpoint, running


async def test_what_was_learned_is_told_and_can_be_forgotten(tmp_path):
    async with running(tmp_path, endpoint("one", "http://127.0.0.1:1"), endpoint("two", "http://127.0.0.1:2")) as proxy:
        learned = proxy.app.learned
        learned.learn("one:abc", "one", "m", Made("max_tokens", "8192"), "max_tokens: at most 8192")
        learned.learn("one:abc", "one", None, Made("effort"), "effort is unknown")
        learned.learn("two:abc", "two", "m", Made("images"), "no images")
        admin = Admin(proxy.url)

        items = (await admin.get("/repairs")).json["items"]
        assert [(each["endpoint"], each["model"], each["repair"], each["parameter"]) for each in items] == [
            ("one", "m", "max_tokens", "8192"),
            ("one", "", "effort", ""),
            ("two", "m", "images", ""),
        ]
        assert items[0]["said"] == "max_tokens: at most 8192"
        assert items[0]["since"] > 1_600_000_000

        problem(await admin.delete("/repairs"), 422, "nothing_named")
        assert (await admin.delete("/repairs?endpoint=one&model=m&repair=max_tokens")).json == {"forgotten": 1}
        assert (await admin.delete("/repairs?endpoint=one")).json == {"forgotten": 1}
        assert (await admin.delete("/repairs?all=true")).json == {"forgotten": 1}
        assert (await admin.get("/repairs")).json == {"items": []}
