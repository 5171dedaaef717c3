"""`companion status`: how a running proxy is, as it says itself through its admin API."""

import http.client
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import msgspec
import typer

from companion.cli.local import get
from companion.cli.settings import base_url, opened, refuse
from companion.events import Switched
from companion.records.recorder import RecorderStats
from companion.upstream.states import CredentialState, EndpointState

_PATH: Final = "/admin/api/status"
_TIMEOUT: Final = 30.0  # seconds; the first visit makes the proxy import what the API is made of


class _Problem(msgspec.Struct):
    detail: str


class _Config(msgspec.Struct):
    path: str
    problems: list[_Problem]


class _Status(msgspec.Struct):
    version: str
    uptime: float
    addresses: list[str]
    config: _Config
    in_flight: int
    endpoints: list[EndpointState]
    recorder: RecorderStats | None
    last_switches: list[Switched]


def show(explicit: str | None, url: str | None, *, json: bool) -> None:
    """Print it. Exit code 2 where no proxy runs."""
    url = url or base_url(opened(explicit).settings.server)
    try:
        status, body = get(url, _PATH, _TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        refuse(f"No proxy answers at {url}: {error}. `companion` starts one.")
    if status != 200:
        refuse(f"What answers at {url} is no Claude Code Companion, or an older one: {_PATH} gives {status}.")
    if json:
        sys.stdout.buffer.write(body + b"\n")
        return
    for line in _lines(msgspec.json.decode(body, type=_Status)):
        typer.echo(line)


def _lines(told: _Status) -> Iterator[str]:
    up = str(timedelta(seconds=round(told.uptime)))
    yield typer.style(f"Claude Code Companion {told.version}", bold=True) + f" at {told.addresses[0]}, up {up}"
    yield f"Configuration {told.config.path}"
    for problem in told.config.problems:
        yield typer.style(f"  not in force: {problem.detail}", fg="red")
    yield ""
    yield from _table(told.endpoints)
    yield ""
    yield f"In flight: {told.in_flight}. {_recording(told.recorder)}"
    if told.last_switches:
        yield ""
        yield "Last switches"
        yield from map(_switch, told.last_switches[:5])


def _table(endpoints: list[EndpointState]) -> Iterator[str]:
    if not endpoints:
        yield "There is no endpoint yet."
        return
    rows = [("ENDPOINT", "PRIORITY", "IN FLIGHT", "OK / FAILED", "STATE")]
    colours: list[str | None] = [None]
    for endpoint in endpoints:
        for credential in endpoint.credentials:
            key = f" (key {credential.number + 1})" if len(endpoint.credentials) > 1 else ""
            counts = f"{credential.successes} / {credential.failures}"
            state, colour = _state(endpoint, credential)
            rows.append((endpoint.name + key, str(endpoint.priority), str(credential.in_flight), counts, state))
            colours.append(colour)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, colour in zip(rows, colours, strict=True):
        *cells, state = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([*cells, typer.style(state.rstrip(), fg=colour)])


def _state(endpoint: EndpointState, credential: CredentialState) -> tuple[str, str | None]:
    if not endpoint.enabled:
        return "disabled", "bright_black"
    if credential.unusable is not None:
        return credential.unusable.text(), "red"
    if credential.reason is None:
        return str(credential.state), "green"
    left = "" if credential.until is None else f", {max(0.0, credential.until):.0f} s left"
    return credential.reason.text() + left, "green" if credential.ready else "yellow"


def _recording(recorder: RecorderStats | None) -> str:
    if recorder is None:
        return "Nothing is recorded."
    if recorder.failing is not None:
        return typer.style(f"Recording fails: {recorder.failing}.", fg="red")
    lost = f", {recorder.bodies_dropped} bodies dropped" if recorder.bodies_dropped else ""
    return f"Recorded {recorder.written} news{lost}."


def _switch(news: Switched) -> str:
    at: Any = time.strftime("%H:%M:%S", time.localtime(news.at))
    return f"  {at}  {news.from_endpoint} -> {news.to_endpoint}: {news.fault.message} ({news.fault.kind})"
