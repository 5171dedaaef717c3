"""The head of a Messages request, from one partial decode: what routing and the gate need, and nothing more.

The body itself is never decoded as a whole and never re-encoded. msgspec judges first because it is fast; what it
refuses is tried with `json`, which carries what clients really send (lone surrogates, duplicate keys), before anybody
is blamed.
"""

import json
from typing import Any, Final

import msgspec

from companion.errors import ClientError

_COMPACTION: Final = b"CRITICAL: Respond with TEXT ONLY"


class _Metadata(msgspec.Struct):
    user_id: Any = None


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = False
    messages: list[msgspec.Raw] | None = None
    tools: list[msgspec.Raw] | None = None
    metadata: _Metadata | None = None
    output_config: dict[str, msgspec.Raw] | None = None


class RequestHead(msgspec.Struct, frozen=True):
    """What a Messages (or count_tokens) request says about itself. `session` is what keeps a conversation together."""

    model: str
    stream: bool
    session: str | None
    tools: int
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
        if head.messages is None:
            raise ClientError(400, "invalid_request_error", "messages: Field required")
        if not isinstance(head.stream, bool | None):
            raise ClientError(400, "invalid_request_error", "stream: Input should be true or false")
        return cls(
            model=head.model,
            stream=bool(head.stream),
            session=_session(head.metadata.user_id if head.metadata else None),
            tools=len(head.tools or ()),
            structured="format" in (head.output_config or {}),
        )


_decoder: Final = msgspec.json.Decoder(_Head)


def is_compaction(body: bytes) -> bool:
    """Whether the client asks for a summary of the conversation: nothing but a whole text is of use to it then."""
    return _COMPACTION in body


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
    messages, tools = told.get("messages"), told.get("tools")
    if messages is not None and not isinstance(messages, list):
        raise ClientError(400, "invalid_request_error", "messages: Input should be a list")
    metadata, output = told.get("metadata"), told.get("output_config")
    return _Head(
        model=told.get("model"),
        stream=told.get("stream"),
        messages=messages,
        tools=tools if isinstance(tools, list) else None,
        metadata=_Metadata(metadata.get("user_id")) if isinstance(metadata, dict) else None,
        output_config=output if isinstance(output, dict) else None,
    )
