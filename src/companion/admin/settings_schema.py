"""The JSON Schema of the configuration as it is written: for forms, for the description of the API, and for editors.

The models know what values mean; a file may write them in more ways: durations, sizes and rates as text with a unit,
and a key without a value for its default. `unit` says how a value is written, `restart` that it holds from the next
start on.
"""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any, Final

from companion.admin.typed import JSON_TYPES
from companion.config.models import Settings
from companion.config.schema import FIXED, keys
from companion.config.schema import section as section_of

Schema = dict[str, Any]

REF: Final = "#/components/schemas/"
ENDPOINT: Final = "EndpointSettings"
PATCH: Final = "Patch"

_AS_TEXT: Final = ("duration", "size", "rate")


@cache
def whole() -> Schema:
    """The schema of the whole file, complete in itself (JSON Schema 2020-12)."""
    schema = _written(Settings.model_json_schema(mode="validation"))
    for name in FIXED:
        section, _, key = name.partition(".")
        model = section_of(keys(Settings)[section])
        assert model is not None, name
        schema["$defs"][model.__name__]["properties"][key]["restart"] = True
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def components() -> dict[str, Schema]:
    """The same as components of an OpenAPI document, and with them an endpoint of which only parts are said."""
    found = deepcopy(whole())
    parts: dict[str, Schema] = found.pop("$defs")
    found.pop("$schema")
    parts[Settings.__name__] = found
    partial = {name: _partial(parts[name]) for name in reached(parts, ENDPOINT)}
    moved = {name: _moved(part, "") for name, part in parts.items()}
    return moved | {f"{name}{PATCH}": _moved(part, PATCH) for name, part in partial.items()}


def _written(node: Any) -> Any:
    if isinstance(node, list):
        return [_written(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("additionalProperties") is True:
        node = {**node, "additionalProperties": {"type": JSON_TYPES}}
    done = {key: value if key in {"default", "examples"} else _written(value) for key, value in node.items()}
    if str(done.get("unit", "")).startswith(_AS_TEXT):
        done = _with_text(done)
    if "properties" in done:
        needed = done.get("required", ())
        done["properties"] = {
            key: value if key in needed else _or_null(value) for key, value in done["properties"].items()
        }
    return done


def _with_text(node: Schema) -> Schema:
    """A number that may be text with a unit, too."""
    text = {"type": "string", "minLength": 1}
    if "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], text]}
    number = {key: node[key] for key in ("type", "minimum", "maximum", "exclusiveMinimum") if key in node}
    return {"anyOf": [number, text], **{key: value for key, value in node.items() if key not in number}}


def _or_null(node: Schema) -> Schema:
    """A key without a value has its default."""
    if node == {} or node.get("type") == JSON_TYPES:
        return {"type": JSON_TYPES}
    about: Schema = {key: node[key] for key in ("title", "description", "default", "examples", "unit") if key in node}
    if "anyOf" in node:
        options = [*node["anyOf"]]
        return node if {"type": "null"} in options else {**node, "anyOf": [*options, {"type": "null"}]}
    kind = {key: value for key, value in node.items() if key not in about}
    return {**about, "anyOf": [kind, {"type": "null"}]}


def _partial(part: Schema) -> Schema:
    """Nothing needs to be said, and null takes away what was said."""
    changed = {key: value for key, value in part.items() if key != "required"}
    if "properties" in part:
        changed["properties"] = {key: _or_null(value) for key, value in part["properties"].items()}
    return changed


def reached(parts: Mapping[str, Schema], *start: str) -> list[str]:
    """The names of these parts and of all that they refer to."""
    found, waiting = set(), [*start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [ref.rpartition("/")[2] for ref in _refs(parts[name])]
    return sorted(found)


def _refs(node: Any) -> list[str]:
    if isinstance(node, list):
        return [ref for each in node for ref in _refs(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [ref for value in node.values() for ref in _refs(value)]


def _moved(node: Any, suffix: str) -> Any:
    """With references to where the parts are in an OpenAPI document."""
    if isinstance(node, list):
        return [_moved(each, suffix) for each in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value, suffix) for key, value in node.items()}
    if isinstance(node.get("$ref"), str):
        moved["$ref"] = REF + node["$ref"].rpartition("/")[2] + suffix
    return moved
