"""The models as text for people: every key with its default and meaning.

The file of the first run and the reference page are both made from this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from companion.config.models import EndpointSettings, Settings

_WORDS: Final = {"duration or none": "none", "duration or auto": "auto"}
_SECONDS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_BYTES: Final = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its path, its default as it is written in the file (None: it must be given), its unit, what it means."""

    path: tuple[str, ...]
    default: str | None
    unit: str
    meaning: str
    section: bool


def keys(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key in the order of the models; sections come before what is in them. Lists of models end there."""
    for name, info in model.model_fields.items():
        place = (*path, info.alias or name)
        inner = info.annotation
        section = isinstance(inner, type) and issubclass(inner, BaseModel)
        default = None if info.is_required() else written(info.get_default(), _unit(info))
        yield Key(place, default, _unit(info), info.description or "", section)
        if section and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, place)


def written(value: Any, unit: str = "") -> str:
    """A value as a person writes it in the file."""
    if value is None:
        return _WORDS.get(unit, "null")
    if isinstance(value, bool):
        return str(value).lower()
    if unit.startswith("duration"):
        return next(
            (f"{value / size:g}{name}" for size, name in _SECONDS if value >= size and value % size == 0), f"{value:g}s"
        )
    if unit == "size":
        return next((f"{value // size}{name}" for size, name in _BYTES if value % size == 0), str(value))
    if unit == "rate":
        return f"{value / 1000:g}KB/s"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict | BaseModel):
        return "{}"
    return f'"{value}"' if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and "unit" in extra:
        return str(extra["unit"])
    choices = [str(choice) for choice in get_args(info.annotation) if isinstance(choice, str)]
    return " | ".join(choices)


def endpoint_keys() -> Iterator[Key]:
    """The keys of one entry under `endpoints`."""
    return keys(EndpointSettings)
