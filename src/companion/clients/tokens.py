"""Client tokens: 256 random bits each. The configuration holds only digests, so it gives no token away."""

import hashlib
import hmac
import secrets
from typing import Final

import msgspec

from companion.config.models import AccessSettings
from companion.net.h1 import Headers

PREFIX: Final = "ccc_"
_ALGORITHM: Final = "sha256:"
_BEARER: Final = b"bearer "
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})


class Client(msgspec.Struct, frozen=True):
    """Somebody who has a token."""

    name: str


def new_token() -> str:
    """A token that nobody has yet. It is shown once and never kept."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What `access.clients[].token_hash` holds of a token."""
    return _ALGORITHM + hashlib.sha256(token.encode()).hexdigest()


class Clients:
    """All clients there are; false when there are none."""

    def __init__(self, access: AccessSettings) -> None:
        hashes = ((each.token_hash.removeprefix(_ALGORITHM), each.name) for each in access.clients)
        self._known = [(bytes.fromhex(known), Client(name)) for known, name in hashes]

    def __bool__(self) -> bool:
        return bool(self._known)

    def identify(self, headers: Headers) -> Client | None:
        """Whose token is among these headers: in Authorization (Bearer) or in x-api-key."""
        for name, value in headers:
            if name in _CREDENTIALS and (token := _token(value)) and (client := self._owner(token)) is not None:
                return client
        return None

    def without_tokens(self, headers: Headers) -> Headers:
        """The headers without any token of ours, also one that has been removed: no upstream is to see it."""
        return [field for field in headers if field[0] not in _CREDENTIALS or not self._ours(_token(field[1]))]

    def _ours(self, token: bytes) -> bool:
        return token.startswith(PREFIX.encode()) or self._owner(token) is not None

    def _owner(self, token: bytes) -> Client | None:
        """Compares with every digest there is, in constant time: how long it takes tells nothing."""
        asked = hashlib.sha256(token).digest()
        found = None
        for known, client in self._known:
            if hmac.compare_digest(known, asked):
                found = client
        return found


def has_credential(headers: Headers) -> bool:
    """Whether a key or login of whatever kind is among these headers."""
    return any(name in _CREDENTIALS and _token(value) for name, value in headers)


def _token(value: bytes) -> bytes:
    """What a credential header holds, with or without `Bearer` before it."""
    return (value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else value).strip()
