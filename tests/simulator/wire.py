"""A client that shows the simulator's bytes: the head as it came, the chunks one by one, and how it ended."""

import asyncio
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from companion.simulator import Simulator

MESSAGES = "/v1/messages?beta=true"
LONG_ENOUGH = 5.0
SILENCE = 0.2


@dataclass
class Wire:
    """`end` is how the answer ended: last chunk, length, fin, rst, or silence."""

    raw: bytes = b""
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    body: bytes = b""
    end: str = ""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def frames(self) -> list[bytes]:
        return [frame for frame in self.body.split(b"\n\n") if frame]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What a strict client reads: an event line and one data line of the same type."""
        found = []
        for frame in self.frames:
            event, data = frame.decode().split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert event == f"event: {found[-1]['type']}"
        return found

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


def body(text: str = "say hi", *, stream: bool = True, **fields: Any) -> dict[str, Any]:
    return {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "stream": stream,
        "messages": [{"role": "user", "content": text}],
        **fields,
    }


async def ask(
    sim: Simulator,
    given: object = None,
    *,
    method: str = "POST",
    target: str = MESSAGES,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Wire:
    """One request on its own connection, which the simulator is asked to close afterwards."""
    data = given if isinstance(given, bytes) else b"" if given is None else json.dumps(given).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port, ssl=tls)
    try:
        writer.write(request(sim, data, method, target, {"connection": "close", **(headers or {})}))
        return await read(reader)
    finally:
        writer.close()


def request(sim: Simulator, data: bytes, method: str, target: str, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": f"127.0.0.1:{sim.port}", "Content-Length": str(len(data)), **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def read(reader: asyncio.StreamReader) -> Wire:
    """Read until the connection ends or is silent."""
    wire = Wire()
    while not wire.end:
        try:
            async with asyncio.timeout(LONG_ENOUGH if not wire.raw else SILENCE):
                piece = await reader.read(65536)
        except TimeoutError:
            wire.end = "silence"
        except ConnectionResetError:
            wire.end = "rst"
        else:
            wire.raw += piece
            wire.end = "" if piece else "fin"
    _parse(wire)
    return wire


def _parse(wire: Wire) -> None:
    head, _, rest = wire.raw.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return
    first, *fields = head.decode("latin-1").split("\r\n")
    wire.status = int(first.split()[1])
    wire.headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in fields)]
    wire.body = rest
    if wire.header("transfer-encoding") == "chunked":
        wire.chunks, whole = _chunks(rest)
        wire.body = b"".join(wire.chunks)
        wire.end = "last chunk" if whole else wire.end
    elif (length := wire.header("content-length")) is not None and len(rest) == int(length):
        wire.end = "length"


def _chunks(data: bytes) -> tuple[list[bytes], bool]:
    chunks: list[bytes] = []
    while data:
        size, _, data = data.partition(b"\r\n")
        if size == b"0":
            return chunks, data == b"\r\n"
        if not all(digit in b"0123456789abcdef" for digit in size):
            break
        length = int(size, 16)
        chunks.append(data[:length])
        assert data[length : length + 2] == b"\r\n"
        data = data[length + 2 :]
    return chunks, False


def results(message: Mapping[str, Any], say: Mapping[str, Sequence[Any]] | None = None) -> dict[str, Any]:
    """The user message that a client sends back for the tool calls of an answer."""
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    return {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": call["id"],
                "content": (say or {}).get(call["name"], f"result of {call['input'].get('command', call['name'])}"),
            }
            for call in calls
        ],
    }
