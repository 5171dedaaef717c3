"""What a 200 really is, by its first bytes: content types lie more often than bytes do."""

from enum import StrEnum
from typing import Final

from companion.errors import Answer, Fault, Kind, Party, Phase, UpstreamError
from companion.net.h1 import Headers
from companion.protocol.errors import classify_error, error_in

_BOM: Final = b"\xef\xbb\xbf"


class Nature(StrEnum):
    """What a body looks like."""

    NOTHING = "nothing"
    JSON = "JSON"
    HTML = "HTML"
    OTHER = "other"


_JSON: Final = Nature.JSON


def nature(start: bytes) -> Nature:
    """Judged by the first byte that is not white space."""
    first = start.removeprefix(_BOM).lstrip()[:1]
    if first in {b"{", b"["}:
        return _JSON
    if first == b"<":
        return Nature.HTML
    return Nature.OTHER if first else Nature.NOTHING


def html_fault(status: int, phase: Phase) -> UpstreamError:
    return UpstreamError(Fault(Party.UPSTREAM, phase, Kind.HTML, "a web page instead of an answer", status))


def json_fault(
    otherwise: Kind, message: str, status: int, headers: Headers, body: bytes, phase: Phase
) -> UpstreamError:
    """The fault that a JSON body is where a message was expected: the error that it tells, else `otherwise`."""
    told = error_in(body)
    if told is None:
        return UpstreamError(Fault(Party.UPSTREAM, phase, otherwise, message, status))
    return UpstreamError(classify_error(*told, answer=Answer(status, tuple(headers), body)).at(phase))
