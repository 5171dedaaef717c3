"""/config: the whole file, read with its secrets masked, judged, compared, written, and as it was before.

A masked secret that is sent back means that it stays what it is. A file that is refused changes nothing.
"""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field, model_validator

from companion.admin import settings_schema
from companion.admin.conditions import TAGGED, IfMatch, require
from companion.admin.drafts import judged
from companion.admin.editing import Editing, Seen
from companion.admin.masked_text import difference, hidden, shown_again
from companion.admin.ports import Ports
from companion.admin.problems import ApiError, Mistake, declared, mistake
from companion.admin.typed import AnyData, Instant, SettingsData, resource
from companion.config.file import Loaded, parse
from companion.config.history import Version
from companion.config.masked import unmasked
from companion.errors import ConfigError

VersionId = Annotated[str, Path(alias="version", max_length=200)]


class Config(BaseModel):
    """The file as it is. `text` is null, and `data` is empty, while the file cannot be read for its mistakes."""

    path: str
    etag: str
    data: SettingsData
    text: str | None
    problems: list[Mistake]


class Draft(BaseModel):
    """A configuration, as data or as YAML text: one of the two."""

    data: SettingsData | None = None
    text: str | None = Field(default=None, max_length=1024 * 1024)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.data is None) is (self.text is None):
            raise ValueError("send either data or text")
        return self


class AnyDraft(Draft):
    """Whatever somebody thinks is a configuration."""

    data: AnyData | None = None


class Verdict(BaseModel):
    """What is wrong with a draft, if anything."""

    ok: bool
    problems: list[Mistake]


class Difference(BaseModel):
    """What a draft would change: a unified diff of the file, secrets masked. Empty: nothing."""

    diff: str


class ConfigVersion(BaseModel):
    """The file as it was before a change; `why` names that change."""

    id: str
    at: Instant
    why: str
    size: int = Field(description="Bytes.")


class History(BaseModel):
    """Earlier versions, newest first."""

    items: list[ConfigVersion]


class EarlierConfig(ConfigVersion):
    """One of them, secrets masked."""

    text: str | None = Field(description="null if it cannot be read.")


def router(ports: Ports, editing: Editing) -> APIRouter:
    """The resource."""
    api = resource("config")
    file = _File(ports, editing)

    @api.get("/config", responses={200: TAGGED, **declared()})
    def get_config(response: Response) -> Config:
        """The file, secrets masked."""
        return file.shown(response, editing.read())

    @api.put("/config", responses={200: TAGGED, **declared(409, 412, 428)})
    async def write_config(draft: Draft, response: Response, if_match: IfMatch = None) -> Config:
        """Put another configuration in its place. It is in force when the answer arrives."""
        return file.shown(response, await editing.write(lambda seen: file.write(seen, draft, if_match)))

    @api.get("/config/schema", responses=declared())
    def get_config_schema() -> dict[str, Any]:
        """The JSON Schema of the configuration as it is written."""
        return settings_schema.whole()

    @api.post("/config/validate", responses=declared(409))
    def validate_config(draft: AnyDraft) -> Verdict:
        """Judge a draft as if it were written. Nothing is changed."""
        try:
            file.judge(editing.read(), draft)
        except ConfigError as error:
            return Verdict(ok=False, problems=[mistake(each) for each in error.problems])
        return Verdict(ok=True, problems=[])

    @api.post("/config/preview", responses=declared(409))
    def preview_config(draft: Draft) -> Difference:
        """What a draft would change in the file. Nothing is changed."""
        return Difference(diff=file.difference(editing.read(), draft))

    @api.get("/config/history", responses=declared())
    def list_config_history() -> History:
        """What the file was before each of the last changes."""
        return History(items=[file.version(each) for each in ports.editor.history()])

    @api.get("/config/history/{version}", responses=declared(404))
    def get_earlier_config(id: VersionId) -> EarlierConfig:
        """The file as it was before one change."""
        version = file.version(file.found(id))
        text = hidden(ports.editor.version(id), file.path.name)
        return EarlierConfig(**version.model_dump(), text=text)

    @api.post("/config/history/{version}/restore", responses={200: TAGGED, **declared(404, 409, 412, 428)})
    async def restore_config(id: VersionId, response: Response, if_match: IfMatch = None) -> Config:
        """Make the file what it was before that change. If-Match takes the ETag of the present configuration."""
        return file.shown(response, await editing.write(lambda seen: file.restore(seen, id, if_match)))

    return api


class _File:
    """What can be done with the file as a whole; all of it in threads."""

    def __init__(self, ports: Ports, editing: Editing) -> None:
        self.path = ports.loaded().path
        self._editor = ports.editor

    def shown(self, response: Response, seen: Seen) -> Config:
        response.headers["etag"] = seen.etag
        return Config(
            path=str(self.path),
            etag=seen.etag,
            data=seen.masked,
            text=hidden(seen.document.text, self.path.name),
            problems=seen.mistakes,
        )

    def write(self, seen: Seen, draft: Draft, if_match: str | None) -> Loaded:
        require(if_match, seen.etag)
        etag = seen.document.etag
        if draft.text is not None:
            return self._editor.write_text(self._text(seen, draft.text), if_match=etag, why="file edited")
        seen.usable()
        return self._editor.write(unmasked(draft.data or {}, seen.data), if_match=etag, why="settings changed")

    def judge(self, seen: Seen, draft: Draft) -> None:
        if draft.text is not None:
            parse(self._text(seen, draft.text), self.path)
        else:
            judged(seen, draft.data or {}, self.path)

    def difference(self, seen: Seen, draft: Draft) -> str:
        """Masked on both sides."""
        seen.usable()
        if draft.text is not None:
            after = self._text(seen, draft.text)
            parse(after, self.path)
            return difference(seen.document.text, after, self.path.name)
        return self._editor.preview(unmasked(draft.data or {}, seen.data))

    def version(self, version: Version) -> ConfigVersion:
        return ConfigVersion(id=version.id, at=version.at, why=version.why, size=version.size)

    def found(self, id: str) -> Version:
        """Raises ApiError: 404."""
        for version in self._editor.history():
            if version.id == id:
                return version
        raise ApiError(404, "no_such_version", "There is no earlier version with this id (any more).")

    def restore(self, seen: Seen, id: str, if_match: str | None) -> Loaded:
        self.found(id)
        require(if_match, seen.etag)
        return self._editor.restore(id, if_match=seen.document.etag)

    def _text(self, seen: Seen, text: str) -> str:
        """While nobody can read the file, a text stands for itself."""
        if seen.document.settings is None and not seen.data:
            return text
        return shown_again(text, seen.document.text, self.path.name)
