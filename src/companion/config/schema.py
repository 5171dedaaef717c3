"""The models, looked at from outside: which keys there are, what they hold, and how their values are written.

For whoever talks about the configuration: the first file, the reference page, and the problems with a file.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from companion.config import words
from companion.config.models import Settings

FIXED: Final = ("server.host", "server.port", "logging.format", "logging.file", "records.store")
"""Keys that hold from the next start on; all others are live at once."""

_WRITERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "duration": words.say_duration,
    "duration or none": words.say_duration,
    "duration or auto": words.say_duration,
    "size": words.say_size,
    "rate": words.say_rate,
    "URL or none": str,
}


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def section(info: FieldInfo) -> type[BaseModel] | None:
    """The model of what a key holds, be it one or a list of them; None for a key that holds a value."""
    return next(
        (part for part in _parts(info.annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None
    )


def is_list(info: FieldInfo) -> bool:
    """Whether a key holds a list."""
    return get_origin(info.annotation) is tuple


def model_at(place: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model of the section at `place`, if that is one."""
    model: type[BaseModel] | None = Settings
    for part in place:
        if isinstance(part, str):
            info = None if model is None else keys(model).get(part)
            model = None if info is None else section(info)
    return model


def homes(name: str, model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where else there is a key of this name: `server.port`."""
    for key, info in keys(model).items():
        if key == name and path:
            yield ".".join((*path, key))
        inner = section(info)
        if inner is not None:
            yield from homes(name, inner, (*path, key + ("[]" if is_list(info) else "")))


def choices(info: FieldInfo) -> tuple[str, ...]:
    """The words that a key may hold, where there are only certain ones."""
    found = (get_args(part) for part in _parts(info.annotation) if get_origin(part) is Literal)
    return next(found, ())


def unit(info: FieldInfo) -> str:
    """What kind of value a key holds, in one or a few words."""
    if chosen := choices(info):
        return " | ".join(chosen)
    if get_origin(info.annotation) is Mapping:
        return "mapping"
    if section(info) is not None:
        return "list of sections" if is_list(info) else "section"
    return f"list of {_named_kind(info)}" if is_list(info) else _named_kind(info)


def default(info: FieldInfo) -> str | None:
    """A key's default as it is written in the file; None for a key that must be given."""
    if info.is_required():
        return None
    return "null" if info.default_factory is not None else written(info.default, unit(info))


def written(value: Any, unit: str = "") -> str:
    """A value as it is written in the file, on one line."""
    if value is None:
        return unit.rpartition(" or ")[2] if unit in _WRITERS else "null"
    if unit in _WRITERS:
        return _WRITERS[unit](value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_quoted(each) for each in value)}]"
    if isinstance(value, dict | BaseModel):
        return "{}"
    return str(value)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and not value.isalnum() else written(value)


def _named_kind(info: FieldInfo) -> str:
    """What fields.py calls it: the field itself, or what it is a list of, or what it may be besides null."""
    named = (part.json_schema_extra for part in (info, *_parts(info.annotation)) if isinstance(part, FieldInfo))
    return next(str(extra["unit"]) for extra in named if isinstance(extra, dict))


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
