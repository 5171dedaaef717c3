"""One entry under `endpoints`, and what it consists of."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from companion.config.base import Model
from companion.config.fields import (
    Count,
    CountOrZero,
    Duration,
    DurationOrAuto,
    DurationOrNone,
    HeaderName,
    HeaderValue,
    JsonValue,
    Name,
    Proxy,
    Repair,
    Switch,
    Text,
    Url,
    Validation,
    Weight,
    Whole,
)
from companion.config.secrets import without_query

ProbeWith = Literal["auto", "models", "count_tokens", "message", "none"]

_NEEDS_VALUES: Final = frozenset({"auth_token", "api_key"})
_SENT_AS: Final = {"auth_token": "authorization", "api_key": "x-api-key"}
_AUTH: Final = '{type: api_key, values: ["${ANTHROPIC_API_KEY}"]}'
_NOT_FOR_EDITS: Final = {
    "model": "models.default or models.rewrite changes the model",
    "messages": "the conversation is the client's",
    "stream": "whether an answer is streamed is for the client to say",
}


class Timeouts(Model):
    """How long each step of a try may take.

    All but `connect`, `tls`, `write` and `whole_answer` are about streamed answers. A stream that lives is never cut.
    """

    connect: Duration = Field(default=5.0, description="To connect, or to get a free connection of the pool.")
    tls: Duration = Field(default=10.0, description="For the TLS handshake.")
    write: Duration = Field(default=60.0, description="Without any progress while the request is sent.")
    headers: Duration = Field(
        default=90.0, description="To the answer's head; 1 s more for each 32 KiB sent. Not for the last candidate."
    )
    idle_gate: Duration = Field(
        default=120.0, description="Complete silence before the first content. Not for the last candidate."
    )
    first_content: DurationOrNone = Field(
        default=None, description="To the first content, pings or not; none: no limit. Not for the last candidate."
    )
    headers_last: Duration = Field(default=590.0, description="To the answer's head of the last candidate there is.")
    idle: Duration = Field(
        default=290.0, description="Complete silence after the first content, or of the last candidate."
    )
    whole_answer: DurationOrAuto = Field(
        default=None, description="A whole answer that is not streamed; auto: as long as the client waits, less 10 s."
    )


class PoolSettings(Model):
    """The connections to one endpoint that are kept and shared."""

    max_connections: Count = Field(default=64, description="Connections at once; further requests wait for one.")
    keep_warm: CountOrZero = Field(default=1, description="Connections that are open before anybody asks; 0: none.")
    idle: Duration = Field(default=90.0, description="How long a connection that nobody uses is kept.")


class AuthSettings(Model):
    """How the proxy signs in at an endpoint."""

    type: Literal["auth_token", "api_key", "passthrough", "none"] = Field(
        description="api_key (x-api-key), auth_token (Bearer), passthrough (the client's own key), none.",
        examples=["api_key"],
    )
    values: tuple[Text, ...] = Field(
        default=(),
        validate_default=True,
        repr=False,
        description="Keys in the order to try: ${NAME}, file:/path, keyring:name, or the key.",
        examples=[["${ANTHROPIC_API_KEY}"]],
    )

    @field_validator("values")
    @classmethod
    def _fit_the_type(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        type = info.data.get("type")
        if type in _NEEDS_VALUES and not values:
            raise ValueError(f'auth type {type} needs at least one key, such as values: ["${{ANTHROPIC_API_KEY}}"]')
        if type in {"passthrough", "none"} and values:
            sent = "the client's own key is sent" if type == "passthrough" else "no key is sent"
            raise ValueError(f"auth type {type} takes no keys, because {sent}; remove them or choose another type")
        if any(len(list(same)) > 1 for _, same in groupby(sorted(values))):
            raise ValueError("the same key is there twice; remove one of them")
        return values


class RewriteRule(Model):
    """One rule: which model is asked for instead of which."""

    from_: Text = Field(
        alias="from",
        description="The name that the client asks for, or a pattern: * is any text, ? any character.",
        examples=["claude-*haiku*"],
    )
    to: Text = Field(description="The name that is sent instead.", examples=["small-model"])


class ModelSettings(Model):
    """Which model an endpoint is asked for. The answer always shows the name that the client asked for."""

    default: Text | None = Field(default=None, description="Sent instead of every name that no rule fits.")
    rewrite: tuple[RewriteRule, ...] = Field(
        default=(), description='Rules like {from: "claude-*haiku*", to: small-model}; the first that fits counts.'
    )


class Limits(Model):
    """What an endpoint is asked for at most."""

    concurrency: Count | None = Field(
        default=None, description="Messages at once; further ones go to the next candidate. null: no limit."
    )


class HeaderEdits(Model):
    """What is changed in the request's headers on the way to an endpoint."""

    set: Mapping[HeaderName, HeaderValue] = Field(
        default={}, repr=False, description="Headers to add or replace. ${NAME}, file: and keyring: work here, too."
    )
    remove: tuple[HeaderName, ...] = Field(default=(), description="Names of headers that are not passed on.")

    @field_validator("set")
    @classmethod
    def _no_name_twice(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        names = [name.lower() for name in headers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is there twice; upper and lower case make no difference")
        return headers


class BodyEdits(Model):
    """What is changed in the request's body on the way to an endpoint: top-level fields only."""

    set: Mapping[str, JsonValue] = Field(default={}, description="Fields to add or replace, with their values.")
    remove: tuple[Text, ...] = Field(default=(), description="Names of fields that are not passed on.")

    @field_validator("set", "remove")
    @classmethod
    def _leave_the_question_alone(cls, fields: Any) -> Any:
        for name in fields:
            if name in _NOT_FOR_EDITS:
                raise ValueError(f"{name} cannot be changed here: {_NOT_FOR_EDITS[name]}")
        return fields


class RepairSettings(Model):
    """Which requests are mended for an upstream that would refuse them. Without a word here: those that it refused."""

    always: tuple[Repair, ...] = Field(default=(), description="Repairs to make before anything was refused.")
    never: tuple[Repair, ...] = Field(default=(), validate_default=True, description="Repairs not to make at all.")

    @field_validator("never")
    @classmethod
    def _not_both(cls, never: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for name in never:
            if name in info.data.get("always", ()):
                raise ValueError(f"{name} is among always, too; remove it from one of them")
        return never

    def over(self, base: "RepairSettings") -> "RepairSettings":
        """These, and those of `base` about which these say nothing."""
        always = self.always + tuple(name for name in base.always if name not in {*self.always, *self.never})
        never = self.never + tuple(name for name in base.never if name not in {*self.always, *self.never})
        return RepairSettings(always=always, never=never)


class EndpointProbe(Model):
    """How an endpoint is asked whether it is back."""

    with_: ProbeWith | None = Field(alias="with", default=None, description="As health.probe.with; null: as it says.")
    model: Text | None = Field(default=None, description="The model to ask for; null: one that it was asked for.")


class EndpointSettings(Model):
    """One upstream that can answer.

    Labels are for later: nothing gives labels to requests yet, so an endpoint that has labels is not asked.
    """

    name: Name = Field(description="What logs, headers and errors call it.", examples=["anthropic"])
    id: Name = Field(
        default_factory=lambda data: str(data["name"]),
        description="Identity that outlives a new name; its health hangs on it. null: the name.",
    )
    type: Literal["anthropic"] = Field(default="anthropic", description="The protocol that it speaks: anthropic.")
    url: Url = Field(
        description="Base URL; /v1 or /v1/messages at its end may be there or not.",
        examples=["https://api.anthropic.com"],
    )
    auth: AuthSettings = Field(description="How the proxy signs in.", examples=[_AUTH])
    enabled: Switch = Field(default=True, description="false: it stays in this file and is never asked.")
    priority: Whole = Field(default=1, description="The lowest number is asked first.")
    weight: Weight = Field(default=1.0, description="Within a priority, the heaviest is asked first.")
    labels: tuple[Text, ...] = Field(
        default=(),
        description="Only requests that have labels, all of them among these. Empty: any request.",
    )
    models: ModelSettings = Field(default=ModelSettings(), description="Which model it is asked for.")
    timeouts: Timeouts = Field(
        default=Timeouts(), description="What is different here from defaults.timeouts, such as {headers: 240s}."
    )
    pool: PoolSettings = Field(default=PoolSettings(), description="What is different here from defaults.pool.")
    limits: Limits = Field(default=Limits(), description="What it is asked for at most.")
    proxy: Proxy | None = Field(
        default=None, repr=False, description="env, none or a URL for this endpoint only; null: as defaults.proxy."
    )
    probe: EndpointProbe = Field(default=EndpointProbe(), description="How it is asked whether it is back.")
    repairs: RepairSettings = Field(
        default=RepairSettings(), description="What is different here from defaults.repairs."
    )
    headers: HeaderEdits = Field(default=HeaderEdits(), description="Changes of the request's headers.")
    body: BodyEdits = Field(default=BodyEdits(), description="Changes of the request's body: top-level fields.")
    validation: Validation | None = Field(
        default=None, description="strict, repair or observe for this endpoint only; null: what is set for all."
    )

    @property
    def shown_url(self) -> str:
        """The URL without a key that may be in its query."""
        return without_query(self.url)

    @field_validator("headers")
    @classmethod
    def _one_credential(cls, headers: HeaderEdits, info: ValidationInfo) -> HeaderEdits:
        auth = info.data.get("auth")
        sent = _SENT_AS.get(auth.type) if isinstance(auth, AuthSettings) else None
        if sent in {name.lower() for name in headers.set}:
            raise ValueError(f"set.{sent} is what auth sends already; remove it, or choose auth type none")
        return headers
