"""GET /v1/models[/{id}]: an upstream's list where there is one, else the names that the configuration knows."""

from datetime import UTC, datetime
from math import inf
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from companion.config.models import Settings
from companion.errors import Answer, Kind, Phase
from companion.net.h1 import header
from companion.proxy.attempt import Attempt
from companion.proxy.exchange import Exchange
from companion.proxy.failed import Refusal
from companion.proxy.sniff import json_fault
from companion.proxy.whole import WholeSurface
from companion.upstream.transport import Response

_DISCOVERY: Final = 2.5
_WILD: Final = frozenset("*?[")
_SINCE: Final = datetime(2025, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")


class ModelsSurface(WholeSurface):
    """Claude Code waits 3 s for it and takes any redirect as a failure."""

    slot = False
    reconnects = False
    count_tokens = True

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        agent = header(exchange.request.headers, b"user-agent") or b""
        self.patience = _DISCOVERY if agent.startswith(b"claude-code/") else inf

    def _checked(self, attempt: Attempt, response: Response, body: bytes) -> bytes:
        """An upstream without a model list answers its own kind of 200; only a list, or the one model, will do."""
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            told = {}
        one = self._one()
        good = isinstance(told.get("data"), list) if one is None else isinstance(told.get("id"), str)
        if not good:
            headers = response.headers
            raise json_fault(Kind.NOT_THERE, "no model list", response.status, headers, body, Phase.BODY)
        return body

    def instead(self) -> Refusal | None:
        known = [_model(name) for name in names(self._exchange.settings)]
        one = self._one()
        if one is None:
            first, last = (known[0]["id"], known[-1]["id"]) if known else (None, None)
            return _found({"data": known, "has_more": False, "first_id": first, "last_id": last})
        found = next((model for model in known if model["id"] == one), None)
        if found is not None:
            return _found(found)
        return Refusal(404, "not_found_error", f"model: {one} is not known to any endpoint")

    def _one(self) -> str | None:
        return unquote(self._exchange.question.path.removeprefix("/v1/models").strip("/")) or None


def names(settings: Settings) -> list[str]:
    """The model names that a client may ask for by the configuration alone: what rules rewrite, and defaults."""
    found: dict[str, None] = {}
    for endpoint in settings.endpoints:
        if endpoint.enabled:
            found.update((rule.from_, None) for rule in endpoint.models.rewrite if not _WILD & set(rule.from_))
            if endpoint.models.default:
                found[endpoint.models.default] = None
    return list(found)


def _model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _SINCE}


def _found(body: dict[str, Any]) -> Refusal:
    answer = Answer(200, ((b"content-type", b"application/json"),), msgspec.json.encode(body))
    return Refusal(200, "", "", answer=answer)
