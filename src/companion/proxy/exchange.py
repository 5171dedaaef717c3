"""One exchange: everything that is known about one request on its way through the rooms, from receive to settle."""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from companion.config.file import Loaded
from companion.config.models import Settings
from companion.errors import Fault
from companion.net.h1 import Headers
from companion.protocol.anthropic import Usage
from companion.proxy.port import Port, Request
from companion.records.tape import Tape
from companion.routing.facts import Facts
from companion.routing.plan import Plan
from companion.upstream.prepare import Question
from companion.upstream.views import CandidateKey

NO_PLAN: Final = Plan(())
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


class Outcome(StrEnum):
    """How an exchange ends (DESIGN §7)."""

    COMPLETE = "complete"
    REPAIRED = "repaired"
    FAILED_OVER = "failed over"
    ERROR = "error"
    TRUNCATED = "truncated"
    CANCELLED = "cancelled by client"
    REJECTED = "rejected"


class Failure(msgspec.Struct, frozen=True):
    """One try that failed: whom it asked, and how it failed."""

    key: CandidateKey
    name: str
    fault: Fault


@dataclass(slots=True, eq=False)
class Exchange:
    """Mutable on purpose, owned by one task. `loaded` is the snapshot of the configuration that holds for all of it.

    `settings` is in `loaded`, and asked for more often.
    """

    id: str
    request: Request
    port: Port
    loaded: Loaded
    settings: Settings
    started: float
    question: Question
    facts: Facts
    client: str | None = None
    labels: frozenset[str] = frozenset()
    plan: Plan = NO_PLAN
    failures: list[Failure] = field(default_factory=list)
    counted: set[CandidateKey] = field(default_factory=set)
    attempts: int = 0
    outcome: Outcome = Outcome.ERROR
    status: int | None = None
    answered_by: CandidateKey | None = None
    endpoint: str | None = None
    model_sent: str | None = None
    usage: Usage | None = None
    violations: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    fault: Fault | None = None
    first_byte: float | None = None
    first_content: float | None = None
    stop_reason: str | None = None
    tape: Tape | None = None

    @property
    def pooled(self) -> bool:
        """Whether more than one account could have answered: then no account's limits are the client's business."""
        entries = self.plan.entries
        return len(entries) > 1 and sum(entry.chosen or entry.waiting for entry in entries) > 1

    def release(self) -> None:
        """The gate has opened: nobody will be sent this request again, so its body may go."""
        self.request.release()
        self.question.body = b""

    def own_headers(self) -> Headers:
        """What we say about ourselves on every answer."""
        headers: Headers = [(b"x-request-id", self.id.encode())]
        if self.settings.response_headers and self.attempts:
            if self.endpoint is not None:
                headers.append((b"x-companion-endpoint", _quoted(self.endpoint)))
            headers.append((b"x-companion-attempts", b"%d" % self.attempts))
        return headers


@lru_cache(maxsize=256)
def _quoted(name: str) -> bytes:
    return quote(name, safe=_PRINTABLE).encode()
