"""docs/reference/api.md, made from the description of the API: `python -m companion.admin.reference` prints it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from companion.admin import openapi
from companion.admin.api import PREFIX, application
from companion.admin.live import Live
from companion.admin.ports import Ports
from companion.clock import SystemClock
from companion.config.edit import Editor
from companion.config.file import Loaded
from companion.config.models import Settings
from companion.events import Events
from companion.records.recorder import Recorder
from companion.upstream.endpoint import Endpoints
from companion.upstream.learned import Learned

_INTRODUCTION: Final = f"""\
# The admin API

This page is made from the program by `python -m companion.admin.reference`.

Whatever can be seen and changed in the program can be seen and changed by another program: as JSON, below
`{PREFIX}`. The whole description, with every field, is the OpenAPI document at `{PREFIX}/openapi.json`.

- It answers on the machine itself only (127.0.0.1 and ::1).
- A request that changes something needs the header `x-companion-csrf: 1`, which no web page elsewhere can make a
  browser send.
- Times are seconds since the Unix epoch, durations are seconds, sizes are bytes. In settings, durations and sizes may
  also be written as in the file: `30s`, `32MiB`.
- Secrets are masked: `•••` and the last four characters of a long one. A masked secret that is sent back means that it
  stays what it is. References such as `${{NAME}}` are no secrets.
- What can be changed by two people at once has an `ETag`. A change of it says with `If-Match` what it is a change of
  (`*`: of whatever is there): without that it gets a 428, and a 412 when somebody else was faster.
- A change of settings is judged as a whole, written to the configuration file, comments kept, and in force when its
  answer arrives. One that is refused changes nothing.
- Errors are `application/problem+json` (RFC 9457): `code` and `parameters` say for programs what `detail` says for
  people, and `errors` leads to every wrong field, by `pointer` in the body or by the name of a `parameter`.

```sh
curl -s http://127.0.0.1:8080{PREFIX}/status
curl -s -X POST -H 'x-companion-csrf: 1' -H 'If-Match: *' http://127.0.0.1:8080{PREFIX}/endpoints/kimi/disable
curl -sN 'http://127.0.0.1:8080{PREFIX}/events?type=switched&type=circuit_changed'
```

An endpoint is found by its `id` or its name, percent-encoded where that is needed. Pages of requests go by key: `after`
is the `next` of the page before, and the `Link` header has the whole address.
"""


def page() -> str:
    """The page, as Markdown."""
    document = openapi.document(application(_ports()))
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_row(method, path, operation))
    return "\n".join((_INTRODUCTION, *(line for tag, rows in sections.items() for line in _section(tag, rows))))


def _section(tag: str, rows: list[str]) -> Iterator[str]:
    yield f"## {tag.capitalize()}\n"
    yield "| request | what it does | query | body |"
    yield "|---|---|---|---|"
    yield from rows
    yield ""


def _row(method: str, path: str, operation: dict[str, Any]) -> str:
    query = ", ".join(f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query")
    said = " ".join(operation["description"].split()).replace("|", "\\|")
    return f"| `{method.upper()} {path}` | {said} | {query} | {_body(operation)} |"


def _body(operation: dict[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    names = re.findall(r"#/components/schemas/(\w+)", str(content))
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _ports() -> Ports:
    """Of a program that does not run."""
    clock, events, path = SystemClock(), Events(), Path("config.yaml")
    loaded = Loaded(path, Settings(), {})
    recorder = Recorder(loaded.settings.records, Path(), events, clock, frozenset)
    return Ports(
        loaded=lambda: loaded,
        apply=lambda _: None,
        editor=Editor(path),
        endpoints=Endpoints(clock, events),
        live=Live(events, clock),
        learned=Learned(clock, events),
        clock=clock,
        addresses=list,
        started=0.0,
        store=None,
        recorder=lambda: recorder.stats,
    )


if __name__ == "__main__":
    print(page(), end="")
