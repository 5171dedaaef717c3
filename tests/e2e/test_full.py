"""No room for records: requests flow on, the status and the log tell, and with room again records are written again."""

import asyncio
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from companion.records.store import Store
from companion.simulator import Simulator
from tests.admin.client import Admin
from tests.cli.process import endpoint as end
from tests.cli.process import serving, write_config
from tests.e2e.support import STORE, intact, until
from tests.support.http import ask
from tests.support.proxy import endpoint, running

# Bytes of a file that still can be written: with more than that, rows alone would go on fitting for a while.
NOTHING = 1000


class User:
    """Asks with bodies that need room, and reads how the recorder is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = Admin(url)

    async def asks(self) -> str:
        """Returns the id of an exchange that went well."""
        text = os.urandom(60_000).hex()
        messages = [{"role": "user", "content": text}]
        body = {"model": "claude-opus-5-5", "max_tokens": 9, "stream": True, "messages": messages}
        answer = await ask(self.url, "/v1/messages", body, {"x-api-key": "whatever-key"})
        assert (answer.status, answer.types[-1]) == (200, "message_stop")
        return answer.headers["x-request-id"]

    async def recorder(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.admin.get("/status")).json["recorder"]
        return told

    async def asks_until(self, failing: bool) -> list[str]:
        ids = []
        async with asyncio.timeout(30):
            while True:
                ids.append(await self.asks())
                if ((await self.recorder())["failing"] is not None) is failing:
                    return ids

    async def outcomes(self) -> dict[str, str]:
        return {row["id"]: row["outcome"] for row in (await self.admin.get("/requests?limit=1000")).json["items"]}

    async def body_of(self, id: str) -> bytes:
        answer = await self.admin.get(f"/requests/{id}/request")
        return answer.body if answer.status == 200 else b""


def file_size(pid: int, *limits: tuple[int, int]) -> tuple[int, int]:
    """How large its files may become; with `limits` from now on."""
    if sys.platform != "linux":
        pytest.skip("only Linux limits the files of another process")
    else:
        return resource.prlimit(pid, resource.RLIMIT_FSIZE, *limits)


async def test_with_a_limit_on_files_of_the_running_process(tmp_path: Path):
    async with Simulator() as upstream:
        write_config(tmp_path, end("it", upstream.url), logging={"format": "json"})
        async with serving(tmp_path) as served:
            user, pid = User(served.url), served.process.pid
            before = [await user.asks() for _ in range(3)]
            unlimited = file_size(pid)
            file_size(pid, (NOTHING, unlimited[1]))

            meanwhile = await user.asks_until(failing=True)
            assert "records_failing" in await served.logged("records_failing")
            meanwhile += [await user.asks() for _ in range(5)]
            stats = await user.recorder()
            assert stats["failing"]
            assert stats["bodies_dropped"] >= 5

            file_size(pid, unlimited)
            meanwhile += await user.asks_until(failing=False)
            assert json.loads(await served.logged("records_written_again"))["level"] == "info"
            last = await user.asks()
            assert len(await written(user, last)) > 120_000
            assert (await user.recorder())["rows_lost"] == 0
            outcomes = await user.outcomes()
            assert [outcomes[id] for id in (*before, *meanwhile, last)] == ["complete"] * (len(meanwhile) + 4)
    assert intact(tmp_path / STORE)


async def test_with_a_limit_on_pages_of_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def little(url: str, folder: Path) -> Store:
        store = opened(url, folder)
        store._connection.execute("PRAGMA max_page_count = 200")
        return store

    opened = Store.open
    monkeypatch.setattr(Store, "open", little)
    async with Simulator() as upstream, running(tmp_path, endpoint("it", upstream.url)) as proxy:
        user = User(proxy.url)
        with capture_logs() as told:
            before = await user.asks_until(failing=True)
            assert "full" in (await user.recorder())["failing"]
            meanwhile = [await user.asks() for _ in range(5)]
            assert [each["event"] for each in told].count("records_failing") == 1

            deleted = (await user.admin.delete("/requests?all=true")).json["deleted"]
            assert deleted > 0
            await until(lambda: proxy.app.recorder.stats.failing is None)
            last = await user.asks()
            assert len(await written(user, last)) > 120_000
            assert [each["event"] for each in told].count("records_written_again") == 1
        # Whatever could be written while the old ones were being deleted went with them.
        kept = [*before, *meanwhile, last][deleted:]
        assert await user.outcomes() == dict.fromkeys(kept, "complete")
    assert intact(tmp_path / STORE)


async def written(user: User, id: str) -> bytes:
    """Its body, once the recorder has come to it."""
    for _ in range(300):
        if body := await user.body_of(id):
            return body
    raise AssertionError("not written")
