"""/endpoints: who can answer, as configured and as they stand; every change is live when the answer arrives.

An endpoint is found by its `id`, which outlives a new name, or else by its name. `settings` are as they are written in
the file, so that what is not said there is not said here either; `effective` is what holds.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from companion.admin.conditions import TAGGED, IfMatch, IfMatchWanted, etag, prefer, require
from companion.admin.editing import Data, Editing, Seen
from companion.admin.ports import Ports
from companion.admin.problems import ApiError, Mistake, declared, unusable
from companion.admin.typed import EndpointData, EndpointPatch, StateData, resource
from companion.config.masked import masked
from companion.config.models import EndpointSettings
from companion.errors import ConfigError

T = TypeVar("T", "Endpoint", "EndpointList")

Key = Annotated[str, Path(alias="endpoint", description="The endpoint's id, or its name.", max_length=400)]


class Effective(BaseModel):
    """What holds for an endpoint: its own settings over the defaults. Times are seconds; null: no limit, or `auto`."""

    priority: int
    weight: float
    validation: str
    proxy: str
    timeouts: dict[str, float | None]
    pool: dict[str, float]


class Endpoint(BaseModel):
    """One endpoint. `settings` and `etag` are null while the file has it no more, `state` until it is live."""

    id: str
    name: str
    etag: str | None
    settings: EndpointData | None
    effective: Effective | None
    state: StateData | None


class EndpointList(BaseModel):
    """All of them, in the order of the file. `problems` are the file's; what was there before them is in force."""

    etag: str
    items: list[Endpoint]
    problems: list[Mistake] = []


class Name(BaseModel):
    """What a new one is to be called."""

    name: str | None = Field(default=None, min_length=1, max_length=100)


class Order(BaseModel):
    """Every endpoint's id once: the groups in the order in which they are asked, each of equal priority."""

    groups: list[Annotated[list[str], Field(min_length=1)]] = Field(examples=[[["first"], ["second", "third"]]])


