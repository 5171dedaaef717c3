"""News inside the process: frozen, typed, published where they happen, heard by whoever subscribed in app.py.

Publishing is synchronous and cheap; a subscriber that fails is logged once per event and never hurts the publisher.
Times are seconds of `Clock.monotonic()` unless a field says otherwise.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from companion.errors import Fault

_log = structlog.get_logger("companion.events")


Fields = Sequence[tuple[bytes, bytes]]
"""Headers as they are on the wire, credentials included: whoever keeps them takes those out first."""


class ExchangeStarted(msgspec.Struct, frozen=True):
    """A request was read whole and is on its way. `id` is the exchange id (ULID), the client's x-request-id.

    `client` is the name that its token stands for, None while everybody is let in. `body` is as it came.
    """

    id: str
    at: float
    method: str
    path: str
    model: str | None
    stream: bool
    session: str | None
    query: bytes = b""
    headers: Fields = ()
    body: bytes = b""
    peer: str = ""
    client: str | None = None
    agent: str | None = None
    parent_agent: str | None = None
    labels: tuple[str, ...] = ()


class Why(msgspec.Struct, frozen=True):
    """One reason of a plan, for whoever uses words of his own."""

    code: str
    parameters: Mapping[str, Any] = {}
    scope: str = "endpoint"


class Consideration(msgspec.Struct, frozen=True):
    """One line of a plan: a candidate, whether it may be asked, and why: in English, and in codes."""

    endpoint: str
    credential: int
    chosen: bool
    reason: str
    why: tuple[Why, ...] = ()


class ExchangePlanned(msgspec.Struct, frozen=True):
    """Who is to be asked for an exchange, in this order, and who is not."""

    exchange: str
    at: float
    considered: tuple[Consideration, ...]


class AttemptStarted(msgspec.Struct, frozen=True):
    """One try against one candidate begins; `number` counts from 1 within the exchange.

    `model` is what is asked for, `url`, `headers` and `body` (in splices) what is sent; `repairs` were made before.
    """

    exchange: str
    number: int
    at: float
    endpoint: str
    credential: int
    model: str | None
    url: str = ""
    headers: Fields = ()
    body: tuple[bytes, ...] = ()
    repairs: tuple[str, ...] = ()


class Timings(msgspec.Struct, frozen=True):
    """How the connection of one try came about; seconds each, None for a step that was not needed."""

    reused: bool = False
    waited: float | None = None
    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    write: float | None = None


class AttemptEnded(msgspec.Struct, frozen=True):
    """One try is over: `fault` is None when it answered. `first_byte` and `first_content` are None if never reached."""

    exchange: str
    number: int
    at: float
    endpoint: str
    credential: int
    status: int | None
    fault: Fault | None
    first_byte: float | None
    first_content: float | None
    timings: Timings | None = None
    headers: Fields = ()
    violations: tuple[str, ...] = ()
    request_id: str | None = None


class Switched(msgspec.Struct, frozen=True):
    """The exchange moved from one candidate to the next, and why."""

    exchange: str
    at: float
    from_endpoint: str
    to_endpoint: str
    fault: Fault


class ExchangeSettled(msgspec.Struct, frozen=True):
    """An exchange is over. `outcome` is one of OUTCOMES; usage counts tokens as the upstream told them."""

    id: str
    at: float
    started: float
    method: str
    path: str
    outcome: str
    status: int | None
    endpoint: str | None
    attempts: int
    model: str | None
    model_sent: str | None
    input_tokens: int | None
    output_tokens: int | None
    violations: tuple[str, ...]
    fault: Fault | None
    credential: int | None = None
    cache_read_tokens: int | None = None
    cache_5m_tokens: int | None = None
    cache_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    stop_reason: str | None = None
    repairs: tuple[str, ...] = ()
    session: str | None = None
    client: str | None = None
    first_byte: float | None = None
    first_content: float | None = None
    headers: Fields = ()


OUTCOMES = ("complete", "repaired", "failed over", "error", "truncated", "cancelled by client", "rejected")


class CircuitChanged(msgspec.Struct, frozen=True):
    """A circuit moved. `scope` is `endpoint`, `credential` or `model`; `until` is when it may be tried again.

    `reason` is in English, `code` and `parameters` say the same to whoever uses words of his own. `endpoint` is the
    name, `id` what outlives it.
    """

    at: float
    endpoint: str
    credential: int
    scope: str
    model: str | None
    before: str
    after: str
    reason: str
    until: float | None
    code: str = ""
    parameters: Mapping[str, Any] = {}
    id: str = ""


class RepairLearned(msgspec.Struct, frozen=True):
    """An upstream refused a request in words that a repair answers, and took the repaired one; or it was forgotten.

    `about` is the digest of what the fact hangs on (url and credential). With `repair` None all of them are forgotten.
    """

    at: float
    endpoint: str
    about: str
    model: str | None
    repair: str | None
    said: str = ""
    forgotten: bool = False


class Probed(msgspec.Struct, frozen=True):
    """A probe of a candidate is over. `how` is what was asked: models, count_tokens, message or connect."""

    at: float
    endpoint: str
    credential: int
    how: str
    seconds: float
    status: int | None
    fault: Fault | None


class ConfigChanged(msgspec.Struct, frozen=True):
    """A new configuration is live."""

    at: float
    path: str


class ConfigRefused(msgspec.Struct, frozen=True):
    """The file was changed into something that cannot be used; the old settings stay."""

    at: float
    path: str
    problems: tuple[str, ...]


E = TypeVar("E")


class Events:
    """The exchange of news: subscribe by type, publish instances."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[type, list[Callable[[Any], None]]] = defaultdict(list)

    def subscribe(self, kind: type[E], heard: Callable[[E], None]) -> Callable[[], None]:
        """Call `heard` for each event of exactly this type; the returned function ends that."""
        self._subscribers[kind].append(heard)
        return lambda: self._subscribers[kind].remove(heard)

    def wanted(self, kind: type) -> bool:
        """Whether anybody would hear it; news that come with every request need not be made for nobody."""
        return bool(self._subscribers.get(kind))

    def publish(self, event: object) -> None:
        """Tell everybody who subscribed to this type, in the order of subscription."""
        for heard in tuple(self._subscribers.get(type(event), ())):
            try:
                heard(event)
            except Exception:
                _log.exception("subscriber_failed", event_type=type(event).__name__)
