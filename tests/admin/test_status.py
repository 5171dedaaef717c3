"""What one wants to know first."""

from companion import __version__
from companion.simulator import Simulator, replies
from tests.admin.client import Admin
from tests.support.http import message
from tests.support.proxy import endpoint, running


async def test_the_version_is_told(tmp_path):
    async with running(tmp_path) as proxy:
        assert (await Admin(proxy.url).get("/version")).json["version"] == __version__


async def test_the_status_tells_what_there_is_and_what_happened(tmp_path):
    async with (
        Simulator() as bad,
        Simulator() as good,
        running(
            tmp_path,
            endpoint("bad", bad.url),
            endpoint("good", good.url),
            endpoint("off", good.url, enabled=False),
            endpoint("keyless", good.url, auth={"type": "api_key", "values": ["${NOT_SET_ANYWHERE}"]}),
        ) as proxy,
    ):
        bad.queue(replies.status(529), times=3)
        for _ in range(3):
            assert (await message(proxy.url)).status == 200

        status = (await Admin(proxy.url).get("/status")).json

    assert status["counts"] == {"total": 4, "ready": 1, "waiting": 1, "unusable": 1, "disabled": 1}
    assert [each["id"] for each in status["endpoints"]] == ["bad", "good", "off", "keyless"]
    assert status["config"] == {"path": str(tmp_path / "config.yaml"), "problems": []}
    assert proxy.url in status["addresses"]
    assert len(status["last_switches"]) == 3
    switch = status["last_switches"][0]
    assert (switch["from_endpoint"], switch["to_endpoint"], switch["fault"]["kind"]) == ("bad", "good", "overloaded")
    assert status["started"] <= switch["at"] <= status["now"]
    assert status["uptime"] >= 0


async def test_a_mistake_in_the_file_is_told(tmp_path):
    async with running(tmp_path) as proxy:
        (tmp_path / "config.yaml").write_text("server: {prt: 0}", encoding="utf-8")
        problems = (await Admin(proxy.url).get("/status")).json["config"]["problems"]

    assert [(each["pointer"], each["line"], each["code"]) for each in problems] == [
        ("/server/prt", 1, "extra_forbidden")
    ]
