"""A short streamed message of our own, asked and read to its end, with a verdict on every event."""

import asyncio
import json
from typing import Any, Final

import msgspec

from companion import __version__
from companion.clock import Clock
from companion.config.models import Timeouts
from companion.errors import Answer, Fault, Kind, Party, Phase, UpstreamError
from companion.protocol import sse
from companion.protocol.errors import classify, classify_error, error_in
from companion.protocol.validate import Cut, Stream, Violated
from companion.upstream.asking import Secrets, Subject, cleaned, secrets_of
from companion.upstream.prepare import Question
from companion.upstream.transport import Outgoing, Response

MAX_STREAM: Final = 4 * 1024 * 1024
MAX_REFUSAL: Final = 1024 * 1024
_TOOL: Final = {
    "name": "report",
    "description": "Report one word.",
    "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}


class Heard(msgspec.Struct, frozen=True):
    """What came: `violations` count by name, `tools` are the names of those that were called with readable input."""

    events: int = 0
    violations: dict[str, int] = {}
    tools: tuple[str, ...] = ()
    fault: Fault | None = None


def message(model: str) -> Question:
    """The shortest message there is."""
    return _question(model, "Say OK.", max_tokens=2)


def toolcall(model: str, *, forced: bool) -> Question:
    """A message that is to be answered by calling a tool; `forced` says so in the protocol's words, too."""
    more = {"tool_choice": {"type": "any"}} if forced else {}
    return _question(model, "Call the tool report with the word OK.", max_tokens=256, tools=[_TOOL], **more)


def _question(model: str, text: str, **more: Any) -> Question:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True, **more}
    headers = [
        (b"accept", b"application/json"),
        (b"content-type", b"application/json"),
        (b"user-agent", f"claude-code-companion/{__version__} test".encode()),
    ]
    return Question("POST", "/v1/messages", b"", headers, json.dumps(body).encode(), model, stream=True)


async def head(subject: Subject, outgoing: Outgoing, model: str | None, clock: Clock) -> Response | Fault:
    """The answer from its head on; or why there is none."""
    timeouts, secrets = subject.timeouts, secrets_of(subject)
    try:
        response = await subject.transport.send(outgoing, timeouts, headers=timeouts.headers, fresh=True)
        if 200 <= response.status < 300:
            return response
        body = await _refusal(response, timeouts)
    except UpstreamError as error:
        return cleaned(error.fault, secrets)
    return cleaned(classify(response.status, response.headers, body, wall=clock.wall(), model=model), secrets)


async def _refusal(response: Response, timeouts: Timeouts) -> bytes:
    try:
        async with asyncio.timeout(timeouts.idle_gate):
            return await response.read_all(MAX_REFUSAL, idle=timeouts.idle_gate)
    except TimeoutError:
        return b""
    finally:
        response.close()


async def listen(response: Response, timeouts: Timeouts, validation: str, secrets: Secrets) -> Heard:
    """Read a streamed answer to its end and judge it. Raises nothing."""
    try:
        async with asyncio.timeout(timeouts.headers + timeouts.idle_gate):
            body = await response.read_all(MAX_STREAM, idle=timeouts.idle_gate)
    except TimeoutError:
        message = f"no end within {timeouts.headers + timeouts.idle_gate:g} s"
        return Heard(fault=Fault(Party.UPSTREAM, Phase.BODY, Kind.IDLE_TIMEOUT, message, response.status))
    except UpstreamError as error:
        return Heard(fault=cleaned(error.fault, secrets))
    finally:
        response.close()
    heard = _no_stream(response, body) or _judged(body, validation, response.status)
    return heard if heard.fault is None else msgspec.structs.replace(heard, fault=cleaned(heard.fault, secrets))


def _no_stream(response: Response, body: bytes) -> Heard | None:
    """What came instead of a stream, if it was one thing and whole."""
    first, status = body.lstrip()[:1], response.status
    if not first:
        return Heard(fault=Fault(Party.UPSTREAM, Phase.BODY, Kind.EMPTY_BODY, "an empty body", status))
    if first == b"<":
        return Heard(fault=Fault(Party.UPSTREAM, Phase.BODY, Kind.HTML, "a web page instead of an answer", status))
    if first not in {b"{", b"["}:
        return None
    told = error_in(body)
    if told is not None:
        return Heard(fault=classify_error(*told, answer=Answer(status, tuple(response.headers), body)))
    said = "one JSON body instead of a stream"
    return Heard(fault=Fault(Party.UPSTREAM, Phase.BODY, Kind.NOT_A_STREAM, said, status))


def _judged(body: bytes, mode: str, status: int) -> Heard:
    stream, decoder = Stream(mode), sse.Decoder()
    fault: Fault | None = None
    frames: list[sse.Frame] = []
    out = b""
    try:
        frames = decoder.feed(body + b"\n\n") if not body.endswith(b"\n\n") else decoder.feed(body)
        out = stream.feed(frames, b"")
        out += stream.end()
    except Violated as violated:
        kind = violated.kind if stream.started else Kind.NO_MESSAGE_START
        fault = Fault(Party.UPSTREAM, Phase.BODY, kind, str(violated), status)
    except Cut as cut:
        fault = Fault(Party.UPSTREAM, Phase.BODY, Kind.CUT, str(cut), status)
    if fault is None and stream.empty:
        fault = Fault(Party.UPSTREAM, Phase.BODY, Kind.EMPTY_ANSWER, "an answer without content", status)
    events = sum(bool(frame.data) for frame in frames)
    return Heard(events, {str(name): count for name, count in stream.violations.items()}, _tools(out), fault)


def _tools(out: bytes) -> tuple[str, ...]:
    """The tools that a valid stream calls. That their input parses was the validator's business."""
    starts = (json.loads(frame.data) for frame in sse.Decoder().feed(out) if frame.event == b"content_block_start")
    blocks = (start["content_block"] for start in starts)
    return tuple(str(block.get("name")) for block in blocks if block.get("type") == "tool_use")
