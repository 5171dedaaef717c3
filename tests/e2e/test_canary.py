"""Canaries: every credential there is, echoed by upstreams in every way, is nowhere to be found afterwards."""

import asyncio
import io
import json
import sqlite3
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

from companion.clients.tokens import digest
from companion.protocol.errors import MAX_MESSAGE
from companion.simulator import Simulator
from companion.simulator.exchange import JSON, SSE, Exchange, Reply
from companion.simulator.messages import dumps, sse
from tests.admin.client import API, Admin
from tests.cli.process import COMMAND, Serving, companion, endpoint, serving, started, write_config
from tests.e2e.support import STORE, blobs, files, until
from tests.support.http import SESSION, Answer, Connection, ask
from tests.support.proxies import HttpProxy

WRITTEN = ["sk-written-canary-one-0123456789", 'sk-written-"canary"/two+98\\76']
TOKENS = ["sk-environment-canary-55512345", "sk-from-a-file-canary-77712345"]
PROXIED = ["sk-behind-a-proxy-canary-1-4441", "sk-behind-a-proxy-canary-2-4442"]
HEADERS = ["header-secret-canary-3331234", "literal-token-canary-22212345"]
PROXY_PASSWORD = "proxy/pass@canary:1119876"
CLIENT = "ccc_client-canary-token-000123456789abcdef"
LOGIN = "sk-ant-oat01-login-canary-9998887776"
COOKIE = "session-cookie-canary-888777"
SECRETS = (*WRITTEN, *TOKENS, *PROXIED, *HEADERS, PROXY_PASSWORD, CLIENT, LOGIN, COOKIE)
PAIR = b64encode(f"ann:{PROXY_PASSWORD}".encode()).decode()

ENDS = ("written", "named", "proxied", "own")
WAYS = ("whole", "stream", "error in stream", "500", "400", "count", "other path", "401")
EXPOSED = {"authorization", "x-api-key", "x-secret", "x-upstream-token", "cookie", "proxy-authorization"}


def needles() -> list[bytes]:
    """Each secret, with its first and last part missing too, in the ways that JSON and URLs write it."""
    found: set[str] = {PAIR}
    for secret in SECRETS:
        for part in (secret, secret[:-5], secret[5:]):
            found |= {part, json.dumps(part)[1:-1], quote(part, safe=""), quote(part)}
    return [each.encode() for each in found]


NEEDLES = needles()


def clean(what: str, data: bytes | str) -> None:
    raw = data if isinstance(data, bytes) else data.encode()
    for needle in NEEDLES:
        at = raw.find(needle)
        assert at < 0, f"{needle!r} is in {what}: {raw[max(0, at - 200) : at + 100]!r}"


# === upstreams that say what they were told


@dataclass
class Echo:
    """An upstream that sends back each credential it gets, in the way that is chosen."""

    way: str = "whole"
    got: set[str] = field(default_factory=set)

    @property
    def reply(self) -> Reply:
        return Reply("echo", self._play)

    async def _play(self, exchange: Exchange) -> None:
        told = [
            value.decode("latin-1") for name, value in exchange.received.headers if name.decode("latin-1") in EXPOSED
        ]
        self.got |= set(told)
        said = " ".join(["echo:", *told, exchange.received.target])
        more = (("x-echo", said), ("set-cookie", f"echo={told[0] if told else 0}"), ("request-id", said[:200]))
        if self.way.isdecimal():
            kind = {"401": "authentication_error", "400": "invalid_request_error"}.get(self.way, "api_error")
            message = f"bad {said}" if self.way != "500" else _torn(told)
            body = dumps({"type": "error", "error": {"type": kind, "message": message}})
            await exchange.give(int(self.way), body, more=more)
        elif exchange.received.stream:
            await self._stream(exchange, said, more)
        elif exchange.received.path == "/v1/messages":
            await exchange.give(200, dumps(_message([{"type": "text", "text": said}], "end_turn")), more=more)
        else:
            await exchange.give(200, dumps({"input_tokens": 5, "data": [], "said": said}), JSON, more)

    async def _stream(self, exchange: Exchange, said: str, more: tuple[tuple[str, str], ...]) -> None:
        """In pieces of eleven bytes, each a chunk and a packet of its own."""
        start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in (said, f"again, {said}")
        ]
        error = {"type": "error", "error": {"type": "api_error", "message": f"bad {said}"}}
        end: list[dict[str, Any]] = [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ]
        first = {"type": "message_start", "message": _message([], None)}
        events = [first, start, *deltas, *([error] if self.way == "error in stream" else end)]
        stream = b"".join(map(sse, events))
        exchange.wire.head(200, exchange.head_fields(200, SSE, more))
        for at in range(0, len(stream), 11):
            await exchange.wire.write(stream[at : at + 11])
            await asyncio.sleep(0)
        await exchange.wire.end()


def _torn(told: list[str]) -> str:
    """So long that whoever cuts it off for people to read cuts into a secret."""
    secret = next((each for each in told if each in HEADERS), told[-1])
    return "bad " + "y" * (MAX_MESSAGE - len(secret) - 1) + secret + " and more"


