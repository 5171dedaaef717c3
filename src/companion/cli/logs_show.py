"""`companion logs show ID`: all about one exchange, for people or as JSON."""

import json
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import msgspec
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from companion.cli.logs import records_of, tame
from companion.cli.settings import refuse
from companion.records.queries import Records
from companion.records.views import AttemptView, Detail, ExchangeView, FaultView, Filters, Part

_BAR: Final = 48
_STEPS: Final = ("waited", "dns", "connect", "tls", "write")
_SIDES: Final = (Part.REQUEST_BODY, Part.RESPONSE_BODY)


def show_one(explicit: str | None, id: str, *, bodies: bool, as_json: bool) -> None:
    """Print it; the beginning of its id is enough. Exit code 2 where there is none, or more than one."""
    records = records_of(explicit)
    detail = records.exchange(_whole(records, id))
    assert detail is not None
    if as_json:
        told = msgspec.to_builtins(detail)
        if bodies:
            told["bodies"] = dict(_bodies(records, detail))
        print(json.dumps(told, indent=2))
        return
    console = Console(highlight=False)
    for block in _blocks(detail):
        console.print(block)
    if bodies:
        for name, text in _bodies(records, detail):
            console.rule(name, align="left")
            console.print(Text(tame(text)))


def _whole(records: Records, id: str) -> str:
    found = records.list_exchanges(Filters(id=id), limit=2).items
    if not found:
        refuse(f"There is no exchange {id} in {records.path}. `companion logs` lists them.")
    if len(found) > 1:
        refuse(f"More than one exchange begins with {id}: {found[0].id} and {found[1].id}, for example.")
    return found[0].id


def _bodies(records: Records, detail: Detail) -> Iterator[tuple[str, str]]:
    for content in detail.contents:
        if content.part in _SIDES and content.same_as is None:
            body = records.body(detail.exchange.id, content.part, content.attempt)
            if body is not None:
                lost = f" ({body.missing} bytes were not kept)" if body.missing else ""
                yield f"{_side(content.attempt)} {content.part}{lost}", body.data.decode("utf-8", "replace")


def _side(attempt: int) -> str:
    return f"attempt {attempt}" if attempt else "client"


# === blocks, from top to bottom


def _blocks(detail: Detail) -> Iterator[RenderableType]:
    row = detail.exchange
    yield Text(f"Exchange {row.id}", style="bold")
    yield Padding(_facts(row), (0, 2))
    for attempt in detail.attempts:
        yield Text(f"Attempt {attempt.number}: {tame(attempt.endpoint)}, key {attempt.credential + 1}", style="bold")
        yield Padding(_attempt(attempt, _span(detail)), (0, 2))
    if detail.plan:
        yield Text("Plan", style="bold")
        said = ((f"{each.endpoint}, key {each.credential + 1}", each.reason) for each in detail.plan)
        yield Padding(_grid(said), (0, 2))
    for name, headers in detail.headers.items():
        number, _, part = name.partition(".")
        yield Text(f"{_side(int(number))} {part.replace('_', ' ')}".capitalize(), style="bold")
        yield Padding(_grid(headers), (0, 2))


def _facts(row: ExchangeView) -> Table:
    style = "green" if row.outcome in {"complete", "repaired"} else "yellow" if row.outcome == "failed over" else "red"
    model = row.model if row.model_sent in {None, row.model} else f"{row.model}, sent as {row.model_sent}"
    return _grid(
        (
            ("outcome", Text((row.outcome or "under way") + (f" ({row.note})" if row.note else ""), style=style)),
            ("status", row.status),
            ("began", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.started))),
            ("took", _seconds(row.seconds)),
            ("first content", _seconds(row.first_content)),
            ("request", f"{row.method} {row.path}{'?' + row.query if row.query else ''}, {row.request_bytes} B"),
            ("answer", None if row.response_bytes is None else f"{row.response_bytes} B"),
            ("model", model),
            ("endpoint", row.endpoint),
            ("fault", _fault(row.fault)),
            ("usage", _usage(row)),
            ("stop reason", row.stop_reason),
            ("violations", ", ".join(row.violations)),
            ("repairs", ", ".join(row.repairs)),
            ("labels", ", ".join(row.labels)),
            *_who(row),
        )
    )


def _who(row: ExchangeView) -> tuple[tuple[str, str | None], ...]:
    return (
        ("client", row.client),
        ("peer", row.peer),
        ("session", row.session),
        ("agent", row.agent if row.parent_agent is None else f"{row.agent}, of {row.parent_agent}"),
        ("user agent", row.user_agent),
    )


def _usage(row: ExchangeView) -> str:
    counted = (
        ("input", row.input_tokens),
        ("output", row.output_tokens),
        ("read from cache", row.cache_read_tokens),
        ("cached for 5 min", row.cache_5m_tokens),
        ("cached for 1 h", row.cache_1h_tokens),
        ("reasoning", row.reasoning_tokens),
    )
    return ", ".join(f"{name} {count}" for name, count in counted if count is not None)


def _attempt(attempt: AttemptView, span: float) -> RenderableType:
    steps = [f"{name} {_seconds(getattr(attempt, name))}" for name in _STEPS if getattr(attempt, name) is not None]
    facts = _grid(
        (
            ("why", attempt.reason),
            ("url", attempt.url),
            ("model", attempt.model),
            ("status", attempt.status),
            ("fault", _fault(attempt.fault)),
            ("connection", ", ".join([*(["kept from before"] if attempt.reused else []), *steps])),
            ("request id", attempt.request_id),
            ("violations", ", ".join(attempt.violations)),
            ("repairs", ", ".join(attempt.repairs)),
        )
    )
    return Group(_timeline(attempt, span), facts)


def _span(detail: Detail) -> float:
    """The time that the timelines of all tries cover."""
    ends = [each.ended for each in detail.attempts if each.ended is not None]
    return max([*ends, detail.exchange.seconds or 0.0, 1e-6])


def _timeline(attempt: AttemptView, span: float) -> Text:
    """`·` before it began, `─` until its first byte, `━` until its first content, `█` while it answered."""
    began, ended = attempt.started or 0.0, span if attempt.ended is None else attempt.ended
    first = ended if attempt.first_byte is None else attempt.first_byte
    content = ended if attempt.first_content is None else attempt.first_content
    points = [round(_BAR * min(1.0, max(0.0, at / span))) for at in (began, first, content, ended)]
    widths = [points[0], *(max(0, end - start) for start, end in pairwise(points))]
    bar = Text("".join(sign * width for sign, width in zip("·─━█", widths, strict=True)).ljust(_BAR), style="cyan")
    times = [_seconds(at) for at in (began, attempt.first_byte, attempt.first_content, attempt.ended)]
    names = ("began", "first byte", "first content", "ended")
    told = "  ".join(f"{name} {at}" for name, at in zip(names, times, strict=True) if at is not None)
    return Text.assemble(bar, "  ", told)


def _grid(rows: Iterable[tuple[str, object]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            table.add_row(Text(tame(name)), value if isinstance(value, Text) else Text(tame(str(value))))
    return table


def _fault(fault: FaultView | None) -> str | None:
    if fault is None:
        return None
    return f"{fault.kind} ({fault.party}, {fault.phase}): {fault.message}"


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f} s"
