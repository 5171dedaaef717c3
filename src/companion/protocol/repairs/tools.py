"""Schemas of tools that are right but too short for some: no properties, no type."""

from typing import Any, Final

import msgspec

from companion.protocol.repairs.patterns import Pattern
from companion.protocol.repairs.record import Repair, Wording
from companion.protocol.repairs.tree import Edits, Node

_CUSTOM: Final = frozenset({None, "custom"})


class _Schema(msgspec.Struct):
    type: Any = None
    properties: msgspec.Raw = msgspec.Raw(b"")


class _Tool(msgspec.Struct):
    type: str | None = None
    input_schema: _Schema | None = None


_read: Final = msgspec.json.Decoder(list[_Tool]).decode


def _complete(tools: Node) -> bool:
    """Whether a fast look is enough to see that there is nothing to do."""
    try:
        told = _read(tools.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    schemas = [tool.input_schema for tool in told if tool.type in _CUSTOM]
    return all(schema and schema.type is not None and bytes(schema.properties)[:1] == b"{" for schema in schemas)


def _completed(root: Node, edits: Edits, _: str) -> None:
    tools = root.get("tools")
    if tools is None or _complete(tools):
        return
    for tool in tools.items:
        if not tool.is_object or not tool.members or tool.type not in _CUSTOM:
            continue
        schema = tool.get("input_schema")
        if schema is None or not schema.is_object or not schema.members:
            edits.put(tool, "input_schema", b'{"type":"object","properties":{}}')
            continue
        if schema.get("type") is None:
            edits.put(schema, "type", b'"object"')
        if (properties := schema.get("properties")) is None or not properties.is_object:
            edits.put(schema, "properties", b"{}")


TOOL_PROPERTIES: Final = Repair(
    name="tool_properties",
    does='adds `"properties": {}` and `"type": "object"` to schemas of tools that lack them',
    because="the upstream wants both, also for tools without parameters",
    wordings=(
        Wording(
            Pattern(
                r"schema missing properties|missing[^\n]{0,30}\bproperties\b",
                r"(?:parameters|input_schema|inputschema)\.properties\b[^\n]{0,30}(?:required|missing|undefined|expected)",
                r"\bproperties\b[^\n]{0,30}(?:is|are) (?:required|missing)|must (?:have|contain)[^\n]{0,12}properties",
                r"(?:parameters|input_schema)(?:\.type)?: (?:field )?required",
                r"schema must be (?:a JSON Schema )?(?:of )?['\"]?type[^\n]{0,6}object",
            )
        ),
    ),
    fix=_completed,
)
