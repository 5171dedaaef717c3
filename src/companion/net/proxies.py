"""Proxies between us and an upstream: what a URL says about one, and which one the environment names for an origin.

HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name a proxy, NO_PROXY what is reached without; each in lower case too, which goes
first. HTTP_PROXY in capitals is not read where REQUEST_METHOD is set: there, a client's header could have set it. This
machine itself is never behind a proxy of the environment.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from companion.net.origin import Origin

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_HTTP: Final = frozenset({"http", "https"})
# What desktops write for "the SOCKS proxy of the settings".
_OTHER_NAMES: Final = {"socks": "socks5h"}
_SEPARATORS: Final = re.compile(r"[,\s]+")

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy: `http`, `https`, `socks5` (we look names up) or `socks5h` (it does). Its text holds no password."""

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> "Proxy":
        """The proxy of a URL; user and password in it are percent-decoded. Raises ValueError, without the URL in it."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            host = host and (host if host.isascii() else host.encode("idna").decode())
        except ValueError:
            raise ValueError("is not a URL") from None
        if parts.scheme not in _PORTS:
            raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in _PORTS)}")
        if not host or port == 0:
            raise ValueError("must have a host, and no port 0")
        user, password = (None if each is None else unquote(each) for each in (parts.username, parts.password))
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], user, password)

    @property
    def speaks_http(self) -> bool:
        """It is asked by CONNECT; else by SOCKS."""
        return self.scheme in _HTTP

    @property
    def secure(self) -> bool:
        """TLS is spoken with the proxy itself."""
        return self.scheme == "https"

    @property
    def resolves(self) -> bool:
        """It looks up the upstream's name by itself."""
        return self.scheme != "socks5"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unusable:
    """There should be a proxy, but `why` it cannot be asked: nothing goes out, least of all without it."""

    why: str


Route = Proxy | Unusable | None
"""By which proxy an upstream is reached; None: by none."""


def route(said: str | None, origin: Origin, environ: Mapping[str, str]) -> Route:
    """The way to an origin by what the configuration says: `env`, `none`, or a URL (None where that has no value)."""
    if said is None:
        return Unusable("the proxy's URL cannot be resolved")
    if said == "none":
        return None
    name, url = _named(origin, environ) if said == "env" else ("the proxy's URL", said)
    if not url:
        return None
    try:
        return Proxy.of(url)
    except ValueError as error:
        return Unusable(f"{name} {error}")


def bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY has this host: `*`, addresses, networks (10.0.0.0/8), or names with all that is below them.

    A dot or `*.` before a name changes nothing. With `:port` behind it, an entry is about that port only.
    """
    host = host.lower().rstrip(".")
    address = _address(host)
    return any(_covers(entry, host, address, port) for entry in _SEPARATORS.split(no_proxy.lower()) if entry)


def _named(origin: Origin, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that names the proxy for an origin, and what it says; empty where there is none."""
    if _is_loopback(origin.host) or bypassed(origin.host, origin.port, _first(environ, "no_proxy", "NO_PROXY")[1]):
        return "", ""
    name, said = _first(environ, *_variables(origin.scheme, environ), "all_proxy", "ALL_PROXY")
    if said and "://" not in said:
        return name, f"http://{said}"
    scheme, colon, rest = said.partition(":")
    return name, _OTHER_NAMES.get(scheme, scheme) + colon + rest


def _variables(scheme: str, environ: Mapping[str, str]) -> Iterator[str]:
    yield f"{scheme}_proxy"
    if scheme != "http" or "REQUEST_METHOD" not in environ:
        yield f"{scheme}_proxy".upper()


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    return next(((name, said) for name in names if (said := environ.get(name, "").strip())), ("", ""))


def _is_loopback(host: str) -> bool:
    host = host.lower().rstrip(".")
    address = _address(host)
    return address.is_loopback if address is not None else host == "localhost" or host.endswith(".localhost")


def _covers(entry: str, host: str, address: _Ip | None, port: int) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is None:
        entry, only = _split(entry)
        if only is not None and only != port:
            return False
        network = _network(entry)
    if network is not None or address is not None:
        return network is not None and address is not None and address in network
    name = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split(entry: str) -> tuple[str, int | None]:
    """An entry and the port behind it."""
    before, colon, digits = entry.rpartition(":")
    if colon and digits.isascii() and digits.isdigit():
        return before.removeprefix("[").removesuffix("]"), int(digits)
    return entry.removeprefix("[").removesuffix("]"), None


def _network(entry: str) -> _Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _address(host: str) -> _Ip | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
