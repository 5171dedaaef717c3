"""/clients: who may use the proxy, each by a token that is shown once."""

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from companion.admin.conditions import TAGGED, IfMatch, IfMatchWanted, etag, prefer, require
from companion.admin.editing import Data, Editing, Seen
from companion.admin.problems import ApiError, Mistake, declared
from companion.admin.typed import resource
from companion.clients.tokens import digest, new_token


class Client(BaseModel):
    """One who may use the proxy."""

    name: str


class ClientList(BaseModel):
    """All of them, in the order of the file; none: everybody on this machine may."""

    etag: str
    items: list[Client]


class NewClient(BaseModel):
    """Who is to be let in."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$", examples=["ann"])


class Admitted(BaseModel):
    """A new client. The token is told this once: only its digest is kept."""

    name: str
    token: str


def router(editing: Editing) -> APIRouter:
    """The resource."""
    api = resource("clients")

    @api.get("/clients", responses={200: TAGGED, **declared()})
    def list_clients(response: Response) -> ClientList:
        """Who may use the proxy."""
        return _tagged(response, editing.read())

    @api.post("/clients", status_code=201, responses=declared(409, 412))
    async def add_client(body: NewClient, if_match: IfMatchWanted = None) -> Admitted:
        """Let somebody in. From the first client on, nobody is served without a token."""
        token = new_token()

        def make(seen: Seen) -> Data:
            prefer(if_match, etag(_entries(seen.data)))
            if body.name in map(_name, _entries(seen.data)):
                said = "There is a client of this name already."
                mistake = Mistake(pointer="/name", code="name_taken", detail=said)
                raise ApiError(409, "name_taken", said, errors=[mistake])
            return _with(seen, [*_entries(seen.data), {"name": body.name, "token_hash": digest(token)}])

        await editing.change(f"client {body.name} added", make)
        return Admitted(name=body.name, token=token)

    @api.delete("/clients/{client:path}", status_code=204, responses=declared(404, 409, 412, 428))
    async def remove_client(client: Annotated[str, Path(max_length=400)], if_match: IfMatch = None) -> None:
        """Its token is worth nothing from now on. If-Match takes the ETag of the list."""

        def make(seen: Seen) -> Data:
            entries = _entries(seen.data)
            if client not in map(_name, entries):
                raise ApiError(404, "no_such_client", "There is no client of this name.")
            require(if_match, etag(entries))
            return _with(seen, [each for each in entries if _name(each) != client])

        await editing.change(f"client {client} removed", make)

    return api


def _tagged(response: Response, seen: Seen) -> ClientList:
    entries = _entries(seen.data)
    response.headers["etag"] = tag = etag(entries)
    return ClientList(etag=tag, items=[Client(name=_name(each)) for each in entries])


def _entries(data: Data) -> list[Data]:
    access = data.get("access")
    listed = access.get("clients") if isinstance(access, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _with(seen: Seen, entries: Iterable[Data]) -> Data:
    access: Any = seen.data.get("access")
    return seen.data | {"access": (access or {}) | {"clients": [*entries]}}


def _name(entry: Data) -> str:
    return str(entry.get("name", "")).strip()
