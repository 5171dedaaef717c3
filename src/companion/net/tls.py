"""The one TLS context of the process: system trust, plus a PEM file of the user's, TLS 1.2 or later, HTTP/1.1.

Reading the system's certificates takes 40 ms, so it happens when the first https upstream is dialled, and once.
"""

import os
import ssl
import threading
from pathlib import Path
from typing import Final

# Where systems keep their trust when OpenSSL was built for another one (Python builds that move between machines).
_BUNDLES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


class TlsContext:
    """Gives the shared context, built at the first call (in any thread). `ca` is a PEM file added to system trust.

    SSL_CERT_FILE and SSL_CERT_DIR replace system trust, as everywhere. Raises OSError (ssl.SSLError is one) if `ca`
    cannot be read; the next call tries again.
    """

    def __init__(self, ca: Path | None = None) -> None:
        self._ca = ca
        self._built: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def __call__(self) -> ssl.SSLContext:
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for bundle in (other_trust(ssl.get_default_verify_paths()), self._ca):
            if bundle is not None:
                context.load_verify_locations(cafile=bundle)
        return context


def other_trust(known: ssl.DefaultVerifyPaths, bundles: tuple[Path, ...] = _BUNDLES) -> Path | None:
    """The first of these bundles that is there, if OpenSSL itself knows of no trust on this machine; else None."""
    if known.cafile or known.capath or os.name == "nt":
        return None
    return next((bundle for bundle in bundles if bundle.is_file()), None)
