"""What a test of an endpoint tells, step by step: codes with parameters, and our own sentence for each code.

A step that failed because the upstream did has the kind of its fault as its code. No key is in any of it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from companion.errors import Fault, Kind

Parameter = str | int | float | bool | None | list[str] | dict[str, int]


class StepName(StrEnum):
    """The steps, in their order. `models` and `count_tokens` are extras that an upstream may lack."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    MODELS = "models"
    COUNT_TOKENS = "count_tokens"
    AUTH = "auth"
    FIRST_BYTE = "first_byte"
    STREAM = "stream"
    VALID = "valid"
    TOOL_CALL = "tool_call"


class StepState(StrEnum):
    """`note`: worth knowing, and no reason not to use the endpoint. `skipped`: not needed, or not come to."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOTE = "note"


class Step(msgspec.Struct, frozen=True):
    """One step. `seconds` is how long it took, None where that says nothing."""

    name: StepName
    state: StepState
    code: str
    parameters: dict[str, Parameter] = {}
    seconds: float | None = None

    def text(self) -> str:
        """In an English sentence."""
        template = SENTENCES.get(self.code, _OF_A_FAULT)
        words = {name: _word(value) for name, value in self.parameters.items()}
        sentence = template.format(**{"kind": self.code.replace("_", " "), "said": "", "status": "", **words})
        return " ".join(sentence.split())


# Parameters of each code are those in its sentence, and `status` and `said` of a fault.
SENTENCES: Final[Mapping[str, str]] = {
    "looked_up": "the name has an address",
    "no_lookup": "no name to look up",
    "connected": "connected to {peer}",
    "plain_http": "not encrypted: the URL begins with http://",
    "secured": "{version}, certificate for {subject}, valid for {days} more days",
    "expires_soon": "{version}; the certificate for {subject} expires in {days} days",
    "listed": "{count} models are listed",
    "model_not_listed": "{count} models are listed, and {model} is none of them",
    "not_offered": "the upstream does not offer this; requests do not need it",
    "counted": "tokens can be counted",
    "accepted": "the key is accepted, sent as {sent_as}",
    "no_key": "no key is sent, and none is asked for",
    "own_key": "the key is the client's own (auth.type passthrough), so nothing more can be tested without one",
    "key_unresolved": "there is no key: {problem}",
    "key_refused": "the key is refused, sent as {sent_as} ({status}: {said})",
    "works_as": "the key is refused as {sent_as}, but works as {type}: set auth.type to {type}",
    "works_neither_way": "the key is refused in both ways, as auth_token and as api_key ({status}: {said})",
    "unclear": "no verdict about the key: the request failed for another reason",
    "answered": "the answer begins, asked for {model} ({status})",
    "streamed": "{events} events; this message was real and is billed",
    "valid": "a valid stream",
    "repaired": "not quite the protocol, and repaired on the way: {violations}",
    "violations": "not the protocol: {violations}",
    "tool_used": "the tool was called with readable input; this message was real and is billed",
    "no_tool_use": "no tool was called, though one was offered and asked for",
    "not_reached": "not tested",
}
_OF_A_FAULT: Final = "{kind}: {status} {said}"


def failed(name: StepName, fault: Fault, seconds: float | None = None, state: StepState = StepState.FAILED) -> Step:
    """The step that met this fault, whose message is clean already."""
    return Step(name, state, fault.kind.value, told(fault), rounded(seconds))


def told(fault: Fault) -> dict[str, Parameter]:
    """Status and wording of a fault, as far as there are."""
    parameters: dict[str, Parameter] = {} if fault.status is None else {"status": fault.status}
    return {**parameters, "said": fault.message} if fault.message else parameters


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _word(value: Parameter) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else str(value)


FOR_THE_KEY: Final = frozenset({Kind.UNAUTHORIZED, Kind.PAYMENT, Kind.FORBIDDEN})
"""Faults that are a verdict about the credential."""
