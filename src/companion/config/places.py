"""Where in a YAML file something stands, by its path: for error messages that name the line."""

from typing import Any

Path = tuple[str | int, ...]


def shown(path: Path) -> str:
    """`endpoints[0].url`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def line_of(root: Any, path: Path) -> int | None:
    """The line (from 1) of the deepest part of `path` that the file has."""
    line = None
    node = root
    for part in path:
        marks = getattr(node, "lc", None)
        if marks is None or marks.data is None or part not in marks.data:
            break
        line = marks.data[part][0] + 1
        node = node[part]
    return line
