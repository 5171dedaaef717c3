"""From the client's request to what one candidate is sent: URL, headers, credential, model, body edits.

The body is the client's own bytes; where a rule changes a field, only that field is spliced. What is never passed on:
the client's credentials (unless `passthrough`), cookies, what concerns one connection only, and our own headers.
"""

import re
from fnmatch import translate
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec

from companion.config.models import AuthSettings, EndpointSettings, ModelSettings
from companion.net.h1 import HOP_BY_HOP, Headers, header, kept
from companion.protocol.spans import splice
from companion.upstream.transport import Outgoing

_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
_NEVER: Final = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"accept-encoding",
    b"cookie",
    b"expect",
    b"origin",
    b"referer",
    b"x-request-id",
    b"forwarded",
    b"via",
}
_NEVER_PREFIXES: Final = (b"x-companion-", b"x-forwarded-", b"sec-", b"proxy-")
_TAIL: Final = re.compile(r"(/v1(/messages)?)?/*$")
_VERSION: Final = (b"anthropic-version", b"2023-06-01")
_AS_IT_IS: Final = (b"accept-encoding", b"identity")
_COMPRESSED: Final = (b"accept-encoding", b"gzip, deflate, br, zstd")


class Question(msgspec.Struct):
    """What the client asked, as far as an upstream is to hear it. `path` begins with `/v1/`."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    model: str | None = None
    stream: bool = False


@lru_cache(maxsize=256)
def base_of(url: str) -> tuple[str, bytes]:
    """A base URL's path and query: with or without `/`, `/v1` or `/v1/messages` at its end it means the same."""
    parts = urlsplit(url)
    path = _TAIL.sub("", parts.path)
    return path, parts.query.encode()


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def model_for(models: ModelSettings, asked: str | None) -> str | None:
    """The name that this endpoint is to hear: the first rewrite rule that matches, else `default`, else as asked."""
    if asked is None:
        return None
    for rule in models.rewrite:
        if _glob(rule.from_).match(asked):
            return rule.to
    return models.default or asked


def prepare(question: Question, settings: EndpointSettings, credential: str | None) -> tuple[Outgoing, str | None]:
    """The request for one candidate, and the model name in it."""
    recipe = _recipe(settings, credential)
    model = model_for(recipe.models, question.model) if recipe.renames else question.model
    body: tuple[bytes, ...] = (question.body,) if question.body else ()
    if body and (recipe.edits or model != question.model):
        body = _edited(question, recipe, model)
    return Outgoing(question.method.encode(), recipe.target(question), recipe.headers(question), body), model


class _Recipe:
    """What all requests to one candidate have in common: it follows from the configuration, so it is made once."""

    def __init__(self, settings: EndpointSettings, credential: str | None) -> None:
        self.settings: Final = settings
        self.edits: Final = _edits(settings)
        self.models: Final = settings.models
        self.renames: Final = bool(settings.models.rewrite or settings.models.default)
        base, self._query = base_of(settings.url)
        self._base = base.encode("latin-1")
        headers = settings.headers
        dropped = {name.lower().encode() for name in (*headers.remove, *headers.set)}
        passes = _passes_with_credentials if settings.auth.type == "passthrough" else _passes
        self._passes = kept(lambda name: passes(name) and name not in dropped) if dropped else passes
        self._version = () if _VERSION[0] in dropped else (_VERSION,)
        self._first = (b"host", _authority(settings.url))
        self._last = (
            *_credential(settings.auth, credential),
            *((name.lower().encode(), value.encode()) for name, value in headers.set.items()),
        )

    def target(self, question: Question) -> bytes:
        query = b"&".join([part for part in (self._query, question.query) if part])
        target = self._base + question.path.encode("latin-1")
        return target + b"?" + query if query else target

    def headers(self, question: Question) -> tuple[tuple[bytes, bytes], ...]:
        passes = self._passes
        fields = [field for field in question.headers if passes(field[0])]
        if header(fields, _VERSION[0]) is None:
            fields += self._version
        if named := _named_by_connection(question.headers):
            fields = [field for field in fields if field[0] not in named]
        return (self._first, *fields, _AS_IT_IS if question.stream else _COMPRESSED, *self._last)


# By the settings' identity: a recipe holds them, so no other object can have their id while it is a key here.
_recipes: Final[dict[tuple[int, str | None], _Recipe]] = {}
_RECIPES: Final = 256


def _recipe(settings: EndpointSettings, credential: str | None) -> _Recipe:
    recipe = _recipes.get((id(settings), credential))
    if recipe is None:
        if len(_recipes) >= _RECIPES:
            _recipes.clear()
        recipe = _recipes[id(settings), credential] = _Recipe(settings, credential)
    return recipe


def _edited(question: Question, recipe: _Recipe, model: str | None) -> tuple[bytes, ...]:
    """Only a Messages request (it names a model) is edited."""
    edits: dict[str, bytes | None] = {}
    if question.model is not None:
        edits |= recipe.edits
    if model is not None and model != question.model:
        edits["model"] = msgspec.json.encode(model)
    return splice(question.body, edits) if edits else (question.body,)


def _edits(settings: EndpointSettings) -> dict[str, bytes | None]:
    edits: dict[str, bytes | None] = dict.fromkeys(settings.body.remove)
    edits.update({key: msgspec.json.encode(value) for key, value in settings.body.set.items()})
    return edits


_passes_with_credentials: Final = kept(lambda name: name not in _NEVER and not name.startswith(_NEVER_PREFIXES))
_passes: Final = kept(lambda name: _passes_with_credentials(name) and name not in _CREDENTIALS)


def _named_by_connection(headers: Headers) -> set[bytes]:
    """What the client declares as its own connection's business, besides the usual."""
    told = [value for name, value in headers if name == b"connection"]
    if not told or told == [b"keep-alive"]:
        return set()
    return {part.strip().lower() for value in told for part in value.split(b",")}


def _credential(auth: AuthSettings, credential: str | None) -> Headers:
    if credential is None:
        return []
    if auth.type == "api_key":
        return [(b"x-api-key", credential.encode())]
    if auth.type == "auth_token":
        return [(b"authorization", b"Bearer " + credential.encode())]
    return []


@lru_cache(maxsize=256)
def _authority(url: str) -> bytes:
    return urlsplit(url).netloc.encode()
