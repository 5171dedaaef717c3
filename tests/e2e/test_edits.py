"""Two hundred edits of the configuration under load: live in time, nothing lost or left behind, comments in place."""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from companion.config.file import load
from companion.simulator import Simulator, replies
from tests.admin.client import Admin
from tests.e2e.support import living, until
from tests.support.http import Answer, Connection
from tests.support.proxy import KEY, Proxy, endpoint

BY_API, BY_HAND = 180, 20
CLIENTS = 4
NAMES = ("red", "green", "blue", "grey")
WITHIN = 2.0
BEAT = 0.1


def commented(url: str) -> str:
    """A file in which each endpoint has comments above, beside and within."""
    lines = ["# The file of a user.", "server: {port: 0}  # any", "defaults: {pool: {idle: 100ms}}"]
    lines.append("endpoints:")
    for number, name in enumerate(NAMES, 1):
        lines += [
            f"  # {name} stands here for a reason.",
            f"  - name: {name}  # {name}'s own",
            f"    url: {url}",
            f"    auth: {{type: api_key, values: [{KEY}-{name}]}}  # the key of {name}",
            f"    # {name} is asked in this order",
            f"    priority: {number}",
            f"    weight: 1  # how heavy {name} is",
            "",
        ]
    return "\n".join([*lines, "# The last word.", "gate: {patience: 45s}", ""])


class Heart:
    """Beats ten times a second, and does what the watcher of the file does: sleeps, and looks away into a thread.

    On a machine that is busy with other things, time passes for the watcher as it passes here.
    """

    def __init__(self) -> None:
        self.beats = 0
        self._task = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            await asyncio.to_thread(os.getpid)
            self.beats += 1

    async def within(self, seconds: float, happened: Callable[[], bool]) -> None:
        """Fails unless it happens in so many seconds' worth of beats."""
        last = self.beats + seconds / BEAT
        while not happened():
            assert self.beats <= last, "not live in time"
            await asyncio.sleep(BEAT / 10)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class Load:
    """Clients that ask all the time, each on its own connection; `paused` they keep it, and ask nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._may = asyncio.Event()
        self._over = False
        self._busy = 0
        self.answers = 0
        self.bad: list[Answer] = []
        self._tasks = [asyncio.create_task(self._ask_on(number)) for number in range(CLIENTS)]

    async def pause(self) -> None:
        self._may.clear()
        await until(lambda: self._busy == 0)

    def go_on(self) -> None:
        self._may.set()

    async def stop(self) -> None:
        self._over = True
        self._may.set()
        await asyncio.gather(*self._tasks)

    async def _ask_on(self, number: int) -> None:
        async with Connection(self._url) as connection:
            while not self._over:
                await self._may.wait()
                self._busy += 1
                answer = await asked(connection, slow=number == 0)
                self._busy -= 1
                self.answers += 1
                if answer.status != 200 or not answer.whole or answer.types[-1] != "message_stop":
                    self.bad.append(answer)


async def asked(connection: Connection, *, slow: bool = False) -> Answer:
    """One request; a slow answer outlives some edits."""
    script = b"long deltas=40 pace=10ms" if slow else b"hi"
    body = (
        b'{"model": "claude-opus-5-5", "max_tokens": 9, "stream": true,'
        b' "messages": [{"role": "user", "content": "[[script:%b]]"}]}' % script
    )
    return await connection.ask("POST", "/v1/messages", {"x-api-key": "whatever"}, body)


class Editor:
    """Edits in turn, and looks at once whether each is live."""

    def __init__(self, proxy: Proxy, path: Path, url: str, heart: Heart) -> None:
        self.proxy, self.path, self.url, self.heart = proxy, path, url, heart
        self.admin = Admin(proxy.url)
        self.by_hand = self.by_api = 0

    def setting(self, name: str) -> Any:
        """As it is in force."""
        return next(each for each in self.proxy.app.loaded.settings.endpoints if each.name == name)

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.proxy.app.loaded.settings.endpoints]

    async def hand(self, number: int) -> None:
        """The user's editor: sometimes a new file in place of the old one, sometimes the old one written anew."""
        self.by_hand += 1
        name, weight = NAMES[number % 4], 100 + number
        text = self.path.read_text(encoding="utf-8")
        text, found = re.subn(rf"(name: {name} .*?weight: )[\d.]+", rf"\g<1>{weight}", text, count=1, flags=re.DOTALL)
        assert found == 1
        if number % 2:
            other = self.path.with_suffix(".new")
            other.write_text(text, encoding="utf-8")
            other.replace(self.path)
        else:
            self.path.write_text(text, encoding="utf-8")
        await self.heart.within(WITHIN, lambda: self.setting(name).weight == weight)

    async def api(self, number: int) -> None:
        self.by_api += 1
        ways: tuple[Callable[[int], Awaitable[None]], ...] = (
            *(self.prefers, self.weighs, self.adds, self.copies),
            *(self.deletes_copy, self.reorders, self.deletes, self.sets, self.switches),
        )
        await ways[number % len(ways)](number)

    async def prefers(self, number: int) -> None:
        """The very next request is answered by whoever is first now."""
        order = [NAMES[(number + step) % 4] for step in range(4)]
        changed = await self.admin.put("/endpoint-order", {"groups": [[name] for name in order]})
        assert changed.status == 200, changed.body
        assert self.names == order
        async with Connection(self.proxy.url) as connection:
            answer = await asked(connection)
        assert answer.headers["x-companion-endpoint"] == order[0]

    async def weighs(self, number: int) -> None:
        changed = await self.admin.patch(f"/endpoints/{NAMES[number % 4]}", {"weight": number + 1})
        assert changed.status == 200, changed.body
        assert self.setting(NAMES[number % 4]).weight == number + 1

    async def adds(self, number: int) -> None:
        """In front of all others, so that it is busy when it is taken away again."""
        changed = await self.admin.post("/endpoints", endpoint("extra", self.url, priority=0, models={"default": "m"}))
        assert changed.status == 201, changed.body
        assert "extra" in self.names

    async def copies(self, number: int) -> None:
        changed = await self.admin.post("/endpoints/green/duplicate", {"name": "copy"})
        assert changed.status == 201, changed.body
        assert self.setting("copy").auth == self.setting("green").auth

    async def deletes_copy(self, number: int) -> None:
        assert (await self.admin.delete("/endpoints/copy")).status == 204
        assert "copy" not in self.names

    async def reorders(self, number: int) -> None:
        groups = [["extra"], [NAMES[number % 4], NAMES[(number + 2) % 4]], [NAMES[(number + 1) % 4]]]
        groups += [[NAMES[(number + 3) % 4]]]
        changed = await self.admin.put("/endpoint-order", {"groups": groups})
        assert changed.status == 200, changed.body
        assert self.setting(groups[1][0]).priority == self.setting(groups[1][1]).priority

    async def deletes(self, number: int) -> None:
        assert (await self.admin.delete("/endpoints/extra")).status == 204
        assert "extra" not in self.names

    async def sets(self, number: int) -> None:
        data = (await self.admin.get("/config")).json["data"]
        data["gate"] = {"patience": f"{30 + number}s"}
        changed = await self.admin.put("/config", {"data": data})
        assert changed.status == 200, changed.body
        assert self.proxy.app.loaded.settings.gate.patience == 30 + number

    async def switches(self, number: int) -> None:
        name = NAMES[number % 4]
        changed = await self.admin.patch(f"/endpoints/{name}", {"enabled": not self.setting(name).enabled})
        assert changed.status == 200, changed.body
        changed = await self.admin.patch(f"/endpoints/{name}", {"enabled": None})
        assert self.setting(name).enabled is True


