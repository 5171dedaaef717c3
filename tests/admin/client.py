"""A client of the admin API: what every request of it needs, and nothing hidden."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from tests.support.http import Answer, Connection, ask

API = "/admin/api"


class Admin:
    """Sends to the API of the proxy at `url`; a body that is not bytes is sent as JSON."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def get(self, path: str) -> Answer:
        return await self.send("GET", path)

    async def post(self, path: str, body: Any = None, *, if_match: str | None = None) -> Answer:
        return await self.send("POST", path, body, if_match)

    async def put(self, path: str, body: Any, *, if_match: str | None = "*") -> Answer:
        return await self.send("PUT", path, body, if_match)

    async def patch(self, path: str, body: Any, *, if_match: str | None = "*") -> Answer:
        return await self.send("PATCH", path, body, if_match)

    async def delete(self, path: str, *, if_match: str | None = "*") -> Answer:
        return await self.send("DELETE", path, None, if_match)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        if_match: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        fields = {"x-companion-csrf": "1", "content-type": "application/json", **(headers or {})}
        if if_match is not None:
            fields["if-match"] = if_match
        return await ask(self.url, API + path, body, fields, method)

    async def endpoint(self, key: str) -> Any:
        answer = await self.get(f"/endpoints/{quote(key, safe='')}")
        assert answer.status == 200, answer.body
        return answer.json


def problem(answer: Answer, status: int, code: str) -> Any:
    """What a problem says, after looking at its form."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json
    assert said["status"] == status
    assert said["detail"]
    assert said["code"] == code, said
    return said


class Stream:
    """A live stream of news, read event by event."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection = connection
        self._waiting = b""
        self.answer = answer
        self.comments = 0
        self.ended = False

    async def frame(self) -> dict[str, str]:
        """The next event's fields; comments are counted."""
        while True:
            while b"\n\n" not in self._waiting:
                await self._more()
            frame, _, self._waiting = self._waiting.partition(b"\n\n")
            lines = frame.decode().split("\n")
            self.comments += sum(line.startswith(":") for line in lines)
            fields = dict(line.partition(": ")[::2] for line in lines if not line.startswith(":"))
            if "event" in fields:
                return fields

    async def rest(self) -> None:
        """Read until it ends."""
        while not self.ended:
            await self._more()

    async def _more(self) -> None:
        size = int(await self._connection.reader.readline() or b"0", 16)
        if size == 0:
            self.ended = True
            raise EOFError
        self._waiting += await self._connection.reader.readexactly(size)
        await self._connection.reader.readexactly(2)


@asynccontextmanager
async def following(url: str, query: str = "", headers: Mapping[str, str] | None = None) -> AsyncIterator[Stream]:
    """Follow the news; what happens after this has begun is heard."""
    async with Connection(url) as connection:
        await connection.send("GET", f"{API}/events{query}", headers, b"")
        stream = Stream(connection, await connection.head())
        await asyncio.wait_for(stream._more(), 5)
        yield stream
