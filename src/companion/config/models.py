"""The configuration as frozen models: its schema, its defaults and its documentation in one.

Attribute names are the keys of the file (`from_` is `from`). Durations are seconds, sizes bytes, rates bytes a second.
Descriptions become comments of the first file (template) and the reference page (reference).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from companion.config.base import Model
from companion.config.endpoint import (
    AuthSettings,
    BodyEdits,
    EndpointSettings,
    HeaderEdits,
    Limits,
    ModelSettings,
    PoolSettings,
    RewriteRule,
    Timeouts,
)
from companion.config.fields import (
    Count,
    Duration,
    DurationOrZero,
    FilePath,
    LoopbackHost,
    PemPath,
    Port,
    Rate,
    Size,
    Switch,
    TrustedHost,
    Validation,
)

__all__ = [
    "AuthSettings",
    "BodyEdits",
    "Defaults",
    "EndpointSettings",
    "GateSettings",
    "HeaderEdits",
    "HealthSettings",
    "Limits",
    "LoggingSettings",
    "ModelSettings",
    "PoolSettings",
    "RewriteRule",
    "ServerSettings",
    "Settings",
    "Timeouts",
    "Validation",
]

_MIB: Final = 1024**2
_PORTS: Final = {"http": 80, "https": 443}
_EVERY_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

M = TypeVar("M", bound=Model)


class ServerSettings(Model):
    """Where the proxy listens, and what it takes from clients."""

    host: LoopbackHost = Field(
        default="127.0.0.1", description="Where to listen: 127.0.0.1 or localhost (both with ::1), or ::1 alone."
    )
    port: Port = Field(default=8080, description="Port to listen on; 0: any free one.")
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


class LoggingSettings(Model):
    """What the proxy writes about itself: never a key, a prompt or an answer."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged: debug, info, warning, error; each leaves out those before it."
    )
    format: Literal["text", "json"] = Field(default="text", description="text for people, or json: one object a line.")
    file: FilePath | None = Field(default=None, description="A file to append to; null: standard error.")


class Defaults(Model):
    """What holds for every endpoint that says nothing else."""

    timeouts: Timeouts = Field(default=Timeouts(), description="How long each step of a try may take.")
    pool: PoolSettings = Field(default=PoolSettings(), description="Connections to one endpoint, kept and shared.")
    ca: PemPath | None = Field(
        default=None, description="PEM file of certificate authorities to trust, besides the system's."
    )


class HealthSettings(Model):
    """When an endpoint is left alone because it failed, and for how long."""

    failures: Count = Field(default=3, description="So many faults in a row open its circuit: others are asked first.")
    window: Duration = Field(
        default=60.0, description="So does this: half of at least five answers within this time were faults."
    )
    open: Duration = Field(default=10.0, description="How long a circuit stays open; each time twice as long …")
    open_max: Duration = Field(default=600.0, description="… up to this time.")

    @field_validator("open_max")
    @classmethod
    def _not_less_than_open(cls, longest: float, info: ValidationInfo) -> float:
        if longest < info.data.get("open", 0.0):
            raise ValueError("must not be shorter than health.open")
        return longest


class GateSettings(Model):
    """How an answer is held back until it has proved itself, so that failures before that stay invisible."""

    hold: Literal["content", "visible"] = Field(
        default="content", description="Until any first content (content), or the first that is not thinking (visible)."
    )
    patience: DurationOrZero = Field(default=45.0, description="After so long the client gets pings while it waits.")
    ping: Duration = Field(default=10.0, description="Time between two pings.")
    deadline: Duration = Field(default=240.0, description="After so long no further endpoint is tried.")
    after_text: Literal["auto", "resume", "cut"] = Field(
        default="auto",
        description="If an answer breaks after its text: cut it off, resume (close it), auto: by client.",
    )


