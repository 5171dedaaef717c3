"""The configuration file of the first run: every key with its default, and what it means."""

from collections.abc import Iterator
from typing import Final

from companion.config.describe import Key, keys

_HEAD: Final = """\
# Claude Code Companion. A change of this file is live within a second; a mistake changes nothing and is
# reported in the log, at /admin/ and by `companion check`. Every key is shown with its default.
# Durations: 500ms 30s 10m 1.5h. Sizes: 64KiB 32MiB 5GiB.
# Keys are better not written here: ${NAME} takes one from the environment, file:/path from a file's first
# line, keyring:name from the system's keyring.
"""
_EXAMPLE: Final = """\
#  - name: anthropic                     # what it is called in logs, headers and errors
#    url: https://api.anthropic.com      # base URL, with or without /v1
#    auth: {type: api_key, values: ["${ANTHROPIC_API_KEY}"]}   # or auth_token, passthrough, none
#    priority: 1                         # lower is asked first
#  - name: another
#    url: https://api.example.com/anthropic
#    auth: {type: auth_token, values: ["${FIRST_KEY}", "${SECOND_KEY}"]}
#    priority: 2
#    models: {default: their-model, rewrite: [{from: "claude-*haiku*", to: their-small-model}]}
"""
_COLUMN: Final = 34


def render() -> str:
    """The file's text."""
    return _HEAD + "".join(_lines())


def _lines() -> Iterator[str]:
    for key in keys():
        if len(key.path) == 1:
            yield "\n"
        if key.path == ("endpoints",):
            yield f"# {key.meaning}. Remove the # of an example below, and the [] here.\nendpoints: []\n{_EXAMPLE}"
        else:
            yield _line(key)


def _line(key: Key) -> str:
    code = f"{'  ' * (len(key.path) - 1)}{key.path[-1]}:" + ("" if key.section else f" {key.default}")
    return f"{code:<{_COLUMN}}  # {key.meaning}{_unit(key)}\n"


def _unit(key: Key) -> str:
    return f" ({key.unit})" if " | " in key.unit else ""
