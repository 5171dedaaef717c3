"""Types of the API that are described elsewhere: by the configuration's models, and by the structs of other rooms.

Such a value is passed on as it is, and its schema is that of where it comes from (see `openapi`).
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter
from pydantic import AfterValidator, Field, WithJsonSchema

from companion.admin.problems import Scalar
from companion.records.views import StreamEvent
from companion.upstream.steps import Step

ELSEWHERE: Final = "x-schema"

JSON_TYPES: Final = ["string", "number", "boolean", "object", "array", "null"]

MAX_DEPTH: Final = 50

Json = dict[str, Any]


class TestStep(Step, frozen=True, kw_only=True):
    """One step of a test, also in an English sentence."""

    sentence: str


class TestResult(msgspec.Struct, frozen=True):
    """All steps of a test; `ok`: none has failed."""

    ok: bool
    steps: tuple[TestStep, ...]


class StreamEvents(msgspec.Struct, frozen=True):
    """The events of an answer that was streamed."""

    items: tuple[StreamEvent, ...]


def _sayable(value: Any, depth: int = 0) -> Any:
    """What JSON lets in and no file takes: half characters, numbers without an end, and depths without a bottom."""
    if depth > MAX_DEPTH:
        raise ValueError("is nested too deeply")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a character (a lone surrogate)") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that has no end")
    elif isinstance(value, dict | list):
        inner: Iterable[Any] = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        for each in inner:
            _sayable(each, depth + 1)
    return value


def resource(tag: str) -> APIRouter:
    """Where a resource puts its operations."""
    return APIRouter(tags=[tag], generate_unique_id_function=lambda route: route.name)


def _like(name: str) -> WithJsonSchema:
    return WithJsonSchema({ELSEWHERE: name})


SettingsData = Annotated[Json, AfterValidator(_sayable), _like("Settings")]
"""The whole configuration as it is written, secrets masked."""

EndpointData = Annotated[Json, AfterValidator(_sayable), _like("EndpointSettings")]
"""One endpoint as it is written, secrets masked."""

EndpointPatch = Annotated[Json, AfterValidator(_sayable), _like("EndpointSettingsPatch")]
"""Parts of one (a JSON merge patch, RFC 7396): null takes a key away."""

AnyData = Annotated[
    Json,
    AfterValidator(_sayable),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": JSON_TYPES}}),
]
"""Any object."""

StateData = Annotated[Json, _like("EndpointState")]
RecorderData = Annotated[Json, _like("RecorderStats")]
SwitchData = Annotated[Json, _like("Switched")]

Parameters = dict[str, Scalar]
Instant = Annotated[float, Field(description="Seconds since the Unix epoch.")]
Seconds = Annotated[float, Field(description="Seconds.")]
