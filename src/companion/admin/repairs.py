"""/repairs: what upstreams were found not to understand, and what is done about it in every request since."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from companion.admin.ports import Ports
from companion.admin.problems import ApiError, declared
from companion.admin.typed import Instant, resource


class LearnedRepair(BaseModel):
    """One repair that one model of an endpoint needs. `said` is what the upstream refused a request with."""

    endpoint: str = Field(description="The endpoint's name at that time.")
    model: str = Field(description="As it was sent; empty where requests name none.")
    repair: str = Field(description="Its name.")
    parameter: str = Field(description="Such as 8192 for max_tokens; often empty.")
    said: str
    since: Instant
    used: int = Field(description="Requests that were repaired before they were sent, since the program runs.")


class LearnedRepairs(BaseModel):
    """All of them, those used last at the end."""

    items: list[LearnedRepair]


class Forgotten(BaseModel):
    """How many repairs are forgotten."""

    forgotten: int


class WhatToForget(BaseModel):
    """Of an endpoint everything, or only what concerns a model, or one repair; of all endpoints when that is said."""

    endpoint: str | None = Field(default=None, max_length=200, description="Its name or id.")
    model: str | None = Field(default=None, max_length=400)
    repair: str | None = Field(default=None, max_length=200)
    all: bool = False


def router(ports: Ports) -> APIRouter:
    """The resource. It never leaves the event loop, where the facts live."""
    api = resource("repairs")

    @api.get("/repairs", responses=declared())
    async def list_repairs() -> LearnedRepairs:
        """Everything that was learned."""
        return LearnedRepairs(
            items=[
                LearnedRepair(
                    endpoint=fact.endpoint,
                    model=fact.model,
                    repair=fact.repair.name,
                    parameter=fact.repair.parameter,
                    said=fact.said,
                    since=fact.since,
                    used=fact.used,
                )
                for fact in ports.learned.items()
            ]
        )

    @api.delete("/repairs", responses=declared())
    async def forget_repairs(what: Annotated[WhatToForget, Query()]) -> Forgotten:
        """Send requests as they are again, until an upstream refuses one."""
        if what.endpoint is None and not what.all:
            raise ApiError(422, "nothing_named", "Say which: endpoint, or all=true.")
        names = {fact.endpoint for fact in ports.learned.items()} if what.endpoint is None else {what.endpoint}
        forgotten = sum(ports.learned.forget(name, what.model, what.repair) for name in names)
        return Forgotten(forgotten=forgotten)

    return api
