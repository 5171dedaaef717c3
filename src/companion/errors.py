"""What can go wrong, and whose fault it is.

    CompanionError
    ├── ClientError          the caller's request cannot be served as it is (it gets the status and the field)
    ├── ConfigError          the configuration cannot be used (all problems at once, each with its place)
    └── UpstreamError        carries the Fault of one try against one upstream

A **Fault** is the frozen account of one failed try. Its kind is looked up in FAULTS, the one table that tells what
happens to the request, to the circuit and to the client. Code asks the table; it never switches on a kind itself.
The reference page docs/reference/faults.md is made from the table by `python -m companion.errors`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class CompanionError(Exception):
    """Base of all errors that this program raises on purpose."""


class ClientError(CompanionError):
    """The client's request is at fault: it gets `status` and `type`; `message` names the field and the way out."""

    def __init__(self, status: int, type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.message = message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where (`endpoints[0].url`), the line if known, what, and the way out.

    For programs there are besides: a `code`, its `parameters`, and `path`, the place in its parts.
    """

    place: str
    message: str
    line: int | None = None
    code: str = field(default="unusable", compare=False)
    parameters: Mapping[str, object] = field(default_factory=dict, compare=False)
    path: tuple[str | int, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        where = f"line {self.line}, {self.place}" if self.line is not None and self.place else self.place
        return f"{where}: {self.message}" if where else self.message


class ConfigError(CompanionError):
    """The configuration cannot be used; `problems` lists everything that is wrong with it, not just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Party(StrEnum):
    """Who is to blame."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    OURS = "ours"


class Phase(StrEnum):
    """How far a try had come."""

    CONNECT = "connect"
    TLS = "tls"
    WRITE = "write"
    HEADERS = "headers"
    FIRST_CONTENT = "first content"
    BODY = "body"
    PROTOCOL = "protocol"


class Kind(StrEnum):
    """What happened. The value is the code that records, metrics and the UI show."""

    # the network
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    TLS_TIMEOUT = "tls_timeout"
    WRITE_TIMEOUT = "write_timeout"
    RESET = "reset"
    CLOSED = "closed"
    HEADERS_TIMEOUT = "headers_timeout"
    BAD_HTTP = "bad_http"
    # what the status says
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    PAYMENT = "payment"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_THERE = "not_there"
    TIMEOUT_STATUS = "timeout_status"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    REDIRECT = "redirect"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    # a 200 that is none
    HTML = "html"
    EMPTY_BODY = "empty_body"
    ERROR_IN_200 = "error_in_200"
    REFUSAL_IN_200 = "refusal_in_200"
    NOT_A_STREAM = "not_a_stream"
    NOT_A_MESSAGE = "not_a_message"
    NO_MESSAGE_START = "no_message_start"
    VIOLATION = "violation"
    EMPTY_ANSWER = "empty_answer"
    BAD_ENCODING = "bad_encoding"
    # time
    FIRST_CONTENT_TIMEOUT = "first_content_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    WHOLE_TIMEOUT = "whole_timeout"
    # after it had begun
    CUT = "cut"
    ERROR_EVENT = "error_event"
    # ours, and the client's
    BUSY = "busy"
    UNRESOLVED = "unresolved"
    INTERNAL = "internal"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed try: whom to blame, how far it came, what happened, and what the upstream said.

    `message` is safe to show (credentials removed). `retry_after` is in seconds. `answer` is the upstream's own
    response (status, headers, body), kept only where it may have to be passed on.
    """

    party: Party
    phase: Phase
    kind: Kind
    message: str = ""
    status: int | None = None
    error_type: str | None = None
    retry_after: float | None = None
    model: str | None = None
    answer: "Answer | None" = None

    def at(self, phase: Phase) -> "Fault":
        """The same fault, seen in another phase."""
        return replace(self, phase=phase)


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's complete response, decoded from its content encoding."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class UpstreamError(CompanionError):
    """One try failed; `fault` says all about it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.kind}: {fault.message}")
        self.fault = fault


class OnRequest(StrEnum):
    """What a fault before the gate does to the request."""

    PASS_ON = "pass on"  # noqa: S105  # a verdict, not a password
    NEXT = "next candidate"
    STOP = "stop"


class OnCircuit(StrEnum):
    """What a fault does to the candidate's circuit."""

    NOTHING = "nothing"
    COUNT = "count"
    CREDENTIAL = "open the credential"
    WAIT = "wait until"


class Verdict(StrEnum):
    """What a fault means for the client when nothing else is left to try."""

    ITS_OWN = "the upstream's own answer"
    TEMPORARY = "temporary"
    NO_CREDENTIAL = "no credential works"
    NO_BUDGET = "no budget is left"
    NO_ENDPOINT = "no endpoint"
    NONE = "nobody is there to be told"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the fault table. `test` names the test that fails when the row is missing."""

    request: OnRequest
    circuit: OnCircuit
    verdict: Verdict
    reconnect: bool
    test: str


def _rule(request: OnRequest, circuit: OnCircuit, verdict: Verdict, test: str, *, reconnect: bool = False) -> Rule:
    return Rule(request, circuit, verdict, reconnect, f"tests/proxy/test_faults.py::{test}")


_NEXT, _PASS, _STOP = OnRequest.NEXT, OnRequest.PASS_ON, OnRequest.STOP
_NOTHING, _COUNT, _CREDENTIAL, _WAIT = OnCircuit.NOTHING, OnCircuit.COUNT, OnCircuit.CREDENTIAL, OnCircuit.WAIT
_OWN, _TEMPORARY = Verdict.ITS_OWN, Verdict.TEMPORARY

FAULTS: Mapping[Kind, Rule] = {
    Kind.DNS: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_unknown_host_moves_on"),
    Kind.REFUSED: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_refused_connection_moves_on", reconnect=True),
    Kind.UNREACHABLE: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_unreachable_network_moves_on"),
    Kind.CONNECT_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_silent_connect_moves_on"),
    Kind.TLS: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_bad_certificate_moves_on"),
    Kind.TLS_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_silent_tls_handshake_moves_on"),
    Kind.WRITE_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_upstream_that_does_not_read_moves_on"),
    Kind.RESET: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_reset_moves_on", reconnect=True),
    Kind.CLOSED: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_close_before_headers_moves_on", reconnect=True),
    Kind.HEADERS_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_hang_moves_on"),
    Kind.BAD_HTTP: _rule(_NEXT, _COUNT, _TEMPORARY, "test_bytes_that_are_not_http_move_on", reconnect=True),
    Kind.BAD_REQUEST: _rule(_PASS, _NOTHING, _OWN, "test_a_400_passes_through_unmodified"),
    Kind.UNAUTHORIZED: _rule(_NEXT, _CREDENTIAL, Verdict.NO_CREDENTIAL, "test_a_401_moves_on"),
    Kind.PAYMENT: _rule(_NEXT, _CREDENTIAL, Verdict.NO_BUDGET, "test_a_402_moves_on"),
    Kind.FORBIDDEN: _rule(_NEXT, _NOTHING, Verdict.NO_CREDENTIAL, "test_a_403_moves_on"),
    Kind.NOT_FOUND: _rule(_NEXT, _NOTHING, _OWN, "test_a_404_moves_on"),
    Kind.NOT_THERE: _rule(_NEXT, _NOTHING, Verdict.NO_ENDPOINT, "test_count_tokens_that_is_not_there_moves_on"),
    Kind.TIMEOUT_STATUS: _rule(_NEXT, _NOTHING, _TEMPORARY, "test_a_408_moves_on"),
    Kind.CONFLICT: _rule(_NEXT, _NOTHING, _TEMPORARY, "test_a_409_moves_on"),
    Kind.TOO_LARGE: _rule(_NEXT, _NOTHING, _OWN, "test_a_413_moves_on"),
    Kind.RATE_LIMITED: _rule(_NEXT, _WAIT, _TEMPORARY, "test_a_429_moves_on"),
    Kind.REDIRECT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_redirect_moves_on"),
    Kind.SERVER_ERROR: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_500_moves_on"),
    Kind.BAD_GATEWAY: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_502_moves_on", reconnect=True),
    Kind.UNAVAILABLE: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_503_moves_on", reconnect=True),
    Kind.OVERLOADED: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_529_moves_on", reconnect=True),
    Kind.HTML: _rule(_NEXT, _COUNT, _TEMPORARY, "test_html_moves_on", reconnect=True),
    Kind.EMPTY_BODY: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_empty_body_moves_on", reconnect=True),
    Kind.ERROR_IN_200: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_error_with_200_moves_on", reconnect=True),
    Kind.REFUSAL_IN_200: _rule(_NEXT, _NOTHING, _OWN, "test_a_refusal_with_200_moves_on"),
    Kind.NOT_A_STREAM: _rule(_NEXT, _COUNT, _TEMPORARY, "test_json_for_a_stream_moves_on", reconnect=True),
    Kind.NOT_A_MESSAGE: _rule(_NEXT, _COUNT, _TEMPORARY, "test_json_that_is_no_message_moves_on", reconnect=True),
    Kind.NO_MESSAGE_START: _rule(_NEXT, _COUNT, _TEMPORARY, "test_no_message_start_moves_on", reconnect=True),
    Kind.VIOLATION: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_broken_event_moves_on", reconnect=True),
    Kind.EMPTY_ANSWER: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_empty_answer_moves_on", reconnect=True),
    Kind.BAD_ENCODING: _rule(
        _NEXT, _COUNT, _TEMPORARY, "test_an_answer_that_does_not_decompress_moves_on", reconnect=True
    ),
    Kind.FIRST_CONTENT_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_late_first_content_moves_on"),
    Kind.IDLE_TIMEOUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_silence_before_content_moves_on"),
    Kind.WHOLE_TIMEOUT: _rule(_STOP, _COUNT, _TEMPORARY, "test_a_whole_answer_has_one_deadline"),
    Kind.CUT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_a_cut_before_content_moves_on", reconnect=True),
    Kind.ERROR_EVENT: _rule(_NEXT, _COUNT, _TEMPORARY, "test_an_error_event_in_mid_stream_counts"),
    Kind.BUSY: _rule(_NEXT, _NOTHING, _TEMPORARY, "test_an_endpoint_without_a_free_slot_moves_on"),
    Kind.UNRESOLVED: _rule(_NEXT, _NOTHING, Verdict.NO_CREDENTIAL, "test_an_unresolved_secret_moves_on"),
    Kind.INTERNAL: _rule(_STOP, _NOTHING, _TEMPORARY, "test_our_own_mistake_is_a_500_and_blames_us"),
    Kind.CANCELLED: _rule(_STOP, _NOTHING, Verdict.NONE, "test_a_client_that_leaves_hurts_nobody"),
}


_MEANING: Mapping[str, str] = {
    OnRequest.PASS_ON: "passes on",
    OnRequest.NEXT: "next candidate",
    OnRequest.STOP: "ends",
    OnCircuit.NOTHING: "nothing",
    OnCircuit.COUNT: "counts",
    OnCircuit.CREDENTIAL: "the credential opens",
    OnCircuit.WAIT: "waits until told",
}


def reference() -> str:
    """docs/reference/faults.md."""
    rows = (
        f"| `{kind}` | {_MEANING[rule.request]} | {'yes' if rule.reconnect else 'no'} | {_MEANING[rule.circuit]} "
        f"| {rule.verdict} |"
        for kind, rule in FAULTS.items()
    )
    return "\n".join((_INTRODUCTION, *rows)) + "\n"


_INTRODUCTION = """\
# Faults

This page is made from the program by `python -m companion.errors`.

Every try that fails is one of these. The code is what the log shows as `fault`. *The request*: `passes on` gives the
upstream's own answer to the client; `next candidate` asks the next key or endpoint, and the client notices nothing.
*Asked again*: where it is the only endpoint, it is tried twice more on fresh connections, 0.5 to 2 s apart. *Its
health*: `counts` is a fault that can open the circuit ([health](health.md)). *If all failed*: what the client is told
when no other candidate has answered: `temporary` is a 529, with `retry-after` where the time is known; the three
hopeless ones are 401, 429 and 503 with `x-should-retry: false`, and a sentence that names each endpoint and why it
failed.

| fault | the request | asked again | its health | if all failed |
| --- | --- | --- | --- | --- |"""


if __name__ == "__main__":
    print(reference(), end="")
