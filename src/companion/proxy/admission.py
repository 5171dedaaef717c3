"""The judgement on a request's head, before a byte of its body is read.

llhttp has refused what smuggling needs most (two lengths, length and chunked, folded lines, bare line feeds, blanks
before a colon). Here goes the rest: everything that two programs might read in two ways.
"""

from typing import Final, NamedTuple

from companion.config.models import ServerSettings
from companion.net.h1 import Headers
from companion.proxy.guard import check_host, check_origin
from companion.proxy.refused import Refused, malformed

# Each of these may be sent once; what it says decides.
_JUDGED: Final = frozenset(
    {b"host", b"origin", b"sec-fetch-site", b"content-length", b"transfer-encoding", b"content-encoding", b"expect"}
)
_FRAGMENT: Final = ord("#")


class Admitted(NamedTuple):
    """A head that may pass. `length` is None where the body is chunked; `expects` that the client waits for a 100."""

    method: str
    target: bytes
    old: bool
    length: int | None
    expects: bool


def admit(method: str, target: bytes, version: str, headers: Headers, settings: ServerSettings, local: str) -> Admitted:
    """Judge a head; `local` is the address that the connection came in on. Raises Refused."""
    if version not in {"1.1", "1.0"}:
        raise Refused(505, f"HTTP/{version} is not spoken here, HTTP/1.1 is.")
    if method == "CONNECT":
        raise Refused(501, "CONNECT is not offered: this is a gateway, not a forward proxy.")
    old = version == "1.0"
    seen = _judged(headers)
    target = _origin_form(method, target, settings, local)
    _check_source(seen, settings, local, old=old)
    _check_coding(seen, old=old)
    length = _length(seen, settings)
    return Admitted(method, target, old, length, _expects(seen) and not old and length != 0)


def _judged(headers: Headers) -> dict[bytes, bytes]:
    judged = [field for field in headers if field[0] in _JUDGED]
    seen = dict(judged)
    if len(seen) < len(judged):
        names = [name for name, _ in judged]
        twice = next(name for name in names if names.count(name) > 1)
        raise malformed(f"the header {twice.decode()} is there more than once")
    return seen


def _origin_form(method: str, target: bytes, settings: ServerSettings, local: str) -> bytes:
    if _FRAGMENT in target:
        raise malformed("a target has no fragment")
    if target.startswith(b"/"):
        return target
    if target == b"*":
        if method != "OPTIONS":
            raise malformed("only OPTIONS may ask for *")
        return target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in {b"http", b"https"}:
        raise malformed("the target is neither a path nor an http address")
    end = min((place for place in (rest.find(b"/"), rest.find(b"?")) if place >= 0), default=len(rest))
    check_host(rest[:end], settings, local)
    path = rest[end:]
    return path if path.startswith(b"/") else b"/" + path


def _check_source(seen: dict[bytes, bytes], settings: ServerSettings, local: str, *, old: bool) -> None:
    host = seen.get(b"host")
    if host is not None:
        check_host(host, settings, local)
    elif not old:
        raise malformed("there is no Host header")
    origin, site = seen.get(b"origin"), seen.get(b"sec-fetch-site")
    if origin is not None or site is not None:
        check_origin(origin, site, settings, local)


def _check_coding(seen: dict[bytes, bytes], *, old: bool) -> None:
    framing = seen.get(b"transfer-encoding")
    if framing is not None and (old or framing.lower() != b"chunked"):
        raise malformed("the only transfer-encoding spoken here is chunked, in HTTP/1.1")
    coding = seen.get(b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        what = "content-encoding: a compressed request body is not understood here. Send it as it is."
        raise Refused(415, what)


def _length(seen: dict[bytes, bytes], settings: ServerSettings) -> int | None:
    if b"transfer-encoding" in seen:
        return None
    length = int(seen.get(b"content-length", b"0"))
    if length > settings.max_body:
        raise too_large(settings.max_body)
    return length


def too_large(limit: int) -> Refused:
    """413 for a body over the limit."""
    what = f"The request body is larger than {limit} bytes (server.max_body)."
    return Refused(413, what)


def _expects(seen: dict[bytes, bytes]) -> bool:
    expectation = seen.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise Refused(417, "expect: only 100-continue can be met.")
    return expectation is not None
