"""Exchanges as a zip file to be shown to others: all that was recorded, which is without credentials."""

import json
import zipfile
from collections.abc import Iterable
from typing import IO, Final

import msgspec

from companion.records.queries import Records
from companion.records.views import ContentView, Detail, Part

_BODIES: Final = (Part.REQUEST_BODY, Part.RESPONSE_BODY)
_README: Final = """\
Exchanges recorded by Claude Code Companion.

<id>/exchange.json          what is known about it: times, tries, faults, usage, headers
<id>/client.request         the body as the client sent it
<id>/client.response        what the client got
<id>/attempt-N.request      what try N sent; missing where it is the same as the client's
<id>/attempt-N.response     what try N got

Credentials that the proxy knew are masked by asterisks. Prompts, code and answers are in it as they were.
"""


def export(records: Records, ids: Iterable[str], into: IO[bytes]) -> int:
    """Write a zip of these exchanges; returns how many of them there were."""
    count = 0
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _README)
        for id in ids:
            detail = records.exchange(id)
            if detail is not None:
                count += 1
                _pack(records, detail, archive)
    return count


def _pack(records: Records, detail: Detail, archive: zipfile.ZipFile) -> None:
    id = detail.exchange.id
    archive.writestr(f"{id}/exchange.json", json.dumps(msgspec.to_builtins(detail), indent=2, ensure_ascii=False))
    for each in detail.contents:
        if each.part in _BODIES and each.same_as is None:
            body = records.body(id, each.part, each.attempt)
            if body is not None and body.data:
                archive.writestr(f"{id}/{_name(each)}", body.data)


def _name(content: ContentView) -> str:
    side = f"attempt-{content.attempt}" if content.attempt else "client"
    return f"{side}.{content.part}"
