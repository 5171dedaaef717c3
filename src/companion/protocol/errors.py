"""Errors of upstreams, read; and errors of ours, written.

An upstream's answer about the request passes on as it is. Everything else becomes a Fault: its kind comes from the
status, and where upstreams are known to say one thing by the status and another in the text, from the wording.
"""

import html
import json
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from companion.errors import FAULTS, Answer, Fault, Kind, OnCircuit, Party, Phase
from companion.protocol import spans, sse, waits, wordings

MAX_MESSAGE: Final = 300
MAX_BODY: Final = 1024 * 1024
MAX_WORDS: Final = 2000  # of a message are searched for wordings
MAX_PAGE: Final = 8 * 1024  # of a web page are searched for its title
REDACTED: Final = "[redacted]"
_CUT: Final = "…"

_BY_STATUS: Final = {
    401: Kind.UNAUTHORIZED,
    402: Kind.PAYMENT,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.NOT_FOUND,  # the endpoint has another idea of its paths
    407: Kind.FORBIDDEN,
    408: Kind.TIMEOUT_STATUS,
    409: Kind.CONFLICT,
    410: Kind.NOT_FOUND,  # a model that was taken out of service
    413: Kind.TOO_LARGE,
    424: Kind.BAD_GATEWAY,  # Bedrock: the model behind it failed
    425: Kind.TIMEOUT_STATUS,
    429: Kind.RATE_LIMITED,
    451: Kind.FORBIDDEN,
    499: Kind.TIMEOUT_STATUS,  # nginx: it believes that we left
    502: Kind.BAD_GATEWAY,
    503: Kind.UNAVAILABLE,
    520: Kind.BAD_GATEWAY,
    521: Kind.BAD_GATEWAY,
    523: Kind.BAD_GATEWAY,
    525: Kind.BAD_GATEWAY,
    526: Kind.BAD_GATEWAY,
    529: Kind.OVERLOADED,
}

_BY_TYPE: Final = {
    "invalid_request_error": Kind.REFUSAL_IN_200,
    "request_too_large": Kind.REFUSAL_IN_200,
    "not_found_error": Kind.NOT_FOUND,
    "authentication_error": Kind.UNAUTHORIZED,
    "permission_error": Kind.FORBIDDEN,
    "billing_error": Kind.PAYMENT,
}

_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

# Where the wording may overrule what was understood so far; elsewhere the status is clear enough.
_MAY_BE_PAYMENT: Final = frozenset(
    {Kind.BAD_REQUEST, Kind.REFUSAL_IN_200, Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.RATE_LIMITED}
    | {Kind.SERVER_ERROR, Kind.BAD_GATEWAY, Kind.UNAVAILABLE, Kind.ERROR_IN_200}
)
_REFUSALS: Final = frozenset({Kind.BAD_REQUEST, Kind.REFUSAL_IN_200})
_OF_THE_CLIENT: Final = frozenset({Kind.BAD_REQUEST, Kind.REFUSAL_IN_200, Kind.TOO_LARGE})


# === what upstreams tell


def classify(
    status: int,
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes,
    *,
    wall: float,
    model: str | None = None,
    count_tokens: bool = False,
) -> Fault:
    """The fault that a status other than 2xx is. `model` is the name that was sent, `wall` is now (epoch seconds).

    `count_tokens`: the question was one that an upstream need not know.
    """
    headers = tuple(headers)
    type, message = _told(body)
    words = message[:MAX_WORDS]
    wait = waits.retry_after(status, headers, words, wall)
    kind = _kind(status, f"{type or ''} {words}", waits_told=wait is not None, count_tokens=count_tokens)
    return Fault(
        Party.CLIENT if kind in _OF_THE_CLIENT else Party.UPSTREAM,
        Phase.HEADERS,
        kind,
        tidy(message) or f"status {status}",
        status,
        error_type=type,
        retry_after=wait,
        model=_failing_model(kind, words, model),
        answer=Answer(status, headers, body[:MAX_BODY]),
    )


def classify_error(type: str | None, message: str, *, model: str | None = None, answer: Answer | None = None) -> Fault:
    """The fault that an error is which came with status 200, whole or as the first event of a stream."""
    words = message[:MAX_WORDS]
    kind = _by_words(_BY_TYPE.get(type or "", Kind.ERROR_IN_200), f"{type or ''} {words}")
    return Fault(
        Party.CLIENT if kind in _OF_THE_CLIENT else Party.UPSTREAM,
        Phase.FIRST_CONTENT,
        kind,
        tidy(message) or (type or "an error"),
        answer.status if answer else 200,
        error_type=type,
        model=_failing_model(kind, words, model),
        answer=answer,
    )


def error_in(body: bytes) -> tuple[str | None, str] | None:
    """Type and message of the error that a JSON body tells, or None where it tells none."""
    told = _json(body)
    if not isinstance(told, dict) or isinstance(told.get("content"), list):
        return None
    failed = told.get("type") == "error" or told.get("error") or told.get("success") is False or "base_resp" in told
    if failed or ("code" in told and isinstance(told.get("message", told.get("msg")), str)):
        return _told(body)
    return None


