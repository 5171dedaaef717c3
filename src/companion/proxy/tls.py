"""TLS for what our server listens on: a transport between the event loop's and a Connection.

It does what the plain one does, which the event loop's own TLS does not: our side can be shut alone (close_notify, then
FIN) while the client's rest is still taken, so that no reset destroys an answer on its way; and whoever speaks plain
HTTP to this port is told so.
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final, cast

import structlog

from companion.config.models import TlsSettings

_READ: Final = 256 * 1024
_SENTENCE: Final = b"This port speaks TLS only (server.tls of Claude Code Companion): ask it by https://\n"
_PLAIN_HTTP: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b" % (len(_SENTENCE), _SENTENCE)
)

_log = structlog.get_logger("companion.proxy.server")


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """Reads the files, so not for the event loop. Raises OSError (ssl.SSLError is one) when they cannot be used."""
    assert settings.certificate is not None, "asked for only where there is one"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    # Without a password of ours OpenSSL would ask for one on the terminal.
    context.load_cert_chain(settings.certificate, settings.key, password="")
    if settings.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=settings.client_ca)
    return context


class _State(Enum):
    FRESH = auto()
    HANDSHAKE = auto()
    OPEN = auto()
    SHUT = auto()
    REFUSED = auto()


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """One connection: a Protocol for the event loop, a Transport for `above`.

    The handshake may take `timeout` seconds. What is above is there from the beginning, so that it is counted.
    """

    def __init__(self, context: ssl.SSLContext, above: asyncio.Protocol, timeout: float) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._above = above
        self._timeout = timeout
        self._state = _State.FRESH
        self._raw: asyncio.Transport
        self._timer: asyncio.TimerHandle

    # === called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._late)
        self._above.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._state is _State.OPEN:
            self._incoming.write(data)
            self._read()
        elif self._state is _State.SHUT:
            # It is thrown away above, where only its size counts.
            self._above.data_received(data)
        elif self._state is not _State.REFUSED:
            self._shake_hands(data)

    def eof_received(self) -> None:
        """The event loop closes after this."""
        self._end_of_input()
        self._notify()

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        if self._state is _State.HANDSHAKE:
            self._tell("the client left in the middle of the handshake: it may not trust the certificate")
        self._above.connection_lost(error)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # === called from above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        # For every event of a stream, so without a call more than it takes.
        if self._state is _State.OPEN:
            try:
                self._tls.write(data)
            except ssl.SSLError:
                self.abort()
            else:
                self._raw.write(self._outgoing.read())

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Close_notify and FIN, once everything before it is out."""
        self._notify()
        self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._notify()
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tls if name == "ssl_object" else self._raw.get_extra_info(name, default)

    # === inside

    def _shake_hands(self, data: bytes) -> None:
        if self._state is _State.FRESH:
            self._state = _State.HANDSHAKE
            if data[:1].isalpha():
                self._refuse("plain HTTP on a port with TLS", _PLAIN_HTTP)
                return
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._refuse(error.reason or str(error), self._outgoing.read())
        else:
            self._timer.cancel()
            self._state = _State.OPEN
            self._read()

    def _read(self) -> None:
        """Everything that is whole by now."""
        pieces: list[bytes] = []
        ended = broken = False
        try:
            while piece := self._tls.read(_READ):
                pieces.append(piece)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            broken = True
        self._flush()
        if pieces:
            self._above.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if broken:
            self.abort()
        elif ended:
            self._end_of_input()
            self.close()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def _end_of_input(self) -> None:
        if self._state is not _State.REFUSED:
            self._above.eof_received()

    def _notify(self) -> None:
        """Say that nothing more comes from here: without it the client could not tell the end from a cut cable."""
        if self._state is _State.OPEN:
            self._state = _State.SHUT
            # Ours is written at once; the client's need not be waited for.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def _refuse(self, why: str, words: bytes) -> None:
        """Nothing will be read any more; the client has what is left of its time to hear why."""
        self._tell(why)
        self._state = _State.REFUSED
        self._raw.write(words)
        self._raw.write_eof()

    def _late(self) -> None:
        if self._state is not _State.REFUSED:
            self._tell("no handshake in time (server.header_timeout)")
            self._state = _State.REFUSED
        self.abort()

    def _tell(self, why: str) -> None:
        peer = self._raw.get_extra_info("peername")
        _log.info("tls refused", why=why, peer=peer[0] if peer else "")