def router(ports: Ports, editing: Editing) -> APIRouter:
    """The resource."""
    api = resource("endpoints")
    shown = Shown(ports)
    one = {200: TAGGED, **declared(404)}
    change = {200: TAGGED, **declared(404, 409, 412, 428)}

    @api.get("/endpoints", responses={200: TAGGED, **declared()})
    async def list_endpoints(response: Response) -> EndpointList:
        """All endpoints, as configured and as they stand."""
        return _tagged(response, shown.all(await asyncio.to_thread(editing.read)))

    @api.post("/endpoints", status_code=201, responses={201: TAGGED, **declared(409, 412)})
    async def create_endpoint(settings: EndpointData, response: Response, if_match: IfMatchWanted = None) -> Endpoint:
        """A new endpoint, behind the others in the file."""

        def make(seen: Seen) -> Data:
            prefer(if_match, etag(seen.endpoints))
            return _with(seen, [*seen.endpoints, settings])

        seen = await _change(editing, f"endpoint {_name(settings)} added", make, lambda seen: len(seen.endpoints))
        return _created(response, shown.at(seen, len(seen.endpoints) - 1))

    @api.get("/endpoints/{endpoint:path}", responses=one)
    async def get_endpoint(key: Key, response: Response) -> Endpoint:
        """One endpoint."""
        return _tagged(response, shown.one(await asyncio.to_thread(editing.read), key))

    @api.put("/endpoints/{endpoint:path}", responses=change)
    async def replace_endpoint(
        key: Key, settings: EndpointData, response: Response, if_match: IfMatch = None
    ) -> Endpoint:
        """The same endpoint with other settings: all of them. Its id stays; a masked secret means: as it was."""
        return await edit(key, if_match, response, f"endpoint {key} changed", lambda _: settings)

    @api.patch("/endpoints/{endpoint:path}", responses=change)
    async def change_endpoint(
        key: Key, settings: EndpointPatch, response: Response, if_match: IfMatch = None
    ) -> Endpoint:
        """Some of its settings (JSON merge patch): null takes a key away."""
        return await edit(key, if_match, response, f"endpoint {key} changed", lambda before: _merged(before, settings))

    @api.delete("/endpoints/{endpoint:path}", status_code=204, responses=declared(404, 409, 412, 428))
    async def delete_endpoint(key: Key, if_match: IfMatch = None) -> None:
        """It is asked no more; tries that are under way may end."""

        def make(seen: Seen) -> Data:
            index = found(seen, key)
            require(if_match, etag(seen.endpoints[index]))
            return _with(seen, [each for number, each in enumerate(seen.endpoints) if number != index])

        await editing.change(f"endpoint {key} deleted", make)

    @api.post("/endpoints/{endpoint:path}/enable", responses=change)
    async def enable_endpoint(key: Key, response: Response, if_match: IfMatch = None) -> Endpoint:
        """It may be asked."""
        return await edit(key, if_match, response, f"endpoint {key} enabled", lambda it: it | {"enabled": True})

    @api.post("/endpoints/{endpoint:path}/disable", responses=change)
    async def disable_endpoint(key: Key, response: Response, if_match: IfMatch = None) -> Endpoint:
        """It stays in the file and is not asked."""
        return await edit(key, if_match, response, f"endpoint {key} disabled", lambda it: it | {"enabled": False})

    @api.post(
        "/endpoints/{endpoint:path}/duplicate", status_code=201, responses={201: TAGGED, **declared(404, 409, 412)}
    )
    async def duplicate_endpoint(
        key: Key, response: Response, body: Name | None = None, if_match: IfMatchWanted = None
    ) -> Endpoint:
        """Another one with all its settings, secrets included, right behind it in the file."""

        def make(seen: Seen) -> Data:
            index = found(seen, key)
            original = seen.endpoints[index]
            prefer(if_match, etag(original))
            copy = {name: value for name, value in original.items() if name != "id"}
            copy["name"] = (body and body.name) or _free_name(_name(original), seen.endpoints)
            return _with(seen, [*seen.endpoints[: index + 1], copy, *seen.endpoints[index + 1 :]])

        seen = await _change(editing, f"endpoint {key} duplicated", make, lambda seen: found(seen, key) + 1)
        return _created(response, shown.at(seen, found(seen, key) + 1))

    @api.put("/endpoint-order", responses={200: TAGGED, **declared(409, 412, 428)})
    async def order_endpoints(order: Order, response: Response, if_match: IfMatch = None) -> EndpointList:
        """Another order. Priorities stay in use where there are as many of them as groups; else they count from 1."""

        def make(seen: Seen) -> Data:
            require(if_match, etag(seen.endpoints))
            return _with(seen, ordered(seen.endpoints, order.groups))

        return _tagged(response, shown.all(await editing.change("endpoints reordered", make)))

    @api.post("/endpoints/{endpoint:path}/reset", responses=one)
    async def reset_endpoint(key: Key, response: Response) -> Endpoint:
        """Forget its faults: circuits close, clocks of rate limits end."""
        seen = await asyncio.to_thread(editing.read)
        ports.endpoints.reset(shown.one(seen, key).id)
        return _tagged(response, shown.one(seen, key))

    async def edit(
        key: str, if_match: str | None, response: Response, why: str, make: Callable[[Data], Data]
    ) -> Endpoint:
        def all(seen: Seen) -> Data:
            index = found(seen, key)
            before = seen.endpoints[index]
            require(if_match, etag(before))
            entries = [*seen.endpoints]
            entries[index] = _same_identity(before, make(before))
            return _with(seen, entries)

        seen = await _change(editing, why, all, lambda seen: found(seen, key))
        return _tagged(response, shown.one(seen, key))

    return api


