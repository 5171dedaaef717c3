"""Which headers of an upstream's answer the client gets."""

from collections.abc import Iterable
from typing import Final

from companion.net.h1 import HOP_BY_HOP, Headers

# Framing is ours; cookies and host policies are not for our origin; whose account it was is nobody's business.
_NEVER: Final = HOP_BY_HOP | {
    b"content-length",
    b"content-encoding",
    b"set-cookie",
    b"set-cookie2",
    b"alt-svc",
    b"strict-transport-security",
    b"public-key-pins",
    b"anthropic-organization-id",
    b"openai-organization",
    b"x-request-id",
    b"date",
}
_NEVER_PREFIXES: Final = (b"x-companion-", b"proxy-")
_LIMITS: Final = (b"anthropic-ratelimit-", b"x-ratelimit-", b"ratelimit")


def passed(headers: Iterable[tuple[bytes, bytes]], *, limits: bool) -> Headers:
    """The end-to-end headers that pass; `limits`: with rate limits and retry-after, those of the only account."""
    named = {part.strip().lower() for name, value in headers if name == b"connection" for part in value.split(b",")}
    return [
        (name, value)
        for name, value in headers
        if name not in _NEVER
        and name not in named
        and not name.startswith(_NEVER_PREFIXES)
        and (limits or not (name == b"retry-after" or name.startswith(_LIMITS)))
    ]
