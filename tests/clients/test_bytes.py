"""Bytes are sacred: all captured requests of Claude Code, sent raw, reach the upstream as they reached us."""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from companion.simulator import Received, Simulator, replies
from tests.captures import Captured, captured
from tests.support.proxy import KEY, endpoint, running

ALL = tuple(captured())
CARRIED = [pytest.param(each, id=each.name) for each in ALL if each.target.startswith("/v1/")]
# One connection only, or ours to say.
OURS = {"connection", "host", "content-length", "accept-encoding"}
CREDENTIALS = {"authorization", "x-api-key"}


async def send(url: str, request: Captured) -> tuple[int, str]:
    """The request as it was captured, but for its Host; returns the status and the hash of what was written."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = [(name, f"{host}:{port}" if name == "Host" else value) for name, value in request.headers]
    fields = [(name, str(len(request.body)) if name == "Content-Length" else value) for name, value in fields]
    head = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + request.body)
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status, hashlib.sha256(request.body).hexdigest()


async def carried(folder: Path, request: Captured, **changes: Any) -> Received:
    """What the upstream got."""
    async with Simulator() as sim, running(folder, endpoint("only", sim.url, **changes)) as proxy:
        status, digest = await send(proxy.url, request)

        assert status == 200
        (received,) = sim.ledger
        assert received.sha256 == digest
        return received


def others(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """All headers that are neither ours nor credentials, in their order."""
    lowered = ((name.lower(), value) for name, value in headers)
    return [(name, value) for name, value in lowered if name not in OURS | CREDENTIALS]


@pytest.mark.parametrize("request_", CARRIED)
async def test_a_captured_request_arrives_as_it_was_sent(tmp_path: Path, request_: Captured):
    received = await carried(tmp_path, request_)

    headers = [(name.decode(), value.decode()) for name, value in received.headers]
    assert (received.method, received.target) == (request_.method, request_.target)
    assert others(headers) == others(request_.headers)
    assert [value for name, value in headers if name in CREDENTIALS] == [f"{KEY}-only"]


@pytest.mark.parametrize("auth", ["api_key", "auth_token", "none"])
@pytest.mark.parametrize("name", ["hi-1", "api_key-1"])
async def test_the_clients_own_credential_stays_here(tmp_path: Path, name: str, auth: str):
    """Whichever of the two headers it came in, and whichever the endpoint wants."""
    request = next(each for each in ALL if each.name == name)
    values = [] if auth == "none" else ["sk-the-endpoints"]
    received = await carried(tmp_path, request, auth={"type": auth, "values": values})

    sent = {name.lower(): value for name, value in request.headers}
    own = sent.get("authorization") or sent["x-api-key"]
    expected = {
        "api_key": {"x-api-key": "sk-the-endpoints"},
        "auth_token": {"authorization": "Bearer sk-the-endpoints"},
    }
    found = {name: value for name in sorted(CREDENTIALS) if (value := received.header(name)) is not None}
    assert found == expected.get(auth, {})
    assert all(own.removeprefix("Bearer ").encode() not in value for _, value in received.headers)


async def test_a_passthrough_credential_arrives_byte_for_byte(tmp_path: Path):
    for request in (each for each in ALL if each.name in {"hi-1", "api_key-1"}):
        received = await carried(tmp_path, request, auth={"type": "passthrough", "values": []})

        sent = {name.lower(): value for name, value in request.headers}
        assert [received.header(name) for name in sorted(CREDENTIALS)] == [sent.get(n) for n in sorted(CREDENTIALS)]


async def test_a_rewritten_model_changes_no_other_byte(tmp_path: Path):
    """A splice: what stands before and after the name is the client's own."""
    request = next(each for each in ALL if each.name == "tools-4")
    models = {"rewrite": [{"from": "claude-*", "to": "glm-5"}]}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, models=models)) as proxy:
        await send(proxy.url, request)
        (received,) = sim.ledger

    model = json.loads(request.body)["model"]
    assert received.body == request.body.replace(f'"model":"{model}"'.encode(), b'"model":"glm-5"', 1)


async def test_the_same_bytes_are_sent_again_after_a_failure(tmp_path: Path):
    request = next(each for each in ALL if each.name == "image-2")
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.always = replies.status(529)
        _, digest = await send(proxy.url, request)

        assert [received.sha256 for received in (*first.ledger, *second.ledger)] == [digest, digest]


async def test_the_start_up_probe_is_answered_here(tmp_path: Path):
    (probe,) = (each for each in ALL if not each.target.startswith("/v1/"))
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        status, _ = await send(proxy.url, probe)

        assert (probe.method, probe.target, status) == ("HEAD", "/api/hello", 200)
        assert sim.ledger == []


def test_every_capture_is_used():
    assert len(ALL) == len(CARRIED) + 1
    assert sum(each.target.startswith("/v1/messages?") for each in ALL) > 30
    assert sum("count_tokens" in each.target for each in ALL) == 25
