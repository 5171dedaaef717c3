"""/status and /version: what is running, how it is, and what happened last."""

import asyncio
import platform
from dataclasses import asdict
from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from companion import __version__
from companion.admin.editing import Editing
from companion.admin.ports import Ports
from companion.admin.problems import Mistake, declared
from companion.admin.typed import Instant, RecorderData, Seconds, StateData, SwitchData, resource


class Version(BaseModel):
    """What is running."""

    version: str
    python: str
    platform: str


class ConfigStatus(BaseModel):
    """The file, and what is wrong with it; while something is, the settings before it are in force."""

    path: str
    problems: list[Mistake]


class Counts(BaseModel):
    """How many endpoints there are: `ready` can be asked now, `waiting` not yet again, `unusable` not at all."""

    total: int
    ready: int
    waiting: int
    unusable: int
    disabled: int


class Status(Version):
    """What is running, and how it is."""

    now: Instant
    started: Instant
    uptime: Seconds
    addresses: list[str] = Field(description="Base URLs, the one to tell users first.")
    config: ConfigStatus
    in_flight: int = Field(description="Tries that are under way.")
    counts: Counts
    endpoints: list[StateData]
    recorder: RecorderData | None = Field(description="null: nothing is recorded.")
    last_switches: list[SwitchData] = Field(description="The newest first.")


def router(ports: Ports, editing: Editing) -> APIRouter:
    """The resources."""
    api = resource("status")

    @api.get("/version", responses=declared())
    def get_version() -> Version:
        """What is running."""
        return Version(**_version())

    @api.get("/status", responses=declared())
    async def get_status() -> Status:
        """Everything that one wants to know first."""
        mistakes = (await asyncio.to_thread(editing.read)).mistakes
        now = ports.clock.wall()
        states = ports.endpoints.states()
        return Status(
            **_version(),
            now=now,
            started=ports.started,
            uptime=max(0.0, now - ports.started),
            addresses=ports.addresses(),
            config=ConfigStatus(path=str(ports.loaded().path), problems=mistakes),
            in_flight=sum(state.in_flight for state in states),
            counts=_counts(states),
            endpoints=[msgspec.to_builtins(state) for state in states],
            recorder=None if ports.store is None else asdict(ports.recorder()),
            last_switches=list(ports.live.switches),
        )

    return api


def _version() -> dict[str, str]:
    return {"version": __version__, "python": platform.python_version(), "platform": platform.system()}


def _counts(states: Any) -> Counts:
    disabled = [state for state in states if not state.enabled]
    ready = [state for state in states if state.enabled and state.ready]
    unusable = [
        state for state in states if state.enabled and all(each.unusable is not None for each in state.credentials)
    ]
    waiting = len(states) - len(disabled) - len(ready) - len(unusable)
    return Counts(total=len(states), ready=len(ready), waiting=waiting, unusable=len(unusable), disabled=len(disabled))