class Settings(Model):
    """The whole file."""

    server: ServerSettings = Field(
        default=ServerSettings(), description="Where it listens, what it takes from clients."
    )
    logging: LoggingSettings = Field(default=LoggingSettings(), description="What it writes about itself.")
    defaults: Defaults = Field(default=Defaults(), description="What holds for every endpoint that says nothing else.")
    endpoints: tuple[EndpointSettings, ...] = Field(default=(), description="Who can answer.")
    health: HealthSettings = Field(default=HealthSettings(), description="When an endpoint that fails is left alone.")
    gate: GateSettings = Field(
        default=GateSettings(), description="How an answer is held back until it has proved itself."
    )
    validation: Validation = Field(
        default="repair",
        description="Broken answers: strict (a fault), repair (mend what is safe to), observe (count).",
    )
    response_headers: Switch = Field(default=True, description="Answers tell in x-companion-… headers who gave them.")

    _timeouts: dict[str, Timeouts] = PrivateAttr(default_factory=dict)
    _pools: dict[str, PoolSettings] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _context: Any) -> None:
        for endpoint in self.endpoints:
            self._timeouts[endpoint.id] = _over(self.defaults.timeouts, endpoint.timeouts)
            self._pools[endpoint.id] = _over(self.defaults.pool, endpoint.pool)

    def timeouts_of(self, endpoint: EndpointSettings) -> Timeouts:
        """The timeouts of one of these endpoints: its own, and where it has none, the defaults."""
        return self._timeouts[endpoint.id]

    def pool_of(self, endpoint: EndpointSettings) -> PoolSettings:
        """The pool of one of these endpoints: its own, and where it says nothing, the defaults."""
        return self._pools[endpoint.id]

    def validation_of(self, endpoint: EndpointSettings) -> Validation:
        """How strictly one of these endpoints is judged."""
        return endpoint.validation or self.validation

    @field_validator("endpoints", mode="wrap")
    @classmethod
    def _fit_together(cls, raw: Any, judge: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Compares what was written, so that a mistake within one endpoint does not hide a clash between two."""
        problems = [*_clashes(raw), *_loops(raw, info.data.get("server"))]
        try:
            endpoints = judge(raw)
        except ValidationError as error:
            problems += map(_again, error.errors(include_url=False))
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return endpoints


def _over(base: M, own: M) -> M:
    return base.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _clashes(raw: Any) -> Iterator[InitErrorDetails]:
    """Names and ids that two endpoints have. Who has no id of its own has its name as one."""
    names: dict[str, tuple[int, str]] = {}
    ids: dict[str, tuple[int, str]] = {}
    for index, endpoint in enumerate(raw if isinstance(raw, list | tuple) else ()):
        name, id = _text(endpoint, "name"), _text(endpoint, "id")
        namesake = names.setdefault(name, (index, "name"))
        double = ids.setdefault(id or name, (index, "id" if id else "name"))
        if name and namesake[0] != index:
            yield _clash((index, "name"), name, namesake)
        if double[0] != index and (id or (name and namesake[0] == index)):
            yield _clash((index, "id" if id else "name"), id or name, double)


def _loops(raw: Any, server: Any) -> Iterator[InitErrorDetails]:
    """URLs that would make the proxy ask itself."""
    if not isinstance(server, ServerSettings) or server.port == 0:
        return
    hosts = _EVERY_LOOPBACK if server.host in _EVERY_LOOPBACK else {server.host}
    for index, endpoint in enumerate(raw if isinstance(raw, list | tuple) else ()):
        try:
            parts = urlsplit(_text(endpoint, "url"))
            own = parts.hostname in hosts and (parts.port or _PORTS.get(parts.scheme)) == server.port
        except ValueError:
            continue
        if own:
            said = PydanticCustomError("loop", "is the address of this proxy itself; write an upstream's")
            yield InitErrorDetails(type=said, loc=(index, "url"), input=None)


def _again(error: ErrorDetails) -> InitErrorDetails:
    """An error that was raised, to be raised together with others."""
    return InitErrorDetails(type=error["type"], loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


def _text(endpoint: Any, key: str) -> str:
    value = endpoint.get(key) if isinstance(endpoint, Mapping) else getattr(endpoint, key, None)
    return value.strip() if isinstance(value, str) else ""


def _clash(place: tuple[int, str], value: str, other: tuple[int, str]) -> InitErrorDetails:
    context = {"value": value, "other": ("endpoints", *other)}
    said = PydanticCustomError("clash", 'another endpoint is called "{value}" already', context)
    return InitErrorDetails(type=said, loc=place, input=value)
