"""Two hundred megabytes through a store that may hold fifty: it stays small, and nobody who asks has to wait for it.

Two proxies run side by side, one of which never has to delete, and get the same requests in turn. What the machine does
besides hurts both of them alike.
"""

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from companion.simulator import Simulator, replies
from tests.admin.client import Admin
from tests.cli.process import Serving, endpoint, serving, write_config
from tests.e2e.support import size_of
from tests.support.http import Connection

MIB = 1024 * 1024
BODY = MIB // 2
COUNT = 400
LIMIT = 55 * MIB
_PLAIN = bytes(each for each in range(0x20, 0x7F) if each not in b'"\\')
_TABLE = (_PLAIN * 3)[:256]


@dataclass
class Side:
    """One of the two, and how long it took to the first token of each answer."""

    folder: Path
    served: Serving
    connection: Connection
    times: list[float]

    async def asks(self, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.connection.send("POST", "/v1/messages", {"X-Api-Key": "whatever-key"}, body)
        answer = await self.connection.head()
        first = await self.connection.reader.readexactly(int(await self.connection.reader.readline(), 16) + 2)
        self.times.append(loop.time() - began)
        await self.connection.rest(answer)
        assert answer.status == 200
        assert answer.whole
        assert b"message_start" in first

    async def stats(self) -> dict[str, object]:
        told = (await Admin(self.served.url).get("/status")).json["recorder"]
        assert isinstance(told, dict)
        return told


def body_of(number: int) -> bytes:
    """A request that compresses to no less than four fifths."""
    text = os.urandom(BODY).translate(_TABLE).decode()
    messages = [{"role": "user", "content": f"{number} {text}"}]
    return json.dumps({"model": "claude-opus-5-5", "max_tokens": 9, "stream": True, "messages": messages}).encode()


async def made_small(folder: Path) -> None:
    while size_of(folder) > LIMIT:  # noqa: ASYNC110 - files have no event
        await asyncio.sleep(0.1)


async def test_a_full_store_stays_small_and_nobody_waits_for_it(tmp_path: Path):
    sizes = {"full": "50MiB", "roomy": "5GiB"}
    for name in sizes:
        (tmp_path / name).mkdir()
    async with Simulator(keep=1) as upstream:
        upstream.always = replies.answer("Here it is.")
        for name, size in sizes.items():
            records = {"max_size": size}
            write_config(tmp_path / name, endpoint("it", upstream.url), records=records, logging={"level": "warning"})
        async with (
            serving(tmp_path / "full") as one,
            serving(tmp_path / "roomy") as other,
            Connection(one.url) as to_one,
            Connection(other.url) as to_other,
        ):
            full, roomy = (
                Side(tmp_path / "full", one, to_one, []),
                Side(tmp_path / "roomy", other, to_other, []),
            )
            for number in range(COUNT):
                for side in (full, roomy) if number % 2 else (roomy, full):
                    await side.asks(body_of(number))
            async with asyncio.timeout(30):
                await made_small(full.folder)
            for side in (full, roomy):
                stats = await side.stats()
                assert (stats["bodies_dropped"], stats["rows_lost"], stats["failing"]) == (0, 0, None)
            assert size_of(roomy.folder) > 140 * MIB
            # By now it has deleted for the most part of the time.
            assert median(full.times[COUNT // 4 :]) <= 1.5 * median(roomy.times[COUNT // 4 :])
            page = (await Admin(one.url).get(f"/requests?limit={COUNT}")).json["items"]
            assert len(page) == COUNT
            for row, kept in ((page[0], True), (page[-1], False)):
                answer = await Admin(one.url).get(f"/requests/{row['id']}/request")
                assert (answer.status == 200) is kept
