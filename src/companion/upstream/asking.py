"""Questions of our own to an upstream, sent the way a client's would be: probes and tests ask them.

They identify themselves, take no message slot, and are free but for `message`. Many upstreams have no models list, or
answer for it with their website: that is "not there", and says nothing about how they are.
"""

import json
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from companion import __version__
from companion.config.models import EndpointSettings, ModelSettings, Timeouts
from companion.config.secrets import in_query
from companion.errors import Answer, Fault, Kind, Party, Phase, UpstreamError
from companion.net.h1 import Headers
from companion.protocol import wordings
from companion.protocol.errors import classify, classify_error, error_in, redact
from companion.protocol.message import check_message
from companion.protocol.validate import Violated
from companion.upstream.prepare import Question, prepare
from companion.upstream.transport import Outgoing, Response, Transport

MAX_ANSWER: Final = 16 * 1024 * 1024
NOT_THERE: Final = frozenset({404, 405, 501})

Secrets = tuple[str, ...]


class Way(StrEnum):
    """What is asked."""

    MODELS = "models"
    COUNT_TOKENS = "count_tokens"
    MESSAGE = "message"
    CONNECT = "connect"


class Subject(Protocol):
    """Who is asked: a candidate, or one that could become one."""

    @property
    def settings(self) -> EndpointSettings: ...
    @property
    def credential(self) -> str | None: ...
    @property
    def transport(self) -> Transport: ...
    @property
    def timeouts(self) -> Timeouts: ...
    @property
    def validation(self) -> str: ...


class Finding(msgspec.Struct, frozen=True):
    """What came of it. `there` is False where the upstream has no such thing; `said` is a good answer's JSON."""

    status: int | None
    fault: Fault | None
    there: bool = True
    said: Any = None


def asked_for(way: Way, model: str | None, purpose: str) -> Question:
    """The question; `purpose` is part of the user agent. Asking for anything but models needs a model."""
    headers: Headers = [
        (b"accept", b"application/json"),
        (b"user-agent", f"claude-code-companion/{__version__} {purpose}".encode()),
    ]
    if way is Way.MODELS:
        return Question("GET", "/v1/models", b"", headers, b"")
    headers.append((b"content-type", b"application/json"))
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "ping"}]}
    if way is Way.MESSAGE:
        body["max_tokens"] = 1
    path = "/v1/messages/count_tokens" if way is Way.COUNT_TOKENS else "/v1/messages"
    return Question("POST", path, b"", headers, json.dumps(body).encode(), model=model)


def outgoing(question: Question, subject: Subject) -> Outgoing:
    """The request as it goes out. The model in the question is the one that is sent: no rule changes it any more."""
    settings = subject.settings.model_copy(update={"models": ModelSettings(default=question.model)})
    return prepare(question, settings, subject.credential)[0]


async def ask(subject: Subject, way: Way, model: str | None, *, wall: float, purpose: str) -> Finding:
    """Ask over a new connection and wait for the whole answer; how long is the caller's to bound. Raises nothing."""
    try:
        if way is Way.CONNECT:
            await subject.transport.reach(subject.timeouts)
            return Finding(None, None)
        request = outgoing(asked_for(way, model, purpose), subject)
        response = await subject.transport.send(request, subject.timeouts, headers=None, fresh=True)
        try:
            body = await response.read_all(MAX_ANSWER, idle=None)
        finally:
            response.close()
        return judged(way, response, body, wall=wall, model=model, secrets=secrets_of(subject))
    except UpstreamError as error:
        return Finding(None, cleaned(error.fault, secrets_of(subject)))


def judged(way: Way, response: Response, body: bytes, *, wall: float, model: str | None, secrets: Secrets) -> Finding:
    """What a whole answer to one of these questions means."""
    status = response.status
    if not 200 <= status < 300:
        fault = classify(status, response.headers, body, wall=wall, model=model, count_tokens=way is Way.COUNT_TOKENS)
        named = status == 404 and wordings.names(fault.message, model)
        there = way is Way.MESSAGE or named or not (status in NOT_THERE or 300 <= status < 400)
        return Finding(status, cleaned(fault, secrets), there)
    if way is Way.MESSAGE:
        fault_of_it = message_fault(status, response.headers, body)
        return Finding(status, None if fault_of_it is None else cleaned(fault_of_it, secrets))
    said = _json(body)
    field, kind = ("data", list) if way is Way.MODELS else ("input_tokens", int)
    if isinstance(said, dict) and isinstance(said.get(field), kind):
        return Finding(status, None, said=said)
    message = f"the answer has no {field}"
    return Finding(status, Fault(Party.UPSTREAM, Phase.BODY, Kind.NOT_THERE, message, status), there=False)


def message_fault(status: int, headers: Headers, body: bytes) -> Fault | None:
    """What is wrong with a whole answer that should be a message; None where it is one."""
    if not body.strip():
        return Fault(Party.UPSTREAM, Phase.BODY, Kind.EMPTY_BODY, "an empty body", status)
    if body.lstrip()[:1] == b"<":
        return Fault(Party.UPSTREAM, Phase.BODY, Kind.HTML, "a web page instead of an answer", status)
    try:
        check_message(body)
    except Violated as violated:
        told = error_in(body)
        if told is not None:
            return classify_error(*told, answer=Answer(status, tuple(headers), body)).at(Phase.BODY)
        return Fault(Party.UPSTREAM, Phase.BODY, Kind.NOT_A_MESSAGE, str(violated), status)
    return None


def secrets_of(subject: Subject) -> Secrets:
    """What must not be told: the credential, the values of headers that the user sets, and keys in the URL's query."""
    settings = subject.settings
    values = (subject.credential, *settings.headers.set.values(), *in_query(settings.url))
    return tuple(value for value in values if value)


def cleaned(fault: Fault, secrets: Secrets) -> Fault:
    """The fault as it may be told: without the answer, and without any of these, should they have been echoed."""
    type = fault.error_type and redact(fault.error_type, secrets)
    return replace(fault, message=redact(fault.message, secrets), error_type=type, answer=None)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