def _kind(status: int, words: str, *, waits_told: bool, count_tokens: bool) -> Kind:
    if count_tokens and status in {404, 405, 501}:
        return Kind.NOT_THERE
    if 300 <= status < 400:
        return Kind.REDIRECT
    kind = _BY_STATUS.get(status, Kind.BAD_REQUEST if 400 <= status < 500 else Kind.SERVER_ERROR)
    if kind is Kind.RATE_LIMITED and waits_told:
        return kind
    return _by_words(kind, words)


def _by_words(kind: Kind, words: str) -> Kind:
    quota = kind is not Kind.RATE_LIMITED and kind is not Kind.ERROR_IN_200 and wordings.QUOTA.search(words)
    if kind in _MAY_BE_PAYMENT and (quota or wordings.PAYMENT.search(words)):
        return Kind.PAYMENT
    if kind in _REFUSALS and wordings.API_KEY.search(words):
        return Kind.UNAUTHORIZED
    if kind is Kind.FORBIDDEN and (wordings.API_KEY.search(words) or wordings.CREDENTIAL.search(words)):
        return Kind.UNAUTHORIZED
    if kind in _REFUSALS and wordings.UNKNOWN_MODEL.search(words):
        return Kind.NOT_FOUND
    return kind


def _failing_model(kind: Kind, message: str, model: str | None) -> str | None:
    """The model, where the upstream says that it is this one that fails: its other models may be well."""
    blames = FAULTS[kind].circuit in {OnCircuit.COUNT, OnCircuit.WAIT}
    return model if blames and wordings.names(message, model) else None


# === reading


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _told(body: bytes) -> tuple[str | None, str]:
    """Type and message, wherever an upstream puts them; the whole text of what is no JSON."""
    told = _json(body)
    if not isinstance(told, dict):
        return None, told if isinstance(told, str) else body[:MAX_PAGE].decode("utf-8", "replace")
    error = told.get("error")
    inner = error if isinstance(error, dict) else told
    type = next((str(inner[key])[:100] for key in ("type", "code", "status") if inner.get(key)), None)
    return None if type == "error" else type, _message(inner) or (error if isinstance(error, str) else _message(told))


def _message(told: dict[str, Any]) -> str:
    for key in ("message", "msg", "detail", "error_description", "errorMessage"):
        if value := told.get(key):
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    inner = told.get("base_resp")
    return str(inner.get("status_msg") or "") if isinstance(inner, dict) else ""


_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_HIDDEN: Final = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_LOOKS_LIKE_HTML: Final = re.compile(r"\s*<(?:!doctype|html|head|body|center|h1)\b", re.IGNORECASE)
_UNPRINTABLE: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff]+")


def tidy(message: str) -> str:
    """A message as it may be shown: one line of at most MAX_MESSAGE characters; of a web page, its title."""
    message = message[:MAX_PAGE]
    if _LOOKS_LIKE_HTML.match(message):
        title = _TITLE.search(message)
        message = html.unescape(title[1] if title else _HIDDEN.sub(" ", message[:MAX_WORDS]))
    message = redact(_UNPRINTABLE.sub(" ", message[:MAX_WORDS]).strip(), ())
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + _CUT


T = TypeVar("T", str, bytes)

_SECRET_SHAPES: Final = re.compile(
    r"\b(?:sk|ak|rk|pk)-(?=[\w-]{0,99}\d)[\w-]{8,}|\bAIza[\w-]{30,}|\beyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?"
    r"|(?<=Bearer )[\w.~+/=-]{8,}"
)


def redact(text: T, secrets: Iterable[str]) -> T:
    """`text` without these secrets (those of 8 characters and more), and, in a str, without what looks like a key."""
    known = [secret for secret in secrets if len(secret) >= 8]
    if isinstance(text, bytes):
        for secret in known:
            text = text.replace(secret.encode("utf-8", "surrogatepass"), REDACTED.encode())
        return text
    for secret in known:
        text = _untorn(text.replace(secret, REDACTED), secret)
    return _SECRET_SHAPES.sub(REDACTED, text)


def _untorn(text: str, secret: str) -> str:
    """Without the beginning of this secret before the end that `tidy` made."""
    if text.endswith(_CUT):
        for length in range(len(secret) - 1, 3, -1):
            if text.endswith(secret[:length] + _CUT):
                return text[: -length - 1] + REDACTED + _CUT
    return text


# === errors of ours


def error_type(status: int) -> str:
    """The Anthropic error type that goes with a status."""
    return _TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")


def envelope(type: str, message: str, request_id: str | None = None) -> bytes:
    """An error as Anthropic words it."""
    told: dict[str, Any] = {"type": "error", "error": {"type": type, "message": message}}
    if request_id is not None:
        told["request_id"] = request_id
    return spans.encode(told)


def error_event(type: str, message: str) -> bytes:
    """The frame that ends a stream with an error."""
    return sse.encode("error", envelope(type, message))
