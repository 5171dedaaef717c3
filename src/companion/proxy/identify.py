"""The room `identify`: which client is this?

Without `access.clients` every program on this machine is the same nameless client. With them, everybody shows a token,
on this machine too; from there on the token is out of the request, so that no upstream ever sees it.
"""

from typing import Final

from companion.clients.tokens import Client, Clients, has_credential
from companion.config.hosts import is_loopback
from companion.config.models import AccessSettings
from companion.errors import ClientError, Fault, Kind, Party, Phase, UpstreamError
from companion.net.h1 import Headers
from companion.proxy.refused import Refused

_HERE: Final = frozenset({"127.0.0.1", "::1"})

_MISSING: Final = (
    "This Claude Code Companion knows its clients by token, and this request has none. `companion client add NAME` on "
    "its machine makes one; put it into ANTHROPIC_AUTH_TOKEN where Claude Code is started (Authorization: Bearer or "
    "x-api-key)."
)
_WRONG: Final = (
    "This token is not, or no longer, one of this Claude Code Companion. `companion client add NAME` on its machine "
    "makes a new one; put it into ANTHROPIC_AUTH_TOKEN where Claude Code is started."
)
_CLOSED: Final = (
    "This Claude Code Companion has no clients yet, so it answers its own machine only. `companion client add NAME` "
    "there makes a token; put it into ANTHROPIC_AUTH_TOKEN where Claude Code is started."
)
_NO_OWN_KEY: Final = (
    "the client sent no key of its own: with auth.type passthrough and access.clients, the token belongs into one of "
    "the headers x-api-key and Authorization, and the client's own key into the other"
)


def identify(clients: Clients, headers: Headers, peer: str) -> Client | None:
    """The client, None where there are none to tell apart. Raises ClientError (401)."""
    if not clients:
        if is_loopback(peer):
            return None
        raise ClientError(401, "authentication_error", _CLOSED)
    client = clients.identify(headers)
    if client is None:
        raise ClientError(401, "authentication_error", _WRONG if has_credential(headers) else _MISSING)
    return client


class Door:
    """Identifies by the settings of each exchange; those of the last one are kept ready."""

    def __init__(self) -> None:
        self._access = AccessSettings()
        self._clients = Clients(self._access)
        self._anybody = not self._clients

    def enter(self, access: AccessSettings, headers: Headers, peer: str) -> tuple[Client | None, Headers]:
        """The client, and the headers without its token. Raises ClientError (401)."""
        if access is not self._access:
            self._access, self._clients = access, Clients(access)
            self._anybody = not self._clients
        if self._anybody and peer in _HERE:
            return None, headers
        client = identify(self._clients, headers, peer)
        return client, headers if client is None else self._clients.without_tokens(headers)

    def check(self, access: AccessSettings, target: bytes, headers: Headers, peer: str) -> None:
        """The same for a head whose body is not read yet: strangers are not to fill our memory. Raises Refused."""
        if self._anybody and access is self._access and peer in _HERE:
            return
        if target.lstrip(b"/").startswith(b"v1/"):
            try:
                self.enter(access, headers, peer)
            except ClientError as error:
                raise Refused(error.status, error.message) from None


def check_own_key(headers: Headers) -> None:
    """A passthrough endpoint needs a key that the client itself brings. Raises UpstreamError (UNRESOLVED)."""
    if not has_credential(headers):
        raise UpstreamError(Fault(Party.CLIENT, Phase.CONNECT, Kind.UNRESOLVED, _NO_OWN_KEY))
