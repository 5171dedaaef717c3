"""A plain HTTP/1.1 client that hides nothing: it tells whether an answer ended properly, and every event in it."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass
class Answer:
    """`whole` is False when the connection ended before the framing said so."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False
    times: list[float] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The data of each event, in order; fails on what Claude Code would not read."""
        found = []
        for frame in self.body.decode().split("\n\n")[:-1]:
            lines = dict(line.partition(": ")[::2] for line in frame.split("\n") if not line.startswith(":"))
            if lines:
                data = json.loads(lines["data"])
                assert lines["event"] == data["type"]
                found.append(data)
        return found

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def text(self) -> str:
        """All text in it, streamed or whole."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            deltas = (event.get("delta", {}) for event in self.events if event["type"] == "content_block_delta")
            return "".join(delta.get("text", "") for delta in deltas)
        return "".join(block.get("text", "") for block in self.json.get("content", []))

    @property
    def error(self) -> dict[str, Any]:
        body: dict[str, Any] = self.json
        assert body["type"] == "error"
        error: dict[str, Any] = body["error"]
        return error


class Connection:
    """One connection; requests go over it one after the other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        await self.send(method, target, headers, body)
        answer = await self.head()
        await self.rest(answer, method)
        return answer

    async def send(self, method: str, target: str, headers: Mapping[str, str] | None, body: bytes) -> None:
        fields = {"Host": f"{self.host}:{self.port}", **(headers or {})}
        if body or method == "POST":
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def head(self) -> Answer:
        first = await self.reader.readline()
        headers: dict[str, str] = {}
        while (line := await self.reader.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Answer(int(first.split()[1]), headers)

    async def rest(self, answer: Answer, method: str = "POST") -> None:
        try:
            if method == "HEAD" or answer.status in {204, 304}:
                answer.whole = True
            elif "content-length" in answer.headers:
                answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
                answer.whole = True
            else:
                await self._chunks(answer)
        except asyncio.IncompleteReadError as error:
            answer.body += error.partial
        except ConnectionError:
            answer.headers["x-test-reset"] = "yes"

    async def _chunks(self, answer: Answer) -> None:
        while line := await self.reader.readline():
            size = int(line, 16)
            if size == 0:
                await self.reader.readline()
                answer.whole = True
                return
            answer.body += await self.reader.readexactly(size)
            answer.times.append(asyncio.get_running_loop().time())
            await self.reader.readexactly(2)


async def ask(
    url: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str | None = None
) -> Answer:
    """One request on a connection of its own; a body that is not bytes is sent as JSON."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    async with Connection(url) as connection:
        return await connection.ask(method or ("POST" if raw else "GET"), target, headers, raw)


CLAUDE_CODE = "claude-cli/2.1.330 (external, sdk-cli)"
OLDER_CLAUDE_CODE = "claude-cli/2.1.197 (external, sdk-cli)"


SESSION = "11111111-2222-4333-8444-555555555500"


async def message(
    url: str, text: str = "hi", *, agent: str | None = CLAUDE_CODE, session: str = SESSION, **fields: Any
) -> Answer:
    """A Messages request, streamed unless `stream=False` is among the fields."""
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 1000,
        "stream": True,
        "tools": [{"name": "Read", "description": "reads", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [{"role": "user", "content": text}],
        **fields,
    }
    headers = {"Content-Type": "application/json", "Authorization": "Bearer the-clients-own"}
    if agent is not None:
        headers |= {"User-Agent": agent, "X-Claude-Code-Session-Id": session}
    return await ask(url, "/v1/messages?beta=true", body, headers)
