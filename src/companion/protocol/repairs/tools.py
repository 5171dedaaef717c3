"""Schemas of tools that are right but too short for some: no properties, no type."""

from typing import Final

from companion.protocol.repairs.record import Repair, Wording, wording
from companion.protocol.repairs.tree import Edits, Node

_CUSTOM: Final = frozenset({None, "custom"})


def _completed(root: Node, edits: Edits, _: str) -> None:
    tools = root.get("tools")
    for tool in tools.items if tools is not None else ():
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
            wording(
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
