"""A certificate, as `ssl` decodes it, in the two things that people ask about it: whose it is, and until when."""

import ssl
from collections.abc import Mapping
from typing import Any


def subject_of(certificate: Mapping[str, Any]) -> str:
    """The common name, else the first name that it is valid for."""
    names = [value for entry in certificate.get("subject", ()) for key, value in entry if key == "commonName"]
    names += [value for _, value in certificate.get("subjectAltName", ())]
    return str(names[0]) if names else ""


def days_left(certificate: Mapping[str, Any], wall: float) -> int | None:
    """Whole days until it expires; None where it does not say. `wall` is now (epoch seconds)."""
    expires = certificate.get("notAfter")
    return None if expires is None else int((ssl.cert_time_to_seconds(expires) - wall) // 86_400)
