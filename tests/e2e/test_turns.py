"""A conversation that grows to 150 KB, as Claude Code sends it: each turn costs only what is new in it."""

import copy
import json
import random
import re
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from companion.records.queries import Records
from companion.records.views import Part
from companion.simulator import Simulator, replies
from tests.captures import captured
from tests.e2e.support import STORE, living, written
from tests.support.http import ask
from tests.support.proxy import endpoint

TURNS = 30
SIZE = 150_000
_FILLER = re.compile(r"x{20,}")


class Conversation:
    """A captured first request whose fillers are text again, and turns as in the capture: the last marker moves on."""

    def __init__(self) -> None:
        self._random = random.Random(4)
        first = next(each for each in captured() if each.name == "tools-1")
        self.headers = {name: value for name, value in first.headers if name.lower() not in {"host", "content-length"}}
        self._body: dict[str, Any] = json.loads(_FILLER.sub(lambda x: self._text(len(x[0])), first.body.decode()))
        self._each = (SIZE - len(first.body)) // (TURNS - 1) - 700

    def body(self) -> bytes:
        return json.dumps(self._body, ensure_ascii=False, separators=(",", ":")).encode()

    def turn(self, number: int) -> None:
        messages = self._body["messages"]
        for block in (block for message in messages for block in message["content"] if isinstance(block, dict)):
            block.pop("cache_control", None)
        id = f"toolu_{number:020}"
        use = {"type": "tool_use", "id": id, "name": "Bash", "input": {"command": self._text(90)}}
        said = {"type": "text", "text": self._text(200)}
        result = {"tool_use_id": id, "type": "tool_result", "content": self._text(self._each), "is_error": False}
        messages.append({"role": "assistant", "content": [said, use]})
        messages.append({"role": "user", "content": [{**result, "cache_control": {"type": "ephemeral"}}]})

    def _text(self, length: int) -> str:
        """Words, as little alike as those of a listing."""
        letters = "abcdefghijklmnopqrstuvwxyz0123456789    ,.-_/"
        return "".join(self._random.choices(letters, k=length))


def stored(store: Path) -> int:
    """Bytes of all values in all tables."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        total = 0
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            lengths = " + ".join(f"ifnull(length(CAST({column} AS BLOB)), 0)" for column in columns)
            total += connection.execute(f"SELECT ifnull(sum({lengths}), 0) FROM {table}").fetchone()[0]
    return total


async def test_the_30th_turn_of_150_kb_adds_less_than_a_twentieth(tmp_path: Path):
    talk = Conversation()
    sent: dict[str, bytes] = {}
    sizes: list[int] = []
    async with Simulator() as upstream, living(tmp_path, endpoint("only", upstream.url)) as proxy:
        upstream.always = replies.answer("Some words of an answer. " * 20, tools=[("Bash", {"command": "ls"})])
        for number in range(TURNS):
            if number:
                talk.turn(number)
            body = talk.body()
            answer = await ask(proxy.url, "/v1/messages?beta=true", body, talk.headers)
            assert answer.status == 200
            sent[answer.headers["x-request-id"]] = copy.copy(body)
            await written(proxy)
            sizes.append(stored(tmp_path / STORE))

    assert 0.95 * SIZE < len(body) < 1.1 * SIZE
    growth = [after - before for before, after in pairwise(sizes)]
    assert growth[-1] < 0.05 * len(body), growth
    records = Records(tmp_path / STORE)
    for id, body in sent.items():
        for attempt in (0, 1):
            found = records.body(id, Part.REQUEST_BODY, attempt)
            assert found is not None
            assert (found.data, found.missing) == (body, 0)
    records.close()
