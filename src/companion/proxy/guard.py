"""Who may talk to us: programs, and no web page that a browser shows.

A page elsewhere can make a browser send requests here (drive-by), or let its own name resolve to our address (DNS
rebinding). The first shows in Origin and Sec-Fetch-Site, the second in Host; both are looked at on every route. Ours
are loopback, the address that the connection came in on, the name in server.host, and server.trusted_hosts.
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final, NamedTuple

from companion.config.hosts import is_loopback
from companion.config.models import ServerSettings
from companion.proxy.refused import Refused, malformed

_MAX_AUTHORITY: Final = 300
_AUTHORITY: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
_WEB: Final = (b"http", b"https")
# What stands for every address names none: browsers take it for this machine.
_NOBODY: Final = frozenset({"0.0.0.0", "::"})


class _Host(NamedTuple):
    name: str
    loopback: bool


def check_host(authority: bytes, settings: ServerSettings, local: str) -> None:
    """Refuse a Host (or the authority of an absolute target) that is not ours: 400 if it is none at all, else 403.

    `local` is the address that the connection came in on.
    """
    host = _host(authority)
    if host is None:
        raise malformed("the Host header does not name a host")
    if not _is_ours(host, settings, local):
        raise _forbidden(f"Host {host.name!r} is not this machine", host)


def check_origin(origin: bytes | None, site: bytes | None, settings: ServerSettings, local: str) -> None:
    """Refuse what a foreign web page sends: by its Origin, or by Sec-Fetch-Site where there is no Origin."""
    if origin is not None:
        scheme, _, authority = origin.partition(b"://")
        host = _host(authority) if scheme.lower() in _WEB else None
        if host is None or not _is_ours(host, settings, local):
            shown = origin[:_MAX_AUTHORITY].decode("latin-1")
            raise _forbidden(f"Origin {shown!r} is a foreign web page", host)
    elif site is not None and site.lower() == b"cross-site":
        raise _forbidden("the request was made by a foreign web page (Sec-Fetch-Site: cross-site)", None)


def _forbidden(why: str, host: _Host | None) -> Refused:
    what = f"{host.name!r}" if host else "its host name"
    way_out = f"If that is meant to reach Claude Code Companion, add {what} to server.trusted_hosts."
    return Refused(403, f"Refused: {why}. {way_out}")


def _is_ours(host: _Host, settings: ServerSettings, local: str) -> bool:
    if host.loopback:
        return True
    ours = (local, settings.host, *settings.trusted_hosts)
    return host.name not in _NOBODY and any(host.name == _plain(name) for name in ours)


def _host(authority: bytes) -> _Host | None:
    """The host in `host:port`, or None if that is not what it is."""
    # The cache below must not be filled with long rubbish.
    return _parsed(authority) if len(authority) <= _MAX_AUTHORITY else None


@lru_cache(maxsize=256)
def _parsed(authority: bytes) -> _Host | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    name = _plain((match[1] or match[2]).decode("ascii"))
    return _Host(name, _loopback(name))


@lru_cache(maxsize=256)
def _plain(name: str) -> str:
    """One spelling for each name and address."""
    name = name.lower().strip("[]").removesuffix(".")
    try:
        return ipaddress.ip_address(name.partition("%")[0]).compressed
    except ValueError:
        return name


def _loopback(name: str) -> bool:
    return name.endswith(".localhost") or is_loopback(name)