def counted() -> tuple[int, int]:
    """Tasks and descriptors."""
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


async def at_rest() -> tuple[int, int]:
    """The same, once connections that nobody uses are closed."""
    last = None
    while (now := counted()) != last:
        last = now
        await asyncio.sleep(0.4)
    return now


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
async def test_200_edits_under_load(tmp_path: Path):
    path = tmp_path / "config.yaml"
    async with Simulator(keep=50_000) as upstream, living(tmp_path, endpoint("before", upstream.url)) as proxy:
        upstream.always = replies.answer(pace=0.001)
        heart = Heart()
        path.write_text(commented(upstream.url), encoding="utf-8")
        editor, load = Editor(proxy, path, upstream.url, heart), Load(proxy.url)
        await until(lambda: editor.names == [*NAMES])
        load.go_on()
        # What is opened once and kept: threads, the API, its connection to the records, a warm connection each.
        for number in range(9):
            await editor.api(number)
        assert (await editor.admin.get("/requests")).status == 200
        await load.pause()
        await asyncio.sleep(0.9)
        before = counted()
        print("BEFORE", before)
        load.go_on()

        editor.by_api = 0
        for number in range(9, 9 + BY_API + BY_HAND):
            await (editor.hand(number) if number % 10 == 0 else editor.api(number - number // 10))
        await load.pause()
        assert (editor.by_api, editor.by_hand) == (BY_API, BY_HAND)
        after = await at_rest()
        assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
        await load.stop()
        await heart.stop()
        assert load.bad == []
        assert load.answers > 200
        assert sum(entry.path == "/v1/messages" for entry in upstream.ledger) >= load.answers
    comments_are_where_they_were(path)


def comments_are_where_they_were(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# The file of a user.\nserver: {port: 0}  # any\ndefaults: ")
    assert sorted(each.name for each in load(path).settings.endpoints) == sorted(NAMES)
    for name in NAMES:
        own = re.search(
            rf"(?ms)^  # {name} stands here for a reason\.\n  - name: {name}  # {name}'s own\n(.*?)(?=^  - name|\Z)",
            text,
        )
        assert own is not None, text
        assert own[1].count(f"# the key of {name}") == own[1].count(f"# how heavy {name} is") == 1
        assert re.search(rf"    # {name} is asked in this order\n    priority: ", own[1])
    assert text.count("#") == 2 + 1 + 5 * len(NAMES)
    assert "# The last word.\ngate:" in text
