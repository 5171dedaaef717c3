"""docs/reference/configuration.md, made from the models: `python -m companion.config.reference`."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from companion.config.describe import Key, endpoint_keys, keys
from companion.config.models import RewriteRule


def page() -> str:
    """The page's Markdown."""
    return "\n".join(_lines()) + "\n"


_INTRODUCTION: Final = """\
# Configuration

This page is made from the program by `python -m companion.config.reference`.

The file is the one that `--config` names, else `$COMPANION_CONFIG`, `./config.yaml`, or `config.yaml` in the user's
configuration folder. The first run writes it. A change is live within a second; one that cannot be used changes
nothing, and `companion check` says what is wrong with it, and in which line.

Durations are written as `500ms`, `30s`, `10m`, `1.5h`, `30d`; sizes as `64KiB`, `32MiB`, `5GiB`; plain numbers are
seconds and bytes. Relative paths are relative to the file.
"""
_KEYS: Final = """\
## Keys

A key under `auth.values` is `${NAME}` (from the environment; also inside a longer text), `file:/path` (the first line
of a file), `keyring:name` (the system's keyring, service `claude-code-companion`; needs the extra `keyring`), or the
key itself. One that cannot be had takes its endpoint out, with that reason; the others serve."""


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    listed = [key for key in keys() if not key.section and key.path != ("endpoints",)]
    for section, members in groupby(listed, key=_section):
        yield f"## {section}\n" if section else "## Everything else\n"
        yield from _table(members, section)
    yield "## endpoints\n\nA list. Each entry has these keys:\n"
    yield from _table((key for key in endpoint_keys() if not key.section), "")
    yield "`models.rewrite` is a list of rules:\n"
    yield from _table(keys(RewriteRule), "")
    yield _KEYS


def _section(key: Key) -> str:
    return ".".join(key.path[:-1]) if len(key.path) > 1 else ""


def _table(members: Iterable[Key], section: str) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "| --- | --- | --- |"
    for key in members:
        name = ".".join(key.path).removeprefix(f"{section}." if section else "")
        default = "must be given" if key.default is None else f"`{key.default}`"
        choices = f" (`{key.unit.replace(' | ', '`, `')}`)" if " | " in key.unit else ""
        yield f"| `{name}` | {default} | {key.meaning.replace('|', chr(92) + '|')}{choices} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
