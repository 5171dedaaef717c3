"""docs/reference/configuration.md, made from the models: `python -m companion.config.reference` prints it."""

import re
from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from companion.config import schema
from companion.config.models import Settings

_INTRODUCTION: Final = """\
# Configuration

One YAML file. Which one: what `--config` names, else what `$COMPANION_CONFIG` names, else `config.yaml` in the folder
where the proxy is started, else `config.yaml` in the user's own folder (`$XDG_CONFIG_HOME/claude-code-companion` or
`~/.config/claude-code-companion`; on macOS `~/Library/Application Support/claude-code-companion`, on Windows
`%APPDATA%\\claude-code-companion`). It is never put together from two. If there is none, the first run writes one, with
every key, for your eyes only (mode 0600).

A change is live within a second. A file with a mistake in it changes nothing: the settings before it stay, and the log,
the admin page and `companion check` tell every mistake with its line.

```yaml
server: {port: 8080}
endpoints:
  - name: first
    url: https://api.anthropic.com
    auth: {type: api_key, values: ["${FIRST_KEY}", "${SECOND_KEY}"]}
    priority: 1
  - name: second
    url: https://llm.example/anthropic
    auth: {type: auth_token, values: ["file:second.key"]}
    priority: 2
    models: {default: their-model, rewrite: [{from: "claude-*haiku*", to: their-small-model}]}
    timeouts: {headers: 240s}
```

## How values are written

| kind | examples |
|---|---|
| duration | `500ms`, `30s`, `10m`, `1.5h`, `1h30m`, `30d`; a plain number is seconds |
| size | `64KiB` (1024 bytes each), `32MiB`, `5GiB`, `1MB` (1000000 bytes); a plain number is bytes |
| rate | `1KB/s`, `64KiB/s`; a plain number is bytes a second |
| path | relative ones start at the folder of the configuration file; `~` is your home |

Secrets (`auth.values`, `headers.set` and `proxy` of an endpoint, and `defaults.proxy`) are written as

| in the file | is |
|---|---|
| `${NAME}`, also within a text | the environment variable `NAME` of the proxy |
| `file:/path` | the first line of that file; a change of it is live, too |
| `keyring:name` | what the system's keychain has for `name` and the service `claude-code-companion` (extra `keyring`) |
| anything else | the secret itself |

One that cannot be had takes that key out of use, or for a header or a proxy the endpoint, with the reason; the rest
serves. What is put into a proxy's URL before its `@` is percent-encoded on the way: a password may hold any character.

A key that is left out, or has no value, has its default. A key that does not exist is a mistake, and so is one that is
written twice, or an endpoint's name or id that another one has.

## The whole file
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join((_INTRODUCTION, *_table(Settings, ""), *_sections(Settings, "", set())))


def _sections(model: type[BaseModel], path: str, told: set[type[BaseModel]]) -> Iterator[str]:
    """What is told already (an endpoint's timeouts are like those of the defaults) is not told again."""
    for key, info in schema.keys(model).items():
        inner = schema.section(info)
        if inner is None or inner in told:
            continue
        told.add(inner)
        place = f"{path}{key}"
        listed = "A list; each entry has these keys. " if schema.is_list(info) else ""
        yield f"{'###' if path else '##'} {place}\n"
        yield f"{listed}{_paragraph(inner)}\n"
        yield from _table(inner, place)
        yield from _sections(inner, f"{place}[]." if schema.is_list(info) else f"{place}.", told)


def _table(model: type[BaseModel], place: str) -> Iterator[str]:
    yield "| key | default | kind | meaning |"
    yield "|---|---|---|---|"
    for key, info in schema.keys(model).items():
        name = f"[`{key}`](#{key})" if not place and schema.section(info) else f"`{key}`"
        default = schema.default(info)
        written = "must be given" if default is None else f"`{default}`"
        unit = schema.unit(info).replace(" | ", ", ")
        kind = f"`{unit.replace(', ', '`, `')}`" if schema.choices(info) else unit
        yield f"| {name} | {'' if written == '`{}`' and unit == 'section' else written} | {kind} | {_plain(info)} |"
    yield ""


def _plain(info: FieldInfo) -> str:
    """The meaning, without what Markdown would take for its own."""
    return re.sub(r"([*|<])", r"\\\1", info.description or "")


def _paragraph(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").splitlines()).strip()


if __name__ == "__main__":
    print(page(), end="")
