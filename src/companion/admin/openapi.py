"""The description of the API: what FastAPI finds out by itself, and what it cannot know."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from companion.admin import live, settings_schema
from companion.admin.conditions import NEEDED
from companion.admin.problems import MEDIA_TYPE, title
from companion.admin.typed import ELSEWHERE, StreamEvents, TestResult
from companion.errors import Fault
from companion.records.recorder import RecorderStats
from companion.records.views import Detail, Page
from companion.upstream.states import EndpointState

Schema = dict[str, Any]

_UNSAFE: Final = frozenset({"post", "put", "patch", "delete"})
_CSRF: Final = {
    "name": "x-companion-csrf",
    "in": "header",
    "required": True,
    "description": "Always 1. No web page elsewhere can make a browser send it.",
    "schema": {"type": "string", "enum": ["1"]},
}
_AT: Final = {"type": "number", "description": "Seconds since the Unix epoch."}


def document(app: FastAPI) -> Schema:
    """The OpenAPI document of `app`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            openapi_version=app.openapi_version,
            description=app.description,
            routes=app.routes,
            servers=app.servers,
        )
        parts = made["components"]["schemas"]
        parts |= settings_schema.components()
        parts |= _news()
        parts |= _structs(EndpointState, RecorderStats, Page, Detail, StreamEvents, TestResult)
        for method, operation in _operations(made):
            _complete(method, operation)
        app.openapi_schema = _resolved(made)
    return app.openapi_schema


def _operations(made: Schema) -> Iterator[tuple[str, Schema]]:
    for path in made["paths"].values():
        yield from path.items()


def _complete(method: str, operation: Schema) -> None:
    parameters: list[Schema] = operation.setdefault("parameters", [])
    for parameter in parameters:
        if parameter["schema"].pop(NEEDED, False):
            parameter["required"] = True
            parameter["schema"] = {"type": "string", "pattern": '^(\\*|"[^"]*")$'}
    if method in _UNSAFE:
        parameters.append(_CSRF)
    if not parameters:
        del operation["parameters"]
    also = [403, *((400, 413) if "requestBody" in operation else ())]
    operation["responses"] |= {str(status): _problem(status) for status in also}
    for status, response in operation["responses"].items():
        if int(status) >= 400 and "application/json" in response.get("content", {}):
            response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


def _problem(status: int) -> Schema:
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{settings_schema.REF}ProblemDetails"}}}
    return {"description": title(status), "content": content}


def _news() -> dict[str, Schema]:
    """What the stream of events holds, from the events themselves."""
    _, found = msgspec.json.schema_components((*live.NAMES, Fault), ref_template=settings_schema.REF + "{name}")
    parts: dict[str, Schema] = {}
    for kind, name in live.NAMES.items():
        properties = found[kind.__name__]["properties"]
        shown = {key: _plain(properties[key]) for key in live.SHOWN[kind]}
        parts[kind.__name__] = {
            "type": "object",
            "title": name,
            "properties": shown | {"at": _AT},
            "required": [*shown, "at"],
        }
    found["Fault"]["properties"].pop("answer")
    for name in settings_schema.reached(found | parts, *parts):
        parts.setdefault(name, found[name])
    parts["News"] = {"anyOf": [{"$ref": f"{settings_schema.REF}{kind.__name__}"} for kind in live.NAMES]}
    return parts


def _structs(*kinds: type) -> dict[str, Schema]:
    """What other rooms give as structs."""
    _, found = msgspec.json.schema_components(kinds, ref_template=settings_schema.REF + "{name}")
    return {name: found[name] for name in settings_schema.reached(found, *(kind.__name__ for kind in kinds))}


def _resolved(node: Any) -> Any:
    """With references in place of names of what is described elsewhere."""
    if isinstance(node, list):
        return [_resolved(each) for each in node]
    if not isinstance(node, dict):
        return node
    if ELSEWHERE in node:
        return {"$ref": settings_schema.REF + node[ELSEWHERE]}
    return {key: _resolved(value) for key, value in node.items()}


def _plain(schema: Schema) -> Schema:
    """Without defaults: every field is always there."""
    return {key: value for key, value in schema.items() if key != "default"}
