"""Tests of an endpoint, saved or not, step by step: name, connection, TLS, models, key, first byte, stream, tool call.

With `Accept: application/x-ndjson` each step is a line, sent as soon as it is known; else they come together. A test
asks for real messages, which the upstream bills.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from companion.admin.drafts import drafted
from companion.admin.editing import Data, Editing, Seen
from companion.admin.endpoints import Key, Shown, found, identity
from companion.admin.ports import Ports
from companion.admin.problems import ApiError, declared, unusable
from companion.admin.typed import ELSEWHERE, EndpointData, TestResult, TestStep, resource
from companion.config.file import Loaded
from companion.config.secrets import Credential
from companion.errors import ConfigError
from companion.records.mask import Mask, encoded
from companion.upstream.check import apart, check, draft
from companion.upstream.endpoint import Candidate
from companion.upstream.steps import Step, StepState
from companion.upstream.views import CandidateKey

LINES: Final = "application/x-ndjson"

Accept = Annotated[str, Header(max_length=1000)]

_RESULT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {"schema": {ELSEWHERE: "TestResult"}},
            LINES: {"schema": {"type": "string", "contentSchema": {ELSEWHERE: "TestStep"}}},
        }
    }
}


class TestOptions(BaseModel):
    """`model` is what a client would ask for (null: one that is listed), `credential` counts from 0."""

    model: str | None = Field(default=None, min_length=1, max_length=200)
    credential: int = Field(default=0, ge=0, le=1000)


class DraftTest(TestOptions):
    """An endpoint as it might be written. Masked secrets are those of the one with the same id or name."""

    settings: EndpointData


def router(ports: Ports, editing: Editing) -> APIRouter:
    """The resource."""
    api = resource("endpoints")
    shown = Shown(ports)

    @api.post("/endpoints/{endpoint:path}/test", responses=_RESULT | declared(404, 409), response_class=Response)
    async def test_endpoint(key: Key, options: TestOptions | None = None, accept: Accept = "*/*") -> Response:
        """Test an endpoint that is in force."""
        options = options or TestOptions()
        id = shown.one(await asyncio.to_thread(editing.read), key).id
        try:
            candidate = ports.endpoints.candidate(CandidateKey(id, options.credential))
            credential = ports.loaded().credentials[id][options.credential]
        except (KeyError, IndexError):
            raise _no_credential() from None
        return await _answer(accept, _steps(ports, candidate, credential, options.model), ports.loaded())

    @api.post("/endpoint-test", responses=_RESULT | declared(409), response_class=Response)
    async def test_draft(body: DraftTest, accept: Accept = "*/*") -> Response:
        """Test an endpoint that is not saved. Nothing is changed."""
        loaded, index = await asyncio.to_thread(lambda: _drafted(ports, editing.read(), body.settings))
        settings = loaded.settings.endpoints[index]
        credentials = loaded.credentials[settings.id]
        if body.credential >= len(credentials):
            raise _no_credential()
        credential = credentials[body.credential]
        alone = await asyncio.to_thread(draft, loaded, settings, credential.value)
        return await _answer(accept, _steps_apart(ports, alone, credential, body.model), loaded)

    return api


def _drafted(ports: Ports, seen: Seen, settings: Data) -> tuple[Loaded, int]:
    """The configuration with the draft in it, and where. Raises ApiError."""
    entries = [*seen.endpoints]
    try:
        index = found(seen, identity(settings))
        entries[index] = settings
    except ApiError:
        index = len(entries)
        entries.append(settings)
    try:
        return drafted(seen, seen.data | {"endpoints": entries}, ports.loaded().path), index
    except ConfigError as error:
        raise unusable(error, ("endpoints", index), ("settings",)) from None


async def _steps_apart(
    ports: Ports, loaded: Loaded, credential: Credential, model: str | None
) -> AsyncGenerator[TestStep, None]:
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(apart(loaded, ports.clock))
        candidate = endpoints.candidate(CandidateKey(loaded.settings.endpoints[0].id, 0))
        steps = await stack.enter_async_context(aclosing(_steps(ports, candidate, credential, model)))
        async for step in steps:
            yield step


async def _steps(
    ports: Ports, candidate: Candidate, credential: Credential, model: str | None
) -> AsyncGenerator[TestStep, None]:
    async with aclosing(check(candidate, ports.clock, model=model, problem=credential.problem)) as steps:
        async for step in steps:
            yield _told(step)


async def _answer(accept: str, steps: AsyncGenerator[TestStep, None], loaded: Loaded) -> Response:
    """An upstream may say anything, also what it was never sent: every secret there is is masked."""
    mask = Mask(encoded(loaded.secrets))
    if LINES in accept:
        return StreamingResponse(_lines(steps, mask), media_type=LINES)
    async with aclosing(steps):
        all = [step async for step in steps]
    ok = not any(step.state is StepState.FAILED for step in all)
    return Response(mask.bytes(msgspec.json.encode(TestResult(ok, tuple(all)))), media_type="application/json")


async def _lines(steps: AsyncGenerator[TestStep, None], mask: Mask) -> AsyncIterator[bytes]:
    async with aclosing(steps):
        async for step in steps:
            yield mask.bytes(msgspec.json.encode(step)) + b"\n"


def _told(step: Step) -> TestStep:
    return TestStep(step.name, step.state, step.code, step.parameters, step.seconds, sentence=step.text())


def _no_credential() -> ApiError:
    return ApiError(404, "no_such_credential", "This endpoint has no credential of that number.")
