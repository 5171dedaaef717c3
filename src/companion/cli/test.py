"""`companion test`: does an endpoint work, and if not, at which step does it fail?"""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Final

import typer

from companion.cli.settings import opened, refuse
from companion.clock import SystemClock
from companion.config.file import Loaded
from companion.config.models import EndpointSettings
from companion.net.posix import new_event_loop
from companion.upstream.check import apart, check, draft
from companion.upstream.steps import Step, StepState
from companion.upstream.views import CandidateKey

_COLOURS: Final = {StepState.OK: "green", StepState.FAILED: "red", StepState.NOTE: "yellow", StepState.SKIPPED: None}


def run_tests(explicit: str | None, name: str | None, model: str | None) -> int:
    """Test every key of the endpoints that are meant, one after the other. Returns the exit code."""
    loaded = opened(explicit)
    endpoints = list(_meant(loaded, name))
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        well = [runner.run(_tested(loaded, endpoint, model)) for endpoint in endpoints]
    return 0 if all(well) else 1


def _meant(loaded: Loaded, name: str | None) -> Iterator[EndpointSettings]:
    endpoints = loaded.settings.endpoints
    if name is None:
        found = [endpoint for endpoint in endpoints if endpoint.enabled]
    else:
        found = [endpoint for endpoint in endpoints if name in {endpoint.name, endpoint.id}]
    if not found:
        there = ", ".join(endpoint.name for endpoint in endpoints) or "none"
        what = "No endpoint is enabled" if name is None else f"There is no endpoint {name}"
        refuse(f"{what} in {loaded.path}. There are: {there}.")
    yield from found


async def _tested(loaded: Loaded, endpoint: EndpointSettings, model: str | None) -> bool:
    credentials, clock, well = loaded.credentials[endpoint.id], SystemClock(), True
    for number, credential in enumerate(credentials, 1):
        which = f", key {number} of {len(credentials)}" if len(credentials) > 1 else ""
        typer.secho(f"{endpoint.name}{which}: {endpoint.shown_url}", bold=True)
        alone = await asyncio.to_thread(draft, loaded, endpoint, credential.value)
        async with apart(alone, clock) as endpoints:
            subject = endpoints.candidate(CandidateKey(endpoint.id, 0))
            async with aclosing(check(subject, clock, model=model, problem=credential.problem)) as steps:
                async for step in steps:
                    _show(step)
                    well = well and step.state is not StepState.FAILED
        typer.echo()
    return well


def _show(step: Step) -> None:
    state = typer.style(f"{step.state:<8}", fg=_COLOURS[step.state])
    took = "" if step.seconds is None else f"{step.seconds * 1000:.0f} ms"
    typer.echo(f"  {state} {step.name:<13} {took:>8}  {step.text()}")