def _message(content: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


# === the world


class Reading:
    """What comes from somewhere, read as it comes."""

    def __init__(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        self._stream = stream
        self._pieces: list[bytes] = []
        self._task = asyncio.create_task(self._read())

    @property
    def text(self) -> str:
        return b"".join(self._pieces).decode()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.over()

    async def over(self, seconds: float = 0.0) -> str:
        """Wait for its end, but not longer than that; all that has come."""
        await asyncio.wait([self._task], timeout=seconds)
        self._task.cancel()
        await asyncio.wait([self._task])
        return self.text

    async def _read(self) -> None:
        while piece := await self._stream.read(65536):
            self._pieces.append(piece)


class World:
    """A process that serves, its echoing upstreams, and all that was read from it so far."""

    def __init__(self, folder: Path, served: Serving, echoes: dict[str, Echo]) -> None:
        self.folder, self.served, self.echoes = folder, served, echoes
        self.admin = Admin(served.url)
        self.log = ""
        self.ids: list[str] = []

    async def asks(self, end: str, way: str, stream: bool) -> Answer:
        """The endpoint `end` is the first that answers; those before it are overloaded, and say why."""
        for name, echo in self.echoes.items():
            echo.way = "529" if ENDS.index(name) < ENDS.index(end) else way
        path = {"count": "/v1/messages/count_tokens", "other path": f"/v1/files?key={LOGIN}"}.get(way, "/v1/messages")
        headers = {
            "authorization": f"Bearer {LOGIN}",
            "x-api-key": CLIENT,
            "cookie": f"a={COOKIE}; b=2",
            "x-claude-code-session-id": SESSION,
            "user-agent": f"test {LOGIN}",
            "x-note": CLIENT,
        }
        prompt = f"My keys are {' '.join(SECRETS)} {'x' * 3000}"
        body = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": prompt}]}
        answer = await ask(self.served.url, path, {**body, "stream": stream}, headers)
        self.ids.append(answer.headers["x-request-id"])
        await self.forgives()
        return answer

    async def forgives(self) -> None:
        for name in ENDS:
            assert (await self.admin.post(f"/endpoints/{name}/reset")).status in {200, 204}


@asynccontextmanager
async def world(folder: Path, form: str) -> AsyncIterator[World]:
    (folder / "key.txt").write_text(TOKENS[1] + "\n", encoding="utf-8")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(HttpProxy(user="ann", password=PROXY_PASSWORD))
        echoes = {name: Echo() for name in ENDS}
        urls = {}
        for name, echo in echoes.items():
            simulator = await stack.enter_async_context(Simulator())
            simulator.queue(echo.reply, times=None, match=lambda _: True)
            urls[name] = simulator.url
        auth: dict[str, Any] = {
            "written": {"type": "api_key", "values": WRITTEN},
            "named": {"type": "auth_token", "values": ["${CANARY_TOKEN}", "file:key.txt"]},
            "proxied": {"type": "api_key", "values": PROXIED},
            "own": {"type": "passthrough"},
        }
        ends = [
            endpoint(name, urls[name], auth=auth[name], priority=number, proxy="none")
            for number, name in enumerate(ENDS, 1)
        ]
        ends[2]["proxy"] = proxy.url
        ends[1]["headers"] = {"set": {"x-secret": "${CANARY_HEADER}", "x-upstream-token": HEADERS[1]}}
        write_config(
            folder, *ends,
            access={"clients": [{"name": "ann", "token_hash": digest(CLIENT)}]},
            health={"open": "50ms", "open_max": "100ms", "probe": {"interval": "50ms"}},
            logging={"format": form, "level": "debug"},
        )  # fmt: skip
        environ = {"CANARY_TOKEN": TOKENS[0], "CANARY_HEADER": HEADERS[0]}
        served = await stack.enter_async_context(serving(folder, **environ))
        made = World(folder, served, echoes)
        log = Reading(served.process.stderr)
        try:
            yield made
        finally:
            served.process.terminate()
            made.log = await log.over(20)


@pytest.mark.parametrize("form", ["text", "json"])
async def test_no_canary_is_anywhere_afterwards(tmp_path: Path, form: str):
    follow = (*COMMAND, "logs", "--follow", "--json", "--limit", "1000")
    async with world(tmp_path, form) as it, Connection(it.served.url) as live, Reading(live.reader) as heard:
        await live.send("GET", f"{API}/events", None, b"")
        await until(lambda: "so far all is quiet" in heard.text)
        async with started(*follow, cwd=tmp_path) as tail, Reading(tail.stdout) as followed:
            for end, way in product(ENDS, WAYS):
                for stream in (True,) if way in {"stream", "error in stream"} else (False,):
                    await it.asks(end, way, stream)
            echoed = " ".join(each for echo in it.echoes.values() for each in echo.got)
            for secret in set(SECRETS) - {PROXY_PASSWORD, CLIENT, COOKIE}:
                assert secret in echoed, f"{secret} was never sent upstream, so nothing is tested"
            await has_written(it)
            await tries_and_edits(it)
            for what, data in [pair async for pair in everything_in_the_api(it)]:
                clean(what, data)
            shows = (["logs", "show", id, "--bodies"] for id in it.ids[::7])
            lists = (["status"], ["status", "--json"], ["logs", "--json"], ["logs"], ["check"], ["client", "list"])
            for arguments in (*lists, *shows):
                environ = {"CANARY_TOKEN": TOKENS[0], "CANARY_HEADER": HEADERS[0]}
                address = ["--url", it.served.url] if arguments[0] == "status" else []
                ended = await companion(*arguments, *address, cwd=tmp_path, stdin=b"", **environ)
                assert ended.code == 0, ended.err
                assert len(ended.out) > 10
                clean(str(arguments), ended.out + ended.err)
            clean("the store's files", b"\n".join(file.read_bytes() for file in files(tmp_path)))
            await until(lambda: heard.text.count("event: exchange_settled") == len(it.ids))
            await until(lambda: all(id in followed.text for id in it.ids))
            clean("the live stream", await heard.over())
            clean("--follow", await followed.over())
    clean("the log", it.log)
    assert all(id in it.log for id in it.ids)
    for what, data in in_the_store(tmp_path):
        clean(what, data)


async def has_written(it: World) -> None:
    async with asyncio.timeout(30):
        while True:
            page = (await it.admin.get("/requests?limit=1000")).json["items"]
            if {each["id"] for each in page if each["outcome"] is not None} >= set(it.ids):
                return
            await asyncio.sleep(0.05)


async def tries_and_edits(it: World) -> None:
    """Tests of endpoints echo as well, and edits leave versions of the file behind."""
    for echo, way in zip(it.echoes.values(), ("whole", "401", "500", "400"), strict=True):
        echo.way = way
    for name in ENDS:
        clean(f"test of {name}", (await it.admin.post(f"/endpoints/{name}/test", {})).body)
        settings = (await it.admin.endpoint(name))["settings"]
        clean(f"test of a draft of {name}", (await it.admin.post("/endpoint-test", {"settings": settings})).body)
        for weight in (2, 3):
            changed = await it.admin.patch(f"/endpoints/{name}", {"weight": weight})
            assert changed.status == 200, changed.body
            clean("the answer to a change", changed.body)
    shown = (await it.admin.get("/config")).json
    for draft in ({"data": shown["data"] | {"validation": "strict"}}, {"text": shown["text"] + "\n"}):
        for path in ("/config/preview", "/config/validate"):
            clean(path, (await it.admin.post(path, draft)).body)
    broken = shown["text"].replace("api_key", "api-key", 1)
    clean("a rejected change", (await it.admin.put("/config", {"text": broken})).body)
    backups = list((it.folder / ".companion-backups").glob("*.yaml"))
    assert len(backups) == 2 * len(ENDS)
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in backups)
    assert any(WRITTEN[0].encode() in file.read_bytes() for file in backups)


async def everything_in_the_api(it: World) -> AsyncIterator[tuple[str, bytes]]:
    """The answer of every GET that the description of the API knows, for all that there is."""
    document = (await it.admin.get("/openapi.json")).json
    versions = [each["id"] for each in (await it.admin.get("/config/history")).json["items"]]
    assert len(versions) == 2 * len(ENDS)
    parts = ["request_headers", "request", "response_headers", "response"]
    tries = max(each["attempts"] for each in (await it.admin.get("/requests?limit=1000")).json["items"])
    known = {"endpoint": list(ENDS), "version": versions, "id": it.ids, "part": parts}
    seen = 0
    for path, operations in document["paths"].items():
        if "get" not in operations or path == "/events":
            continue
        asked = {each["name"]: each for each in operations["get"].get("parameters", ())}
        names = [name for name, each in asked.items() if each["in"] == "path"]
        attempts = range(tries + 1) if "attempt" in asked else (None,)
        for values in product(*(known[name] for name in names)):
            target = path.format(**dict(zip(names, values, strict=True)))
            for attempt in attempts:
                at = target if attempt is None else f"{target}?attempt={attempt}"
                answer = await it.admin.get(at)
                assert answer.status == 200 or attempt is not None, (at, answer.body)
                yield at, repr(answer.headers).encode() + answer.body
                seen += 1
                if answer.headers["content-type"] == "application/zip":
                    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                        assert len(archive.namelist()) > 3 * len(it.ids)
                        for name in archive.namelist():
                            yield f"{at} {name}", archive.read(name)
    assert seen > 20 * len(it.ids)
    yield "the page", (await ask(it.served.url, "/admin/")).body


def in_the_store(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The bytes of every file, every blob decompressed, and every other value, whole."""
    for file in files(folder):
        yield file.name, file.read_bytes()
    stored = list(blobs(folder / STORE))
    assert len(stored) > 100
    yield "a blob", b"\n".join(stored)
    with closing(sqlite3.connect(folder / STORE)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            yield table, repr(rows).encode()
            yield table, b"\n".join(value for row in rows for value in row if isinstance(value, bytes))
