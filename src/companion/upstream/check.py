"""A test of one endpoint with one credential, step by step, the way live traffic would go.

    reach            dns, connect, tls       a connection of its own
    models           what there is to ask for (free)
    count_tokens     whether it is there (free)
    message          auth, first_byte        a real streamed message: the user asked for this test, so it may cost
    answer           stream, valid
    tool             tool_call               a second message, with a tiny tool

Nothing of it touches circuits, slots or counters: what is tested may not even be saved yet. A key that is refused is
tried in the other header, too, since vendors differ in which one they take.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final

from companion.clock import Clock
from companion.config import proxies
from companion.config.file import Loaded
from companion.config.models import AuthSettings, EndpointSettings, Settings
from companion.config.secrets import Credential
from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.events import Events
from companion.net.origin import Origin
from companion.upstream.asking import Finding, Subject, Way, ask, cleaned, secrets_of
from companion.upstream.certificates import days_left, subject_of
from companion.upstream.endpoint import Endpoints
from companion.upstream.listening import Heard, head, listen, message, toolcall
from companion.upstream.prepare import model_for, prepare
from companion.upstream.steps import FOR_THE_KEY, Parameter, Step, StepName, StepState, failed, rounded, told
from companion.upstream.transport import Response

DEFAULT_MODEL: Final = "claude-haiku-4-5"
SOON: Final = 14  # days before a certificate's end at which it is worth a word
_SENT_AS: Final = {"api_key": "x-api-key", "auth_token": "authorization", "none": "nothing"}
_OTHER: Final = {"api_key": "auth_token", "auth_token": "api_key"}

_Part = Callable[[], Awaitable[list[Step]]]


async def check(
    subject: Subject, clock: Clock, *, model: str | None = None, problem: str | None = None
) -> AsyncGenerator[Step, None]:
    """Every step, each as soon as it is known. `model` is what a client would ask for; without one, a listed one.

    `problem` says why there is no key where there should be one. Each step has the endpoint's own timeouts. Closing the
    iterator ends what is under way. Raises nothing.
    """
    run = _Check(subject, clock, model, problem)
    try:
        for part in run.parts():
            for step in await part():
                run.told.add(step.name)
                yield step
            if run.over:
                break
    finally:
        run.close()
    for name in StepName:
        if name not in run.told:
            yield Step(name, StepState.SKIPPED, "not_reached")


@asynccontextmanager
async def apart(loaded: Loaded, clock: Clock) -> AsyncIterator[Endpoints]:
    """A registry of its own, for settings that are not in force; its connections are closed at the end."""
    endpoints = Endpoints(clock, Events())
    endpoints.apply(loaded)
    try:
        yield endpoints
    finally:
        await endpoints.aclose()


def draft(loaded: Loaded, endpoint: EndpointSettings, credential: str | None) -> Loaded:
    """`loaded` with nothing but this endpoint and this credential, for `apart`. May read files: call it in a thread."""
    settings = Settings.model_validate({**dict(loaded.settings), "endpoints": (endpoint,)})
    way = proxies.resolved(settings.proxy_of(endpoint), loaded.path.parent)
    return Loaded(loaded.path, settings, {endpoint.id: (Credential("", credential),)}, {endpoint.id: way})


class _Check:
    """What is known so far. `over` once nothing further can be learnt."""

    def __init__(self, subject: Subject, clock: Clock, model: str | None, problem: str | None) -> None:
        self.told: set[StepName] = set()
        self.over = False
        self._subject = subject
        self._clock = clock
        self._model = model
        self._problem = problem
        self._response: Response | None = None
        self._began = 0.0

    def parts(self) -> tuple[_Part, ...]:
        return self.reach, self.models, self.count_tokens, self.message, self.answer, self.tool

    def close(self) -> None:
        if self._response is not None:
            self._response.close()

    # === the way there

    async def reach(self) -> list[Step]:
        began, transport = self._clock.monotonic(), self._subject.transport
        try:
            reached = await transport.reach(self._subject.timeouts)
        except UpstreamError as error:
            self.over = True
            fault = cleaned(error.fault, secrets_of(self._subject))
            return _not_reached(transport.origin, fault, self._clock.monotonic() - began)
        times = reached.timings
        looked_up = StepState.SKIPPED if times.dns is None else StepState.OK
        return [
            Step(StepName.DNS, looked_up, "no_lookup" if times.dns is None else "looked_up", {}, rounded(times.dns)),
            Step(StepName.CONNECT, StepState.OK, "connected", {"peer": reached.peer}, rounded(times.connect)),
            self._tls(reached.tls, reached.certificate, times.tls),
        ]

    def _tls(self, version: str | None, certificate: dict[str, Any], seconds: float | None) -> Step:
        if version is None:
            return Step(StepName.TLS, StepState.SKIPPED, "plain_http")
        days = days_left(certificate, self._clock.wall())
        parameters: dict[str, Parameter] = {
            "version": version,
            "subject": subject_of(certificate),
            "expires": certificate.get("notAfter"),
            "days": days,
        }
        soon = days is not None and days < SOON
        state, code = (StepState.NOTE, "expires_soon") if soon else (StepState.OK, "secured")
        return Step(StepName.TLS, state, code, parameters, rounded(seconds))

    # === what is there

    async def models(self) -> list[Step]:
        if self._subject.settings.auth.type == "passthrough":
            self.over = True
            return [Step(StepName.AUTH, StepState.SKIPPED, "own_key")]
        if self._problem is not None:
            self.over = True
            return [Step(StepName.AUTH, StepState.FAILED, "key_unresolved", {"problem": self._problem})]
        began = self._clock.monotonic()
        finding = await self._ask(Way.MODELS, None)
        seconds = self._clock.monotonic() - began
        if finding.fault is not None:
            return [_extra(StepName.MODELS, finding, seconds)]
        names = _names(finding.said)
        sent = self._sent()
        if self._model is None and self._subject.settings.models.default is None and names:
            self._model = next((name for name in names if "haiku" in name), names[0])
            sent = self._sent()
        listed = sent in names or not names
        parameters: dict[str, Parameter] = {"count": len(names), "model": sent}
        state, code = (StepState.OK, "listed") if listed else (StepState.NOTE, "model_not_listed")
        return [Step(StepName.MODELS, state, code, parameters, rounded(seconds))]

    async def count_tokens(self) -> list[Step]:
        began = self._clock.monotonic()
        finding = await self._ask(Way.COUNT_TOKENS, self._sent())
        seconds = self._clock.monotonic() - began
        if finding.fault is not None:
            return [_extra(StepName.COUNT_TOKENS, finding, seconds)]
        return [Step(StepName.COUNT_TOKENS, StepState.OK, "counted", {}, rounded(seconds))]

    async def _ask(self, way: Way, model: str | None) -> Finding:
        limit = self._subject.timeouts.headers
        try:
            async with asyncio.timeout(limit):
                return await ask(self._subject, way, model, wall=self._clock.wall(), purpose="test")
        except TimeoutError:
            said = f"no answer within {limit:g} s (timeouts.headers)"
            return Finding(None, Fault(Party.UPSTREAM, Phase.HEADERS, Kind.HEADERS_TIMEOUT, said))

    # === a message

    async def message(self) -> list[Step]:
        asked = message(self._asked())
        outgoing, sent = prepare(asked, self._subject.settings, self._subject.credential)
        self._began = self._clock.monotonic()
        opened = await head(self._subject, outgoing, sent, self._clock)
        seconds = self._clock.monotonic() - self._began
        if isinstance(opened, Fault):
            self.over = True
            return await self._without_answer(opened, seconds)
        self._response = opened
        parameters: dict[str, Parameter] = {"status": opened.status, "model": sent}
        return [
            self._accepted(),
            Step(StepName.FIRST_BYTE, StepState.OK, "answered", parameters, rounded(_waited(opened, self._began))),
        ]

    async def answer(self) -> list[Step]:
        heard = await self._listen()
        seconds = self._clock.monotonic() - self._began
        if heard.fault is not None:
            self.over = True
            return [failed(StepName.STREAM, heard.fault, seconds), *_violations(heard)]
        streamed: dict[str, Parameter] = {"events": heard.events, "billed": True}
        return [
            Step(StepName.STREAM, StepState.OK, "streamed", streamed, rounded(seconds)),
            *(_violations(heard) or [Step(StepName.VALID, StepState.OK, "valid")]),
        ]

    async def tool(self) -> list[Step]:
        began = self._clock.monotonic()
        for forced in (True, False):
            asked = toolcall(self._asked(), forced=forced)
            outgoing, sent = prepare(asked, self._subject.settings, self._subject.credential)
            opened = await head(self._subject, outgoing, sent, self._clock)
            # Thinking models refuse to be told that they must use a tool.
            if not isinstance(opened, Fault) or opened.kind is not Kind.BAD_REQUEST:
                break
        if isinstance(opened, Fault):
            return [failed(StepName.TOOL_CALL, opened, self._clock.monotonic() - began)]
        self._response = opened
        heard = await self._listen()
        seconds = self._clock.monotonic() - began
        if heard.fault is not None:
            return [failed(StepName.TOOL_CALL, heard.fault, seconds)]
        state, code = (StepState.OK, "tool_used") if heard.tools else (StepState.FAILED, "no_tool_use")
        return [Step(StepName.TOOL_CALL, state, code, {"billed": True}, rounded(seconds))]

    async def _listen(self) -> Heard:
        assert self._response is not None
        subject = self._subject
        return await listen(self._response, subject.timeouts, subject.validation, secrets_of(subject))

    def _asked(self) -> str:
        """What a client would ask for."""
        settings = self._subject.settings
        return self._model or settings.probe.model or DEFAULT_MODEL

    def _sent(self) -> str | None:
        return model_for(self._subject.settings.models, self._asked())

    # === the key

    def _accepted(self) -> Step:
        sent_as = _SENT_AS[self._subject.settings.auth.type]
        code = "accepted" if self._subject.credential is not None else "no_key"
        return Step(StepName.AUTH, StepState.OK, code, {"sent_as": sent_as})

    async def _without_answer(self, fault: Fault, seconds: float) -> list[Step]:
        if fault.kind is Kind.UNAUTHORIZED:
            return await self._refused(fault)
        if fault.kind in FOR_THE_KEY:
            return [failed(StepName.AUTH, fault)]
        unclear = Step(StepName.AUTH, StepState.NOTE, "unclear")
        return [unclear, failed(StepName.FIRST_BYTE, fault, seconds)]

    async def _refused(self, fault: Fault) -> list[Step]:
        """The key in its own header, and then in the other one."""
        auth = self._subject.settings.auth
        parameters: dict[str, Parameter] = {"sent_as": _SENT_AS[auth.type], **told(fault)}
        refused = [Step(StepName.AUTH, StepState.FAILED, "key_refused", parameters)]
        other = _OTHER.get(auth.type)
        if other is None or self._subject.credential is None:
            return refused
        settings = self._subject.settings.model_copy(
            update={"auth": AuthSettings.model_construct(type=other, values=auth.values)}
        )
        outgoing, sent = prepare(message(self._asked()), settings, self._subject.credential)
        opened = await head(self._subject, outgoing, sent, self._clock)
        if not isinstance(opened, Fault):
            opened.close()
            works: dict[str, Parameter] = {"sent_as": _SENT_AS[auth.type], "type": other, "billed": True}
            return [*refused, Step(StepName.AUTH, StepState.FAILED, "works_as", works)]
        if opened.kind is Kind.UNAUTHORIZED:
            return [*refused, Step(StepName.AUTH, StepState.FAILED, "works_neither_way", told(opened))]
        return refused


def _waited(response: Response, began: float) -> float:
    """Seconds to the head of an answer, without those that its connection took."""
    times = response.timings
    connecting = sum(seconds for seconds in (times.dns, times.connect, times.tls) if seconds is not None)
    return max(0.0, response.first_byte - began - connecting)


def _not_reached(origin: Origin, fault: Fault, seconds: float) -> list[Step]:
    """The steps up to the one that failed."""
    if fault.kind is Kind.DNS:
        return [failed(StepName.DNS, fault, seconds)]
    named = not is_address(origin.host)
    found = Step(StepName.DNS, *((StepState.OK, "looked_up") if named else (StepState.SKIPPED, "no_lookup")))
    if fault.phase is not Phase.TLS:
        return [found, failed(StepName.CONNECT, fault, seconds)]
    connected = Step(StepName.CONNECT, StepState.OK, "connected", {"peer": str(origin)})
    return [found, connected, failed(StepName.TLS, fault, seconds)]


def is_address(host: str) -> bool:
    """Whether a host is a literal address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _extra(name: StepName, finding: Finding, seconds: float) -> Step:
    """A step that may fail without harm."""
    if not finding.there or finding.fault is None:
        return Step(name, StepState.NOTE, "not_offered", {"status": finding.status}, rounded(seconds))
    return failed(name, finding.fault, seconds, StepState.NOTE)


def _names(said: Any) -> list[str]:
    return [str(each["id"]) for each in said["data"] if isinstance(each, dict) and "id" in each]


def _violations(heard: Heard) -> list[Step]:
    if not heard.violations:
        return []
    state, code = (StepState.NOTE, "repaired") if heard.fault is None else (StepState.FAILED, "violations")
    return [Step(StepName.VALID, state, code, {"violations": heard.violations})]
