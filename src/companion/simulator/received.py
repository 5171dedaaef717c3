"""The ledger: what the simulator was asked, byte for byte, and when the asker left."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

from companion.net.h1 import Headers, header

_SECRET = frozenset({b"authorization", b"x-api-key", b"proxy-authorization", b"cookie"})


@dataclass(kw_only=True)
class Received:
    """One request as it came. Header names are in lower case; times are monotonic seconds.

    `finished` tells that the reply was played to its end, be it an answer or a cut. `eof_at` is when the client left
    before that. `reply` names what it was given.
    """

    number: int
    connection: int
    at: float
    method: str
    target: str
    headers: Headers
    body: bytes
    reply: str = ""
    finished: bool = False
    eof_at: float | None = None
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.body).hexdigest()

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever the case of its name."""
        value = header(self.headers, name.lower().encode())
        return None if value is None else value.decode("latin-1")

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def stream(self) -> bool:
        return isinstance(self.json, dict) and self.json.get("stream") is True

    @property
    def model(self) -> str | None:
        model = self.json.get("model") if isinstance(self.json, dict) else None
        return model if isinstance(model, str) else None

    def as_json(self) -> dict[str, Any]:
        """A line of the ledger, without the body; credentials appear as the beginning of their sha256."""
        return {
            "number": self.number,
            "connection": self.connection,
            "at": round(self.at, 6),
            "method": self.method,
            "target": self.target,
            "headers": [[name.decode("latin-1"), _shown(name, value)] for name, value in self.headers],
            "bytes": len(self.body),
            "sha256": self.sha256,
            "model": self.model,
            "stream": self.stream,
            "reply": self.reply,
            "finished": self.finished,
            "eof_at": None if self.eof_at is None else round(self.eof_at, 6),
        }


def _shown(name: bytes, value: bytes) -> str:
    if name not in _SECRET:
        return value.decode("latin-1")
    scheme, _, secret = value.rpartition(b" ")
    return f"{scheme.decode('latin-1')} sha256:{hashlib.sha256(secret).hexdigest()[:12]}".strip()
