"""Who may talk to us: programs on this machine, and no web page that a browser shows.

A page elsewhere can make a browser send requests here (drive-by), or let its own name resolve to 127.0.0.1 (DNS
rebinding). The first shows in Origin and Sec-Fetch-Site, the second in Host; both are looked at on every route.
"""

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final

from companion.proxy.refused import Refused, malformed

_MAX_AUTHORITY: Final = 300
_AUTHORITY: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
_WEB: Final = (b"http", b"https")


def check_host(authority: bytes, trusted: Collection[str]) -> None:
    """Refuse a Host (or the authority of an absolute target) that is not ours: 400 if it is none at all, else 403."""
    name = _host(authority)
    if name is None:
        raise malformed("the Host header does not name a host")
    if not _ours(name, trusted):
        raise _forbidden(f"Host {name!r} is not this machine", name)


def check_origin(origin: bytes | None, site: bytes | None, trusted: Collection[str]) -> None:
    """Refuse what a foreign web page sends: by its Origin, or by Sec-Fetch-Site where there is no Origin."""
    if origin is not None:
        scheme, _, authority = origin.partition(b"://")
        name = _host(authority) if scheme.lower() in _WEB else None
        if name is None or not _ours(name, trusted):
            shown = origin[:_MAX_AUTHORITY].decode("latin-1")
            raise _forbidden(f"Origin {shown!r} is a foreign web page", name)
    elif site is not None and site.lower() == b"cross-site":
        raise _forbidden("the request was made by a foreign web page (Sec-Fetch-Site: cross-site)", None)


def _forbidden(why: str, name: str | None) -> Refused:
    what = f"{name!r}" if name else "its host name"
    way_out = f"If that is meant to reach Claude Code Companion, add {what} to server.trusted_hosts."
    return Refused(403, f"Refused: {why}. {way_out}")


def _ours(name: str, trusted: Collection[str]) -> bool:
    return _loopback(name) or any(name == _plain(entry) for entry in trusted)


def _host(authority: bytes) -> str | None:
    """The host name in `host:port`, or None if that is not what it is."""
    # The cache below must not be filled with long rubbish.
    return _parsed(authority) if len(authority) <= _MAX_AUTHORITY else None


@lru_cache(maxsize=256)
def _parsed(authority: bytes) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    return _plain((match[1] or match[2]).decode("ascii")) if match else None


def _plain(name: str) -> str:
    return name.lower().strip("[]").removesuffix(".")


@lru_cache(maxsize=256)
def _loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
