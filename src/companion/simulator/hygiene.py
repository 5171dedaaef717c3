"""Headers of a real upstream that a proxy has to sort: some belong to an account, some to a connection."""

from typing import Final

from companion.simulator.exchange import Fields

_RESET: Final = "2031-01-01T00:00:00Z"

LIMITS: Final[Fields] = (
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", _RESET),
    ("anthropic-ratelimit-tokens-limit", "400000"),
    ("anthropic-ratelimit-tokens-remaining", "399000"),
    ("anthropic-ratelimit-tokens-reset", _RESET),
    ("anthropic-ratelimit-unified-status", "allowed"),
)


def fields(port: int, number: int) -> Fields:
    """What goes on every answer; the request id tells which simulator gave it, and to which request of its ledger."""
    return (
        ("request-id", f"req_sim_{port}_{number}"),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("set-cookie", f"__cf_bm=simulator-{port}; path=/; HttpOnly; Secure"),
        ("alt-svc", 'h3=":443"; ma=86400'),
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("via", "1.1 simulator"),
        ("cf-cache-status", "DYNAMIC"),
        ("server", "simulator"),
    )
