"""/requests: what was recorded. Lists are metadata only; bodies come one by one, as bytes and never to be run.

Pages go by key: `after` is the `next` of the page before, `before` the `previous` (see the `Link` header, too).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from companion.admin.archive import Archive
from companion.admin.problems import ApiError, declared
from companion.admin.typed import ELSEWHERE, JSON_TYPES, Instant, StreamEvents, resource
from companion.records.delete import delete_ids, delete_older
from companion.records.views import Filters, Part

if TYPE_CHECKING:
    from companion.records.queries import Records

CLIENT: Final = 0
MOST: Final = 1000

Id = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{26}$", description="The `x-request-id` of an answer.")]
Attempt = Annotated[int, Query(ge=0, le=1000, description="0: the client's side; else the number of a try.")]
# Up to the year 9999: what follows has no place among the ids, which begin with their time.
_When = Annotated[Instant, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
Outcome = Literal["complete", "repaired", "failed over", "error", "truncated", "cancelled by client", "rejected"]

_ANY: Final = {"schema": {"type": JSON_TYPES, "description": "What was sent, whatever it is."}}
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_TYPES: Final = ("application/json", "text/event-stream", "text/plain")
_OTHER: Final = "application/octet-stream"
_PIECE: Final = 256 * 1024
_KEEPS_OUT: Final = {"content-security-policy": "sandbox; default-src 'none'"}


class Wanted(BaseModel):
    """Which exchanges: all that is given must hold."""

    endpoint: str | None = Field(default=None, max_length=200, description="Who answered last.")
    model: str | None = Field(default=None, max_length=400, description="What the client asked for.")
    session: str | None = Field(default=None, max_length=200)
    client: str | None = Field(default=None, max_length=200)
    outcome: tuple[Outcome, ...] = Field(default=(), description="One of these.")
    status: int | None = Field(default=None, ge=100, le=599)
    failed: bool = Field(default=False, description="Only those that hurt a client.")
    running: bool = Field(default=False, description="Those that are under way, besides those of `outcome`.")
    since: _When | None = None
    until: _When | None = None
    prefix: str | None = Field(default=None, pattern=r"^[0-9A-Za-z]{1,26}$", description="What the id begins with.")

    def filters(self) -> Filters:
        """The same for the records."""
        values = {name: getattr(self, name) for name in Wanted.model_fields if name not in {"outcome", "prefix"}}
        return Filters(**values, outcomes=self.outcome, id=self.prefix)


class Asked(Wanted):
    """A page of them."""

    after: str | None = Field(default=None, max_length=26, description="Only older ones than this id.")
    before: str | None = Field(default=None, max_length=26, description="Only newer ones than this id.")
    limit: int = Field(default=50, ge=1, le=MOST)


class Exported(Wanted):
    """Those with these ids, or else the newest that fit."""

    id: tuple[str, ...] = ()
    limit: int = Field(default=100, ge=1, le=MOST)


class Unwanted(Wanted):
    """Those with these ids, or else all that fit; all there are only when that is said."""

    id: tuple[str, ...] = ()
    all: bool = False


class Deleted(BaseModel):
    """How many are gone. What is under way stays."""

    deleted: int


def router(archive: Archive) -> APIRouter:
    """The resource."""
    api = resource("requests")

    @api.get("/requests", responses=_described("Page") | declared(503), response_class=Response)
    def list_requests(asked: Annotated[Asked, Query()], request: Request) -> Response:
        """A page of exchanges, newest first."""
        with archive.records() as records:
            page = records.list_exchanges(asked.filters(), after=asked.after, before=asked.before, limit=asked.limit)
        answer = _json(page)
        links = [_link(request, asked, **{key: at}, rel=rel) for key, at, rel in _neighbours(page) if at is not None]
        if links:
            answer.headers["link"] = ", ".join(links)
        return answer

    @api.get("/requests/{id}", responses=_described("Detail") | declared(404, 503), response_class=Response)
    def get_request(id: Id) -> Response:
        """All about one exchange but its bodies."""
        with archive.records() as records:
            return _json(_there(records.exchange(id.upper())))

    @api.get(
        "/requests/{id}/events", responses=_described("StreamEvents") | declared(404, 503), response_class=Response
    )
    def list_stream_events(id: Id, attempt: Attempt = CLIENT) -> Response:
        """The events of an answer that was streamed, with their times in seconds since the exchange began."""
        with archive.records() as records:
            _there(records.exchange(id.upper()))
            return _json(StreamEvents(tuple(records.stream_events(id.upper(), attempt))))

    @api.get("/requests/{id}/{part}", responses=_of_bodies() | declared(404, 503), response_class=Response)
    def get_request_body(id: Id, part: Part, attempt: Attempt = CLIENT) -> Response:
        """The bytes of one part, content encoding undone, credentials masked. `x-companion-missing` bytes were lost."""
        with archive.records() as records:
            return _body(records, id.upper(), part, attempt)

    @api.get("/requests.zip", responses=_of_zip() | declared(503), response_class=Response)
    def export_requests(asked: Annotated[Exported, Query()]) -> Response:
        """Exchanges with all that was recorded of them, without credentials, as a zip file to be shown to others."""
        with archive.records() as records:
            ids = asked.id or [each.id for each in records.list_exchanges(asked.filters(), limit=asked.limit).items]
            file = _packed(records, [id.upper() for id in ids])
        return StreamingResponse(_pieces(file), headers=_attachment("requests.zip"), media_type="application/zip")

    @api.delete("/requests", responses=declared(503))
    def delete_requests(asked: Annotated[Unwanted, Query()]) -> Deleted:
        """Forget exchanges: by id, by filter, or all."""
        filters = asked.filters()
        if not (asked.id or asked.all or filters != Filters()):
            raise ApiError(422, "nothing_named", "Say which: id, a filter, or all=true.")
        with archive.records() as records:
            return Deleted(deleted=_delete(records, asked, filters))

    @api.delete("/requests/{id}", responses=declared(404, 503))
    def delete_request(id: Id) -> Deleted:
        """Forget one exchange."""
        with archive.records() as records:
            _there(records.exchange(id.upper()))
            return Deleted(deleted=delete_ids(records.path, [id.upper()]))

    return api


def _delete(records: "Records", asked: Unwanted, filters: Filters) -> int:
    if asked.id:
        return delete_ids(records.path, [id.upper() for id in asked.id])
    if replace(filters, until=None) == Filters():
        return delete_older(records.path, filters.until)
    deleted, after = 0, None
    while True:
        page = records.list_exchanges(filters, after=after, limit=MOST)
        deleted += delete_ids(records.path, [each.id for each in page.items])
        after = page.next
        if after is None:
            return deleted


def _body(records: "Records", id: str, part: Part, attempt: int) -> Response:
    body = records.body(id, part, attempt)
    if body is None:
        _there(records.exchange(id))
        raise ApiError(404, "not_kept", "Of this part nothing was kept.")
    kind = _type_of(records, id, part, attempt)
    side = f"attempt-{attempt}" if attempt else "client"
    headers = _attachment(f"{id}.{side}.{part}") | {"x-companion-missing": str(body.missing)}
    return Response(body.data, headers=headers | {"content-type": kind})


def _type_of(records: "Records", id: str, part: Part, attempt: int) -> str:
    """As it was told with it, as far as that is a type that no browser runs."""
    if part in {Part.REQUEST_HEADERS, Part.RESPONSE_HEADERS}:
        return "text/plain; charset=iso-8859-1"
    head = Part.REQUEST_HEADERS if part is Part.REQUEST_BODY else Part.RESPONSE_HEADERS
    lines = records.body(id, head, attempt)
    for line in (lines.data if lines else b"").decode("latin-1").split("\n"):
        name, _, value = line.partition(": ")
        kind = value.partition(";")[0].strip().lower()
        if name.lower() == "content-type" and kind in _TYPES:
            return kind
    return _OTHER


def _there(found: Any) -> Any:
    if found is None:
        raise ApiError(404, "no_such_request", "There is no record of this exchange (any more).")
    return found


def _neighbours(page: Any) -> Iterator[tuple[str, str | None, str]]:
    yield "after", page.next, "next"
    yield "before", page.previous, "prev"


def _link(request: Request, asked: Asked, rel: str, **key: str) -> str:
    values = asked.model_dump(exclude_defaults=True, exclude={"after", "before"})
    return f'<{request.scope["path"]}?{urlencode(values | key, doseq=True)}>; rel="{rel}"'


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _attachment(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"', **_KEEPS_OUT}


def _packed(records: "Records", ids: list[str]) -> IO[bytes]:
    """A file without a name, which goes when it is closed."""
    from companion.records.export import export  # noqa: PLC0415 - brings SQLAlchemy

    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile())
        export(records, ids, file)
        stack.pop_all()
    return file


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece


def _described(name: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"schema": {ELSEWHERE: name}}}}}


def _of_bodies() -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": _ANY, **dict.fromkeys((*_TYPES[1:], _OTHER), _BYTES)}}}


def _of_zip() -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/zip": _BYTES}}}
