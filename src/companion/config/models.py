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
    EndpointProbe,
    EndpointSettings,
    HeaderEdits,
    Limits,
    ModelSettings,
    PoolSettings,
    ProbeWith,
    RepairSettings,
    RewriteRule,
    Timeouts,
)
from companion.config.fields import (
    Count,
    Duration,
    DurationOrZero,
    Expression,
    FilePath,
    PemPath,
    Proxy,
    Size,
    StoreUrl,
    Switch,
    Validation,
)
from companion.config.listening import AccessSettings, ClientSettings, ServerSettings, TlsSettings, exposed

__all__ = [
    "AccessSettings",
    "AuthSettings",
    "BodyEdits",
    "ClientSettings",
    "Defaults",
    "EndpointProbe",
    "EndpointSettings",
    "GateSettings",
    "HeaderEdits",
    "HealthSettings",
    "Limits",
    "LoggingSettings",
    "ModelSettings",
    "PoolSettings",
    "ProbeSettings",
    "ProbeWith",
    "RecordsSettings",
    "RepairSettings",
    "RewriteRule",
    "ServerSettings",
    "Settings",
    "Timeouts",
    "TlsSettings",
    "Validation",
]

_GIB: Final = 1024**3
_PORTS: Final = {"http": 80, "https": 443}
_EVERY_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_ANY: Final = frozenset({"0.0.0.0", "::"})

M = TypeVar("M", bound=Model)


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
    proxy: Proxy = Field(
        default="env",
        repr=False,
        description="env (HTTPS_PROXY, NO_PROXY …), none, or an http, https, socks5 or socks5h URL.",
    )
    repairs: RepairSettings = Field(
        default=RepairSettings(), description="Requests that are mended for upstreams that would refuse them."
    )


class ProbeSettings(Model):
    """How an endpoint that failed is asked whether it is back, beside all requests."""

    interval: Duration = Field(default=30.0, description="Time between two probes of an open circuit, give or take.")
    timeout: Duration = Field(default=10.0, description="How long a probe may take.")
    with_: ProbeWith = Field(
        alias="with",
        default="auto",
        description="auto (models or count_tokens: free), models, count_tokens, message (billed), none.",
    )


class HealthSettings(Model):
    """When an endpoint is left alone because it failed, and for how long."""

    failures: Count = Field(default=3, description="So many faults in a row open its circuit: others are asked first.")
    window: Duration = Field(
        default=60.0, description="So does this: half of at least five answers within this time were faults."
    )
    open: Duration = Field(default=10.0, description="How long a circuit stays open; each time twice as long …")
    open_max: Duration = Field(default=600.0, description="… up to this time.")
    probe: ProbeSettings = Field(
        default=ProbeSettings(), description="How one that failed is asked whether it is back."
    )
    trial: Literal["probe", "request"] = Field(
        default="probe",
        description="What tries an open circuit while others can answer: a probe, or a live request.",
    )

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


class RecordsSettings(Model):
    """What is written down about requests and answers. It holds prompts and code; keys never."""

    store: StoreUrl = Field(
        default="sqlite:///companion.db",
        description="sqlite:/// and a file, as a path from this file's folder, or absolute; none: nothing.",
    )
    keep: Duration = Field(default=2592000.0, description="How long records are kept.")
    max_size: Size = Field(
        default=5 * _GIB, description="The most that the store may take; the oldest bodies go first."
    )
    bodies: Literal["full", "failed", "none"] = Field(
        default="full",
        description="What is kept of requests and answers: full, failed (of what went wrong only), none.",
    )
    redact: tuple[Expression, ...] = Field(
        default=(), description="Regular expressions for text that is blackened before anything is written."
    )


class Settings(Model):
    """The whole file."""

    server: ServerSettings = Field(
        default=ServerSettings(), description="Where it listens, what it takes from clients."
    )
    logging: LoggingSettings = Field(default=LoggingSettings(), description="What it writes about itself.")
    access: AccessSettings = Field(
        default=AccessSettings(), validate_default=True, description="Who may use the proxy."
    )
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

    records: RecordsSettings = Field(
        default=RecordsSettings(), description="What is written down. It holds prompts and code."
    )

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

    def proxy_of(self, endpoint: EndpointSettings) -> str:
        """The proxy between us and one of these endpoints: `env`, `none` or a URL as it is written."""
        return endpoint.proxy or self.defaults.proxy

    def probe_of(self, endpoint: EndpointSettings) -> ProbeSettings:
        """How one of these endpoints is probed."""
        own = endpoint.probe.with_
        return self.health.probe if own is None else self.health.probe.model_copy(update={"with_": own})

    def repairs_of(self, endpoint: EndpointSettings) -> RepairSettings:
        """The repairs that are always or never made for one of these endpoints."""
        return endpoint.repairs.over(self.defaults.repairs)

    @field_validator("access")
    @classmethod
    def _not_open_to_all(cls, access: AccessSettings, info: ValidationInfo) -> AccessSettings:
        server = info.data.get("server")
        said = exposed(server.host, access) if isinstance(server, ServerSettings) else None
        if said is not None:
            raise PydanticCustomError("exposed", "{said}", {"said": said, "at": ("server", "host")})
        return access

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
    hosts = _EVERY_LOOPBACK if server.host in _EVERY_LOOPBACK | _ANY else {server.host}
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
