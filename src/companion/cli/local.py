"""Asking a companion that runs on this machine, by its base URL."""

import http.client
import ssl
from urllib.parse import urlsplit


def get(url: str, path: str, seconds: float = 2.0) -> tuple[int, bytes]:
    """Status and body. Who answers is on this machine, so its certificate is not looked at.

    `seconds` is how long each step may take. Raises OSError, http.client.HTTPException.
    """
    parts = urlsplit(url)
    if parts.hostname is None:
        raise OSError(f"{url} is not an address such as http://127.0.0.1:8080")
    asking = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    if parts.scheme == "https":
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        asking = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=trusting)
    try:
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.status, answer.read()
    finally:
        asking.close()


def answers(url: str) -> bool:
    """Whether a companion is there."""
    try:
        return get(url, "/")[1].startswith(b"Claude Code Companion")
    except (OSError, http.client.HTTPException):
        return False
