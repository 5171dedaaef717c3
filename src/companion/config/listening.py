"""Where the proxy listens, what it takes from clients, and who they are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from companion.config.base import Model
from companion.config.fields import (
    Count,
    Duration,
    DurationOrZero,
    FilePath,
    ListenHost,
    Name,
    PemPath,
    Port,
    Rate,
    Size,
    TokenHash,
    TrustedHost,
)
from companion.config.hosts import is_loopback

_MIB: Final = 1024**2


class TlsSettings(Model):
    """The certificate that clients see. Without one they are spoken to in plain text, which is fine on this machine."""

    certificate: FilePath | None = Field(
        default=None, description="PEM file of the certificate, with those between it and its authority; null: no TLS."
    )
    key: FilePath | None = Field(
        default=None, validate_default=True, description="PEM file of the certificate's private key, unencrypted."
    )
    client_ca: PemPath | None = Field(
        default=None,
        validate_default=True,
        description="PEM file of authorities; clients must show a certificate of one. null: need not.",
    )

    @field_validator("key")
    @classmethod
    def _fits_the_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate: Path | None = info.data.get("certificate")
        if key is None and certificate is not None:
            raise ValueError("is missing: a certificate needs its private key, such as key: server.key")
        if key is not None and "certificate" in info.data:
            _check_pair(certificate, key)
        return key

    @field_validator("client_ca")
    @classmethod
    def _not_without_a_certificate(cls, authorities: Path | None, info: ValidationInfo) -> Path | None:
        if authorities is not None and info.data.get("certificate", authorities) is None:
            raise ValueError("has no effect without tls.certificate; give a certificate and its key, too")
        return authorities


class ServerSettings(Model):
    """Where the proxy listens, and what it takes from clients."""

    host: ListenHost = Field(
        default="127.0.0.1",
        description="127.0.0.1 or localhost (both with ::1), ::1, or with access.clients any address.",
    )
    port: Port = Field(default=8080, description="Port to listen on; 0: any free one.")
    tls: TlsSettings = Field(default=TlsSettings(), description="The certificate that clients see.")
    max_body: Size = Field(default=32 * _MIB, description="The largest request body; a larger one gets a 413.")
    max_inflight_bytes: Size = Field(
        default=512 * _MIB, description="All request bodies in memory together; a request beyond that gets a 529."
    )
    max_connections: Count = Field(default=2000, description="Connections of clients at once.")
    keep_alive: Duration = Field(default=300.0, description="How long a connection may be idle between two requests.")
    header_timeout: Duration = Field(
        default=10.0, description="How long a request's headers may take, from its first byte."
    )
    min_body_rate: Rate = Field(default=1000.0, description="The slowest that a request body may come.")
    client_write_timeout: Duration = Field(
        default=60.0, description="How long a client may take nothing of an answer before it is cut off."
    )
    drain: DurationOrZero = Field(default=30.0, description="How long answers may go on when the proxy is to stop.")
    trusted_hosts: tuple[TrustedHost, ...] = Field(
        default=(), description="Further names under which this machine is asked (Host and Origin headers)."
    )


class ClientSettings(Model):
    """Who may use the proxy. The token is printed once, when it is made; here is only what recognises it."""

    name: Name = Field(description="What logs and records call the client.", examples=["ann"])
    token_hash: TokenHash = Field(
        repr=False,
        description="sha256: and the token's SHA-256 in 64 hexadecimal digits.",
        examples=[f'"sha256:{"0" * 64}"'],
    )


class AccessSettings(Model):
    """Who may use the proxy. Without clients, every program on this machine may, and nobody else."""

    clients: tuple[ClientSettings, ...] = Field(
        default=(), description="Who has a token; companion client add NAME makes one."
    )

    @field_validator("clients")
    @classmethod
    def _each_its_own(cls, clients: tuple[ClientSettings, ...]) -> tuple[ClientSettings, ...]:
        wrong = [*_twice("name", clients), *_twice("token_hash", clients)]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return clients


def _twice(key: str, clients: tuple[ClientSettings, ...]) -> Iterator[InitErrorDetails]:
    values = [getattr(client, key) for client in clients]
    for index, value in enumerate(values):
        if value in values[:index]:
            said = PydanticCustomError("twice", "another client has the same {key}; give each its own", {"key": key})
            yield InitErrorDetails(type=said, loc=(index, key), input=None)


def exposed(host: str, access: AccessSettings) -> str | None:
    """Why the proxy must not listen on `host`: a sentence; None if it may."""
    if is_loopback(host) or access.clients:
        return None
    return (
        "can be reached from other machines, and nothing says who may use it: make a client with "
        "`companion client add NAME`, or listen on 127.0.0.1"
    )


def _check_pair(certificate: Path | None, key: Path) -> None:
    import ssl  # noqa: PLC0415 - slow to import, and only those who use TLS need it

    if certificate is None:
        raise ValueError("has no certificate: give certificate: too, or leave out both")

    def refuse_password() -> str:
        raise ValueError(f"{key} is encrypted; it must be there without a password")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, refuse_password)
    except ssl.SSLError as error:
        raise ValueError(_why_not(error, certificate, key)) from None
    except OSError as error:
        which = next((path for path in (certificate, key) if not path.is_file()), certificate)
        raise ValueError(f"{which} cannot be read: {(error.strerror or 'unknown reason').lower()}") from None


def _why_not(error: Exception, certificate: Path, key: Path) -> str:
    if re.search("MISMATCH", str(error)):
        return f"{key} is not the private key of the certificate {certificate}"
    return f"{certificate} and {key} are no certificate with its private key in PEM format"
