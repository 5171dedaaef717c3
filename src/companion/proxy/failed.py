"""All failed: one honest answer made of everything that was tried.

Temporary beats an upstream's own answer about the request, and that beats hopeless: whoever can be helped by waiting is
told to wait, and Claude Code does. Recovery known within a minute is a `retry-after`; later than ten minutes, waiting
is no help and the sentence says when. Never a 403 or 413 of our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from companion.errors import FAULTS, Answer, Fault, Kind, Verdict
from companion.protocol.errors import envelope, error_event, error_type
from companion.proxy.exchange import Exchange, Failure
from companion.proxy.headers import passed
from companion.routing.plan import Plan

_LATER: Final = 600.0
_JSON: Final = (b"content-type", b"application/json")
# What an error that came with 200 should have come with.
_MEANT: Final = {"request_too_large": 413, "not_found_error": 404}
_NO_RETRY: Final = (b"x-should-retry", b"false")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the client is told: an upstream's own answer as it is, or an envelope of ours."""

    status: int
    type: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    answer: Answer | None = None
    limits: bool = False

    @classmethod
    def own(cls, fault: Fault, *, limits: bool = False) -> "Refusal":
        """The upstream's own answer. `limits`: the rate limits in it are those of the client's own account."""
        if fault.answer is None:
            raise ValueError("this fault holds no answer")
        status = fault.answer.status
        if status < 300 and fault.kind is not Kind.EMPTY_ANSWER:
            status = _MEANT.get(fault.error_type or "", 400)
        type = fault.error_type or error_type(status)
        return cls(status, type, fault.message, answer=fault.answer, limits=limits)


def all_failed(plan: Plan, failures: Sequence[Failure], now: float, config: str) -> Refusal:
    """The answer when nobody gave one. `config` is the file where endpoints are mended."""
    latest = list({failure.key: failure for failure in failures}.values())
    verdicts = [FAULTS[failure.fault.kind].verdict for failure in latest]
    own = next(
        (f.fault for f, v in zip(latest, verdicts, strict=True) if v is Verdict.ITS_OWN and f.fault.answer), None
    )
    if Verdict.TEMPORARY in verdicts or plan.waiting:
        refusal = _temporary(plan, latest, now, config)
        if own is None or refusal.status != 429:
            return refusal
    if own is not None:
        return Refusal.own(own)
    return _hopeless(plan, latest, verdicts, config)


def _temporary(plan: Plan, latest: Sequence[Failure], now: float, config: str) -> Refusal:
    recovery = _recovery(plan, latest, now)
    sentence = f"No upstream can answer right now: {_account(plan, latest, now)} Endpoints are set in {config}."
    if recovery is None:
        return Refusal(529, "overloaded_error", sentence)
    if recovery > _LATER:
        when = f"{sentence} The first is expected back in {_words(recovery)}."
        return Refusal(429, "rate_limit_error", when, (_NO_RETRY,))
    wait = max(1, min(60, -int(-recovery // 1)))
    return Refusal(529, "overloaded_error", sentence, ((b"retry-after", b"%d" % wait),))


def _recovery(plan: Plan, latest: Sequence[Failure], now: float) -> float | None:
    """Seconds until somebody is known to be back; None when somebody failed who may be back at any moment."""
    known: list[float] = []
    for failure in latest:
        if FAULTS[failure.fault.kind].verdict is not Verdict.TEMPORARY:
            continue
        if failure.fault.retry_after is None:
            return None
        known.append(failure.fault.retry_after)
    known += [max(0.0, entry.view.until - now) for entry in plan.waiting if entry.view.until is not None]
    return min(known, default=None)


def _hopeless(plan: Plan, latest: Sequence[Failure], verdicts: Sequence[Verdict], config: str) -> Refusal:
    account = _account(plan, latest, 0.0)
    if latest and all(failure.fault.kind is Kind.NOT_THERE for failure in latest):
        return Refusal(501, "api_error", f"No endpoint offers this: {account}", (_NO_RETRY,))
    mend = f"Mend it in {config}."
    if not plan.entries:
        return Refusal(
            503, "api_error", f"No endpoint is configured yet. Add one under `endpoints:` in {config}.", (_NO_RETRY,)
        )
    if verdicts and all(verdict is Verdict.NO_BUDGET for verdict in verdicts):
        return Refusal(429, "rate_limit_error", f"No upstream has budget left: {account} {mend}", (_NO_RETRY,))
    if Verdict.NO_CREDENTIAL in verdicts or Verdict.NO_BUDGET in verdicts or _only_unresolved(plan, latest):
        return Refusal(401, "authentication_error", f"No credential works: {account} {mend}", (_NO_RETRY,))
    return Refusal(503, "api_error", f"No endpoint can take this request: {account} {mend}", (_NO_RETRY,))


def _only_unresolved(plan: Plan, latest: Sequence[Failure]) -> bool:
    unusable = [entry.view.unusable for entry in plan.entries]
    return not latest and all(unusable) and any(reason != "disabled" for reason in unusable)


def _account(plan: Plan, latest: Sequence[Failure], now: float) -> str:
    """One clause for each endpoint: its name, and why it did not answer."""
    clauses = [
        f"{failure.name}: {failure.fault.kind.value.replace('_', ' ')}{_told(failure.fault)}" for failure in latest
    ]
    tried = {failure.key for failure in latest}
    for entry in plan.entries:
        if entry.view.key not in tried and not entry.chosen:
            until = f" for {_words(entry.view.until - now)} more" if entry.view.until is not None and now else ""
            clauses.append(f"{entry.view.name}: {entry.reason}{until}")
    return "; ".join(dict.fromkeys(clauses)) + "."


def _told(fault: Fault) -> str:
    status = f" {fault.status}" if fault.status is not None else ""
    return f"{status} ({fault.message})" if fault.message else status


def _words(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(1, round(seconds))} s"
    return f"{round(minutes)} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def refuse(exchange: Exchange, refusal: Refusal) -> None:
    """Tell the client. Once pings have begun, the status is spent: then it is an error event, for every client."""
    port = exchange.port
    exchange.status = refusal.status
    if port.started:
        port.write(_as_event(refusal))
        port.finish()
        return
    answer = refusal.answer
    if answer is None:
        body = envelope(refusal.type, refusal.message, exchange.id)
        headers = [_JSON, *refusal.headers]
    else:
        body = answer.body
        headers = passed(answer.headers, limits=refusal.limits or not exchange.pooled)
    port.start(refusal.status, [*headers, *exchange.own_headers(), (b"content-length", b"%d" % len(body))])
    port.write(body)
    port.finish()


def _as_event(refusal: Refusal) -> bytes:
    if refusal.answer is not None and refusal.status < 300:
        return refusal.answer.body
    return error_event(refusal.type, refusal.message)
