"""The configuration as frozen models. They are its schema, its defaults and its documentation at once.

Attribute names are the keys of the file. Durations are seconds, sizes bytes, rates bytes a second, once they are read.
"""

import re
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from companion.config import words

Duration = Annotated[float, BeforeValidator(words.duration), Field(ge=0, json_schema_extra={"unit": "duration"})]
Size = Annotated[int, BeforeValidator(words.size), Field(ge=1, json_schema_extra={"unit": "size"})]
Rate = Annotated[float, BeforeValidator(words.rate), Field(ge=0, json_schema_extra={"unit": "rate"})]
Validation = Literal["strict", "repair", "observe"]

M = TypeVar("M", bound=BaseModel)

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


def _absent(value: object, *, word: str, read: Any) -> object:
    return None if value is None or value == word else read(value)


OrNone = Annotated[
    float | None,
    BeforeValidator(partial(_absent, word="none", read=words.duration)),
    Field(json_schema_extra={"unit": "duration or none"}),
]
OrAuto = Annotated[
    float | None,
    BeforeValidator(partial(_absent, word="auto", read=words.duration)),
    Field(json_schema_extra={"unit": "duration or auto"}),
]


class Model(BaseModel):
    """What all sections have in common: frozen, nothing unknown, text without spaces around it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, populate_by_name=True)


class ServerSettings(Model):
    """Where the proxy listens, and what it takes from one client."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on. Only loopback, for now; ::1 is listened on, too"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="Port to listen on; 0 takes any free one")
    max_body: Size = Field(default=32 * 1024**2, description="Largest request body; above it: 413")
    max_inflight_bytes: Size = Field(
        default=512 * 1024**2, description="Request bodies held in memory at once, all clients together; above it: 529"
    )
    max_connections: int = Field(default=2000, ge=1, description="Client connections at once")
    keep_alive: Duration = Field(default=300.0, description="How long an idle connection is kept open")
    header_timeout: Duration = Field(
        default=10.0, description="How long a request's headers may take, from its first byte"
    )
    min_body_rate: Rate = Field(default=1000.0, description="Slowest upload of a request body that is waited for")
    client_write_timeout: Duration = Field(
        default=60.0, description="How long a client may read nothing before it is cut off"
    )
    drain: Duration = Field(
        default=30.0, description="How long running answers may go on when the proxy is told to stop"
    )
    trusted_hosts: tuple[str, ...] = Field(
        default=(), description="Names besides localhost under which pages and programs may address the proxy"
    )

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not _is_loopback(host):
            raise ValueError(
                f"{host!r} is not a loopback address. Until there are client tokens, only 127.0.0.1, ::1 or localhost "
                "can be listened on"
            )
        return host


