"""News inside the process: frozen, typed, published where they happen, heard by whoever subscribed in app.py.

Publishing is synchronous and cheap; a subscriber that fails is logged once per event and never hurts the publisher.
Times are seconds of `Clock.monotonic()` unless a field says otherwise.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from companion.errors import Fault

_log = structlog.get_logger("companion.events")


class ExchangeStarted(msgspec.Struct, frozen=True):
    """A request was read whole and is on its way. `id` is the exchange id (ULID), the client's x-request-id."""

    id: str
    at: float
    method: str
    path: str
    model: str | None
    stream: bool
    session: str | None


class AttemptStarted(msgspec.Struct, frozen=True):
    """One try against one candidate begins; `number` counts from 1 within the exchange."""

    exchange: str
    number: int
    at: float
    endpoint: str
    credential: int
    model: str | None


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


OUTCOMES = ("complete", "repaired", "failed over", "error", "truncated", "cancelled by client", "rejected")


class CircuitChanged(msgspec.Struct, frozen=True):
    """A circuit moved. `scope` is `endpoint`, `credential` or `model`; `until` is when it may be tried again."""

    at: float
    endpoint: str
    credential: int
    scope: str
    model: str | None
    before: str
    after: str
    reason: str
    until: float | None


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
