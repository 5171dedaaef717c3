"""Which headers of an upstream's answer the client gets."""

from collections.abc import Sequence
from typing import Final

from companion.net.h1 import HOP_BY_HOP, Headers, kept

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
_USUAL: Final = ([b"keep-alive"], [b"close"])
_LIMITS: Final = (b"anthropic-ratelimit-", b"x-ratelimit-", b"ratelimit")


def passed(headers: Sequence[tuple[bytes, bytes]], *, limits: bool) -> Headers:
    """The end-to-end headers that pass; `limits`: with rate limits and retry-after, those of the only account."""
    passes = _passes if limits else _passes_pooled
    fields = [field for field in headers if passes(field[0])]
    told = [value for name, value in headers if name == b"connection"]
    if not told or told in _USUAL:
        return fields
    named = {part.strip().lower() for value in told for part in value.split(b",")}
    return [field for field in fields if field[0] not in named]


_passes: Final = kept(lambda name: name not in _NEVER and not name.startswith(_NEVER_PREFIXES))
_passes_pooled: Final = kept(lambda name: _passes(name) and name != b"retry-after" and not name.startswith(_LIMITS))