class LoggingSettings(Model):
    """What the proxy says about itself. Never a credential, a prompt or an answer."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is worth a line"
    )
    format: Literal["text", "json"] = Field(default="text", description="Lines for people, or one JSON object a line")
    file: Path | None = Field(default=None, description="A file to append to instead of standard error")


class Timeouts(Model):
    """How long each step of a try may take. Those of a whole stream there is none: it may last as long as it lives."""

    connect: Duration = Field(default=5.0, description="To a TCP connection, or a free one of the pool")
    tls: Duration = Field(default=10.0, description="The TLS handshake")
    write: Duration = Field(default=60.0, description="Without progress in sending the request")
    headers: Duration = Field(
        default=90.0,
        description="To the answer's head while another endpoint is left; 1 s more for each 32 KiB of the request",
    )
    idle_gate: Duration = Field(
        default=120.0, description="Silence before the first content while another endpoint is left"
    )
    first_content: OrNone = Field(default=None, description="To the first content while another endpoint is left")
    headers_last: Duration = Field(default=590.0, description="To the answer's head when no other endpoint is left")
    idle: Duration = Field(default=290.0, description="Silence of a stream that has begun, or of the last endpoint")
    whole_answer: OrAuto = Field(
        default=None,
        description="For an answer that is not streamed, all tries together; auto: what the client waits, less 10 s",
    )


class PoolSettings(Model):
    """Connections to one upstream."""

    max_connections: int = Field(default=64, ge=1, description="Connections at once to one endpoint")
    idle: Duration = Field(default=90.0, description="How long an unused connection is kept")


class Defaults(Model):
    """What holds for every endpoint that says nothing else."""

    timeouts: Timeouts = Field(default=Timeouts(), description="How long each step of a try may take")
    pool: PoolSettings = Field(default=PoolSettings(), description="Connections to one endpoint")
    ca: Path | None = Field(
        default=None, description="PEM file of further certificate authorities, besides the system's"
    )


class AuthSettings(Model):
    """The credentials of an endpoint, tried in this order."""

    type: Literal["auth_token", "api_key", "passthrough", "none"] = Field(
        default="api_key",
        description="api_key sends x-api-key, auth_token sends Authorization: Bearer, passthrough what the client sent",
    )
    values: tuple[str, ...] = Field(
        default=(),
        description="The keys: ${NAME} from the environment, file:/path, keyring:name, or the key itself",
        repr=False,
    )

    @model_validator(mode="after")
    def _enough(self) -> Self:
        needs = self.type in {"auth_token", "api_key"}
        if needs and not any(self.values):
            raise ValueError(f"values: auth type {self.type} needs at least one key, such as ${{MY_KEY}}")
        if not needs and self.values:
            raise ValueError(
                f"values: auth type {self.type} takes no keys; remove them or choose api_key or auth_token"
            )
        if any(not value for value in self.values):
            raise ValueError("values: a key is empty")
        return self


class RewriteRule(Model):
    """Asked for one model, the endpoint is asked for another; the answer shows the first."""

    from_: str = Field(alias="from", min_length=1, description="Name or pattern (*, ?, [abc]) of the model asked for")
    to: str = Field(min_length=1, description="The model that this endpoint is asked for instead")


class ModelSettings(Model):
    """Which model names an endpoint gets to hear."""

    default: str | None = Field(default=None, min_length=1, description="Replaces every name that no rule matches")
    rewrite: tuple[RewriteRule, ...] = Field(default=(), description="Rules, the first that matches counts")


class Limits(Model):
    """What an endpoint is asked at most."""

    concurrency: int | None = Field(default=None, ge=1, description="Messages at once; more go to the next endpoint")


class HeaderEdits(Model):
    """Changes of the request headers for an endpoint."""

    set: Mapping[str, str] = Field(default={}, description="Headers to add or replace")
    remove: tuple[str, ...] = Field(default=(), description="Headers to leave out")

    @model_validator(mode="after")
    def _legal(self) -> Self:
        for name in (*self.set, *self.remove):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
            if name.lower() in _OURS:
                raise ValueError(f"{name} is set by the proxy itself and cannot be changed")
        for name, value in self.set.items():
            if not value.isprintable() or not value.isascii():
                raise ValueError(f"set.{name}: a header value is one line of ASCII text")
        return self


class BodyEdits(Model):
    """Changes of top-level fields of the request body for an endpoint."""

    set: Mapping[str, Any] = Field(default={}, description="Fields to add or replace")
    remove: tuple[str, ...] = Field(default=(), description="Fields to leave out")


class EndpointSettings(Model):
    """One upstream that answers."""

    id: str = Field(
        default="", description="Never changes, so that a renamed endpoint keeps its history; the name if left out"
    )
    name: str = Field(min_length=1, description="What it is called in logs, headers and errors")
    type: Literal["anthropic"] = Field(default="anthropic", description="The protocol that it speaks")
    url: str = Field(description="Base URL, with or without /v1")
    auth: AuthSettings = Field(description="Its credentials")
    enabled: bool = Field(default=True, description="false leaves it out")
    priority: int = Field(default=1, description="Lower is asked first; equal ones form a group")
    weight: float = Field(default=1.0, gt=0, description="Heavier is asked first within a group")
    labels: tuple[str, ...] = Field(
        default=(), description="Only requests with these labels may use it; empty: any request"
    )
    models: ModelSettings = Field(default=ModelSettings(), description="Model names")
    timeouts: Timeouts = Field(default=Timeouts(), description="Overrides defaults.timeouts, key by key")
    pool: PoolSettings = Field(default=PoolSettings(), description="Overrides defaults.pool, key by key")
    limits: Limits = Field(default=Limits(), description="What it is asked at most")
    headers: HeaderEdits = Field(default=HeaderEdits(), description="Changes of the request headers")
    body: BodyEdits = Field(default=BodyEdits(), description="Changes of the request body")
    validation: Validation | None = Field(default=None, description="Overrides validation")

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL such as https://api.anthropic.com")
        if parts.username or parts.password:
            raise ValueError("a URL must not hold a password; put the key under auth")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError(f"{url!r} has a port that is none") from None
        return url

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if not self.id:
            object.__setattr__(self, "id", self.name)
        return self


class HealthSettings(Model):
    """When an endpoint is left alone, and for how long."""

    failures: int = Field(default=3, ge=1, description="Faults in a row that open the circuit")
    window: Duration = Field(
        default=60.0, description="Within it, half of at least five tries failing opens the circuit, too"
    )
    open: Duration = Field(default=10.0, description="How long it stays open the first time; each time twice as long")
    open_max: Duration = Field(default=600.0, description="The longest that it stays open")


class GateSettings(Model):
    """How long an answer is held back so that another endpoint can give a better one."""

    hold: Literal["content", "visible"] = Field(
        default="content", description="visible: thinking alone does not open it"
    )
    patience: Duration = Field(default=45.0, description="After it the client gets pings, and still no answer")
    ping: Duration = Field(default=10.0, description="Between two pings in a silence")
    deadline: Duration = Field(default=240.0, description="After it no further endpoint is asked")
    after_text: Literal["auto", "resume", "cut"] = Field(
        default="auto", description="A cut behind finished text: by the client's version, or always one way"
    )


class Settings(Model):
    """The whole file."""

    server: ServerSettings = Field(default=ServerSettings(), description="Where the proxy listens")
    logging: LoggingSettings = Field(default=LoggingSettings(), description="What it says about itself")
    defaults: Defaults = Field(default=Defaults(), description="What holds for every endpoint that says nothing else")
    endpoints: tuple[EndpointSettings, ...] = Field(default=(), description="Who answers")
    health: HealthSettings = Field(default=HealthSettings(), description="When an endpoint is left alone")
    gate: GateSettings = Field(default=GateSettings(), description="How long an answer is held back")
    validation: Validation = Field(
        default="repair",
        description="strict: a broken answer is a fault; repair: mended where that is safe; observe: counted",
    )
    response_headers: bool = Field(default=True, description="Tell on answers which endpoint gave them (x-companion-…)")

    _timeouts: dict[str, Timeouts] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _: Any) -> None:
        base = self.defaults.timeouts
        self._timeouts.update((endpoint.id, _over(base, endpoint.timeouts)) for endpoint in self.endpoints)

    def timeouts_of(self, endpoint: EndpointSettings) -> Timeouts:
        """The defaults with what the endpoint says otherwise."""
        return self._timeouts.get(endpoint.id) or _over(self.defaults.timeouts, endpoint.timeouts)

    def pool_of(self, endpoint: EndpointSettings) -> PoolSettings:
        """The defaults with what the endpoint says otherwise."""
        return _over(self.defaults.pool, endpoint.pool)

    def validation_of(self, endpoint: EndpointSettings) -> Validation:
        """How strictly this endpoint's answers are taken."""
        return endpoint.validation or self.validation


def _over(base: M, own: M) -> M:
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
