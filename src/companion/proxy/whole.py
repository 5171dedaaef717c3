"""Whole answers: read to the end, checked, and only then given to the client. One deadline holds for all of it."""

from math import inf
from typing import Final

import msgspec

from companion.errors import Answer, Fault, Kind, Party, Phase, UpstreamError
from companion.protocol.message import check_message, set_model
from companion.protocol.validate import Violated
from companion.proxy.attempt import Attempt
from companion.proxy.exchange import Exchange, Outcome
from companion.proxy.failed import Refusal
from companion.proxy.headers import passed
from companion.proxy.port import respond
from companion.proxy.sniff import Nature, html_fault, json_fault, nature
from companion.upstream.transport import Response

MAX_ANSWER: Final = 64 * 1024 * 1024
# An enum's member costs a call of Python code each time it is looked up by name: these are in everybody's way.
_HTML: Final = Nature.HTML
_NOTHING: Final = Nature.NOTHING


class WholeSurface:
    """POST /v1/messages without `stream`."""

    slot = True
    reconnects = True
    streams = False
    count_tokens = False
    any_status = False
    repeatable = True
    patience = inf

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._answer: Answer
        self._repaired = False

    async def open(self, attempt: Attempt, response: Response) -> None:
        body = await response.read_all(MAX_ANSWER, idle=None)
        response.close()
        seen = nature(body[:512])
        if seen is _HTML:
            raise html_fault(response.status, Phase.BODY)
        if seen is _NOTHING:
            raise UpstreamError(Fault(Party.UPSTREAM, Phase.BODY, Kind.EMPTY_BODY, "an empty body", response.status))
        self._answer = Answer(response.status, tuple(response.headers), self._checked(attempt, response, body))
        attempt.first_content = attempt.clock.monotonic()

    def _checked(self, attempt: Attempt, response: Response, body: bytes) -> bytes:
        exchange = self._exchange
        try:
            message = check_message(body, attempt.candidate.validation)
        except Violated as violated:
            status, headers = response.status, response.headers
            raise json_fault(Kind.NOT_A_MESSAGE, str(violated), status, headers, body, Phase.BODY) from None
        exchange.usage, exchange.violations = message.usage, tuple(message.violations)
        exchange.stop_reason = message.stop_reason
        self._repaired = message.repaired
        body = message.body
        if exchange.model_sent != exchange.facts.model and exchange.facts.model is not None:
            body = set_model(body, exchange.facts.model)
        if message.empty:
            whole = Answer(response.status, tuple(response.headers), body)
            fault = Fault(Party.UPSTREAM, Phase.BODY, Kind.EMPTY_ANSWER, "an answer without content", 200, answer=whole)
            raise UpstreamError(fault)
        return body

    async def relay(self, attempt: Attempt) -> None:
        exchange, answer = self._exchange, self._answer
        exchange.release()
        if self._repaired and exchange.outcome is Outcome.COMPLETE:
            exchange.outcome = Outcome.REPAIRED
        exchange.status = answer.status
        headers = passed(answer.headers, limits=attempt.limits)
        respond(exchange.port, answer.status, [*headers, *exchange.own_headers()], answer.body)

    def instead(self) -> Refusal | None:
        return None

    def close(self) -> None:
        """Nothing outlives the answer."""


class CountSurface(WholeSurface):
    """POST /v1/messages/count_tokens: cheap, in bursts of 25, and nobody is blamed for not having it."""

    slot = False
    reconnects = False
    count_tokens = True

    def _checked(self, attempt: Attempt, response: Response, body: bytes) -> bytes:
        if not _counts(body):
            message = "no input_tokens in the answer"
            raise json_fault(Kind.NOT_THERE, message, response.status, response.headers, body, Phase.BODY)
        return body


class _Count(msgspec.Struct):
    input_tokens: int


def _counts(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=_Count)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True
