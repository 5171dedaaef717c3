"""kill -9 of the whole proxy under load: the store opens, what was over is there, what ran is marked."""

import asyncio
import hashlib
import json
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from companion.records.queries import Records
from companion.records.store import ENDED_WITHOUT_US
from companion.records.views import Part
from companion.simulator import Simulator
from tests.cli.process import endpoint, serving, write_config
from tests.e2e.support import STORE, intact, rows, until
from tests.support.http import Connection

ROUNDS = 5
CLIENTS = 6
# How old what is lost may be: a batch, and as much again for a machine that is busy with other things.
LOST = 1.0


@dataclass
class Told:
    """What the clients know: when each exchange was over, what was sent, and which ones had begun to answer."""

    over: dict[str, tuple[float, bytes, bytes]] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)


async def load(url: str, told: Told, mix: random.Random) -> None:
    """Ask until nobody is there any more; one answer in five takes its time."""
    now = asyncio.get_running_loop().time
    with suppress(OSError, asyncio.IncompleteReadError, IndexError):
        async with Connection(url) as connection:
            while True:
                script = "long deltas=300 pace=10ms" if mix.random() < 0.2 else "hi"
                content = f"[[script:{script}]] {mix.randbytes(mix.choice((50, 500, 9000))).hex()}"
                messages = [{"role": "user", "content": content}]
                body = json.dumps({"model": "claude-opus-5-5", "max_tokens": 9, "stream": True, "messages": messages})
                await connection.send("POST", "/v1/messages", {"x-api-key": "whatever-key"}, body.encode())
                answer = await connection.head()
                id = answer.headers["x-request-id"]
                told.begun[id] = now()
                await connection.rest(answer)
                if not answer.whole:
                    return
                told.over[id] = (now(), body.encode(), answer.body)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
async def test_a_kill_at_any_moment_loses_at_most_the_last_batch(tmp_path: Path):
    mix = random.Random(8)
    store = tmp_path / STORE
    marked: set[str] = set()
    async with Simulator(keep=1) as upstream:
        write_config(tmp_path, endpoint("it", upstream.url), logging={"level": "warning"})
        for _ in range(ROUNDS):
            told = Told()
            async with serving(tmp_path) as served:
                clients = [asyncio.create_task(load(served.url, told, mix)) for _ in range(CLIENTS)]
                await enough(told, LOST + 0.3 + mix.random())
                served.process.kill()
                killed = asyncio.get_running_loop().time()
                await asyncio.gather(*clients)
                await served.process.wait()
            marked |= await asyncio.to_thread(check, store, told, killed, marked)
    assert len(marked) > ROUNDS
    Records(store).close()


async def enough(told: Told, seconds: float) -> None:
    """Under load for that long, and then some exchanges are over."""
    now = asyncio.get_running_loop().time
    ends = now() + seconds
    await until(lambda: now() >= ends and len(told.over) >= 20)


def check(store: Path, told: Told, killed: float, before: set[str]) -> set[str]:
    """Returns what was under way, and will be marked when the store is opened again."""
    assert intact(store)
    found = {row["id"]: row for row in rows(store, "exchanges")}
    assert all(found[id]["outcome"] == "truncated" and found[id]["note"] == ENDED_WITHOUT_US for id in before)
    records = Records(store)
    certain = [id for id, (at, _, _) in told.over.items() if at < killed - LOST]
    assert certain
    for id in certain:
        assert found[id]["outcome"] == "complete", found[id]
        for part, data in ((Part.REQUEST_BODY, told.over[id][1]), (Part.RESPONSE_BODY, told.over[id][2])):
            kept = records.body(id, part)
            assert kept is not None
            assert hashlib.sha256(kept.data).digest() == hashlib.sha256(data).digest()
    records.close()
    running = [id for id, at in told.begun.items() if at < killed - LOST and id not in told.over]
    assert all(found[id]["outcome"] is None for id in running)
    return {id for id in told.begun if id in found and found[id]["outcome"] is None}
