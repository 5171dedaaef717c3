"""What readers get: an exchange as lists show it, and all about one."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from companion.events import Why


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault as it was recorded; the names are those of errors.Fault."""

    party: str
    phase: str
    kind: str
    message: str
    error_type: str | None


class ExchangeView(msgspec.Struct, frozen=True, gc=False):
    """One exchange, metadata only: the columns of its row. `outcome` is None while it is under way.

    `started` and `ended` are seconds since the Unix epoch, the other times seconds since the start. It is a struct
    because a page is fifty of them, and making a frozen dataclass of so many fields takes twenty times as long.
    """

    id: str
    started: float
    ended: float | None
    method: str
    path: str
    query: str | None
    model: str | None
    model_sent: str | None
    stream: bool | None
    client: str | None
    session: str | None
    agent: str | None
    parent_agent: str | None
    labels: tuple[str, ...]
    peer: str | None
    user_agent: str | None
    outcome: str | None
    note: str | None
    status: int | None
    endpoint: str | None
    credential: int | None
    attempts: int | None
    first_byte: float | None
    first_content: float | None
    seconds: float | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_5m_tokens: int | None
    cache_1h_tokens: int | None
    reasoning_tokens: int | None
    stop_reason: str | None
    fault: FaultView | None
    violations: tuple[str, ...]
    repairs: tuple[str, ...]
    request_bytes: int | None
    response_bytes: int | None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try. `started`, `first_byte`, `first_content` and `ended` count from the exchange's start.

    The steps of its connection (`waited` to `write`) are seconds each, None where they were not needed.
    """

    number: int
    endpoint: str
    credential: int
    reason: str | None
    model: str | None
    url: str | None
    started: float | None
    reused: bool | None
    waited: float | None
    dns: float | None
    connect: float | None
    tls: float | None
    write: float | None
    first_byte: float | None
    first_content: float | None
    ended: float | None
    status: int | None
    fault: FaultView | None
    request_id: str | None
    violations: tuple[str, ...]
    repairs: tuple[str, ...]
    sent_bytes: int | None
    received_bytes: int | None


@dataclass(frozen=True, slots=True)
class PlanView:
    """What the plan said about one candidate."""

    endpoint: str
    credential: int
    chosen: bool
    reason: str
    why: tuple[Why, ...] = ()


class Part(StrEnum):
    """What of an exchange or a try can be had as bytes."""

    REQUEST_HEADERS = "request_headers"
    REQUEST_BODY = "request"
    RESPONSE_HEADERS = "response_headers"
    RESPONSE_BODY = "response"


@dataclass(frozen=True, slots=True)
class ContentView:
    """What was kept: attempt 0 is the client's side. `missing` bytes of `size` were dropped."""

    attempt: int
    part: Part
    size: int
    missing: int
    same_as: int | None


@dataclass(frozen=True, slots=True)
class Detail:
    """All about one exchange but its bodies, whose sizes `contents` tells. Headers by attempt and part."""

    exchange: ExchangeView
    attempts: tuple[AttemptView, ...]
    plan: tuple[PlanView, ...]
    contents: tuple[ContentView, ...]
    headers: dict[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one part; `missing` of them were dropped."""

    data: bytes
    missing: int


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event of a stream and when it was complete, in seconds since the exchange began."""

    at: float
    event: str | None
    data: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some exchanges, newest first. `next` is the key of what is older, `previous` of what is newer; None: no more."""

    items: tuple[ExchangeView, ...]
    next: str | None
    previous: str | None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which exchanges: all that is given must hold. `outcomes`: one of these; `running` ones have none yet.

    `failed` are those that hurt a client. `since` and `until` are seconds since the Unix epoch, `id` is a prefix.
    """

    endpoint: str | None = None
    model: str | None = None
    session: str | None = None
    client: str | None = None
    outcomes: tuple[str, ...] = ()
    status: int | None = None
    failed: bool = False
    running: bool = False
    since: float | None = None
    until: float | None = None
    id: str | None = None
