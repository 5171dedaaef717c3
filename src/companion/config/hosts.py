"""What is a host, and which hosts are this machine itself."""

import re
from ipaddress import ip_address
from typing import Final

_HOST: Final = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?)+")


def is_host(name: str) -> bool:
    """Whether it is a host name or a literal address, without port."""
    return _HOST.fullmatch(name) is not None or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether it is this machine itself: 127.0.0.0/8, ::1 or localhost."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