class Shown:
    """Endpoints as the API shows them; for the event loop, where their states live."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def all(self, seen: Seen) -> EndpointList:
        """Those of the file, and those that are live and no more in it."""
        states = self._states()
        listed = [self._at(seen, index, states) for index in range(len(seen.endpoints))]
        ids = {each.id for each in listed}
        problems = [] if seen.document.settings is not None else seen.mistakes
        live = [self._live(state) for id, state in states.items() if id not in ids]
        return EndpointList(etag=etag(seen.endpoints), items=[*listed, *live], problems=problems)

    def one(self, seen: Seen, key: str) -> Endpoint:
        """The one with this id or name. Raises ApiError: 404."""
        states = self._states()
        if key in states and key not in map(identity, seen.endpoints):
            return self._live(states[key])
        return self._at(seen, found(seen, key), states)

    def at(self, seen: Seen, index: int) -> Endpoint:
        """The one at this place in the file."""
        return self._at(seen, index, self._states())

    def _at(self, seen: Seen, index: int, states: dict[str, Data]) -> Endpoint:
        entry = seen.endpoints[index]
        id = identity(entry)
        return Endpoint(
            id=id,
            name=_name(entry),
            etag=etag(entry),
            settings=seen.masked_endpoints[index],
            effective=self._effective(id),
            state=states.get(id),
        )

    def _live(self, state: Data) -> Endpoint:
        effective = self._effective(state["id"])
        return Endpoint(id=state["id"], name=state["name"], etag=None, settings=None, effective=effective, state=state)

    def _states(self) -> dict[str, Data]:
        return {state.id: msgspec.to_builtins(state) for state in self._ports.endpoints.states()}

    def _effective(self, id: str) -> Effective | None:
        settings = self._ports.loaded().settings
        own = next((each for each in settings.endpoints if each.id == id), None)
        if own is None:
            return None
        return Effective(
            priority=own.priority,
            weight=own.weight,
            validation=settings.validation_of(own),
            proxy=masked({"defaults": {"proxy": settings.proxy_of(own)}})["defaults"]["proxy"],
            timeouts=settings.timeouts_of(own).model_dump(),
            pool=settings.pool_of(own).model_dump(),
        )


def found(seen: Seen, key: str) -> int:
    """Where in the file the endpoint with this id or name is. Raises ApiError: 404."""
    for name in (identity, _name):
        for index, entry in enumerate(seen.endpoints):
            if name(entry) == key:
                return index
    raise ApiError(404, "no_such_endpoint", "There is no endpoint with this id or name.")


def ordered(entries: list[Data], groups: list[list[str]]) -> list[Data]:
    """The entries in this order, with priorities to fit. Raises ApiError: 422 unless each is named once."""
    by_id = {identity(entry): entry for entry in entries}
    named = [id for group in groups for id in group]
    if sorted(named) != sorted(by_id):
        errors = [Mistake(pointer="/groups", code="not_each_once", detail="Name every endpoint's id exactly once.")]
        raise ApiError(422, "not_each_once", errors[0].detail, errors=errors)
    there = sorted({_priority(entry) for entry in entries})
    numbers = there if len(there) == len(groups) else range(1, len(groups) + 1)
    return [
        by_id[id] if _priority(by_id[id]) == priority else by_id[id] | {"priority": priority}
        for priority, group in zip(numbers, groups, strict=True)
        for id in group
    ]


async def _change(editing: Editing, why: str, make: Callable[[Seen], Data], place: Callable[[Seen], int]) -> Seen:
    """A change whose request is one endpoint: mistakes are told relative to that."""
    where: list[int] = []

    def noted(seen: Seen) -> Data:
        where[:] = [place(seen)]
        return make(seen)

    try:
        return await editing.change(why, noted)
    except ConfigError as error:
        raise unusable(error, ("endpoints", *where)) from None


def _same_identity(before: Data, after: Data) -> Data:
    """Who has no id of his own has his name as one, and keeps that under a new name. Raises ApiError: 422."""
    id = identity(before)
    if after.get("id") not in (None, id):
        said = "The id of an endpoint cannot be changed: its health and what was learnt about it hang on it."
        raise ApiError(422, "id_is_fixed", said, errors=[Mistake(pointer="/id", code="id_is_fixed", detail=said)])
    return after if identity(after) == id or "name" not in after else after | {"id": id}


def _merged(before: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _with(seen: Seen, entries: Iterable[Data]) -> Data:
    return seen.data | {"endpoints": [*entries]}


def _free_name(name: str, entries: list[Data]) -> str:
    taken = {_name(each) for each in entries} | {identity(each) for each in entries}
    base = f"{name[:90]} copy"
    names = (base, *(f"{base} {number}" for number in range(2, len(taken) + 3)))
    return next(each for each in names if each not in taken)


def identity(entry: Data) -> str:
    """The id of an entry in the file: its own or, without one, its name."""
    own = entry.get("id")
    return own.strip() if isinstance(own, str) and own.strip() else _name(entry)


def _name(entry: Data) -> str:
    name = entry.get("name")
    return name.strip() if isinstance(name, str) else ""


def _priority(entry: Data) -> int:
    priority = entry.get("priority")
    default: int = EndpointSettings.model_fields["priority"].default
    return priority if isinstance(priority, int) else default


def _tagged(response: Response, shown: T) -> T:
    if shown.etag is not None:
        response.headers["etag"] = shown.etag
    return shown


def _created(response: Response, shown: Endpoint) -> Endpoint:
    response.headers["location"] = f"/admin/api/endpoints/{quote(shown.id, safe='')}"
    return _tagged(response, shown)
