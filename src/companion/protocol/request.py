"""The head of a Messages request, from one partial decode: what routing and the gate need, and nothing more.

The body itself is never decoded as a whole and never re-encoded. msgspec judges first because it is fast; what it
refuses is tried with `json`, which carries what clients really send (lone surrogates, duplicate keys), before anybody
is blamed.
"""

import json
import re
from typing import Any, Final

import msgspec

from companion.errors import ClientError

_COMPACTION: Final = b"CRITICAL: Respond with TEXT ONLY"


class _Metadata(msgspec.Struct):
    user_id: Any = None


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = False
    messages: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    metadata: _Metadata | None = None
    output_config: msgspec.Raw = msgspec.Raw(b"")


class RequestHead(msgspec.Struct, frozen=True):
    """What a Messages (or count_tokens) request says about itself. `session` is what keeps a conversation together."""

    model: str
    stream: bool
    session: str | None
    tools: bool
    structured: bool

    @classmethod
    def read(cls, body: bytes) -> "RequestHead":
        """Raises ClientError (400), naming the field, for what no upstream could answer. Anything unknown is fine."""
        try:
            head = _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            head = _by_json(body)
        if head.model is None:
            raise ClientError(400, "invalid_request_error", "model: Field required")
        if not isinstance(head.model, str) or not head.model:
            raise ClientError(400, "invalid_request_error", "model: Input should be a non-empty string")
        if (start := _start(head.messages)[:1]) in {b"", b"n"}:
            raise ClientError(400, "invalid_request_error", "messages: Field required")
        if start != b"[":
            raise ClientError(400, "invalid_request_error", "messages: Input should be a list")
        if not isinstance(head.stream, bool | None):
            raise ClientError(400, "invalid_request_error", "stream: Input should be true or false")
        return cls(
            model=head.model,
            stream=bool(head.stream),
            session=_session(head.metadata.user_id if head.metadata else None),
            tools=_SOME.match(_start(head.tools)) is not None,
            structured=_structured(head.output_config),
        )


_SOME: Final = re.compile(rb"\[\s*[^\s\]]")
_decoder: Final = msgspec.json.Decoder(_Head)


def is_compaction(body: bytes) -> bool:
    """Whether the client asks for a summary of the conversation: nothing but a whole text is of use to it then."""
    return _COMPACTION in body


def _start(raw: msgspec.Raw) -> bytes:
    """Enough of a field to tell what it is; it may be large, and is not copied."""
    return bytes(memoryview(raw)[:64])


def _structured(output_config: msgspec.Raw) -> bool:
    if _start(output_config)[:1] != b"{":
        return False
    return "format" in msgspec.json.decode(output_config, type=dict[str, msgspec.Raw])


def _session(user_id: Any) -> str | None:
    """Claude Code puts a JSON text with a session_id into metadata.user_id; older ones end it in `_session_…`."""
    if not isinstance(user_id, str):
        return None
    if user_id.startswith("{"):
        try:
            told = json.loads(user_id)
        except ValueError:
            return None
        session = told.get("session_id") if isinstance(told, dict) else None
        return session if isinstance(session, str) and session else None
    _, mark, session = user_id.rpartition("_session_")
    return session if mark and session else None


def _by_json(body: bytes) -> _Head:
    """The slow way, for bodies that msgspec refuses; says what is wrong with them."""
    try:
        told = json.loads(body)
    except RecursionError:
        raise ClientError(400, "invalid_request_error", "The request body is nested too deeply to be read") from None
    except ValueError as error:
        raise ClientError(400, "invalid_request_error", f"The request body is not valid JSON: {error}") from None
    if not isinstance(told, dict):
        raise ClientError(400, "invalid_request_error", "The request body must be a JSON object")
    metadata = told.get("metadata")
    return _Head(
        model=told.get("model"),
        stream=told.get("stream"),
        messages=_raw(told, "messages"),
        tools=_raw(told, "tools"),
        metadata=_Metadata(metadata.get("user_id")) if isinstance(metadata, dict) else None,
        output_config=_raw(told, "output_config"),
    )


def _raw(told: dict[str, Any], field: str) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(told[field]).encode() if field in told else b"")
