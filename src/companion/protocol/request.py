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


class _Head(msgspec.Struct):
    model: Any = None
    stream: Any = False
    messages: msgspec.Raw = msgspec.Raw(b"")
    tools: msgspec.Raw = msgspec.Raw(b"")
    metadata: msgspec.Raw = msgspec.Raw(b"")
    output_config: msgspec.Raw = msgspec.Raw(b"")


class RequestHead:
    """What a Messages (or count_tokens) request says about itself. `session` is what keeps a conversation together.

    What is seldom asked for is looked into when it is; so it keeps the whole body alive.
    """

    __slots__ = ("_head", "model", "stream")

    def __init__(self, model: str, stream: bool, head: _Head) -> None:
        self.model = model
        self.stream = stream
        self._head = head

    @property
    def session(self) -> str | None:
        return _session(_object(self._head.metadata).get("user_id"))

    @property
    def tools(self) -> bool:
        return _SOME.match(self._head.tools) is not None

    @property
    def structured(self) -> bool:
        return "format" in _object(self._head.output_config)

    @classmethod
    def read(cls, body: bytes) -> "RequestHead":
        """Raises ClientError (400), naming the field, for what no upstream could answer. Anything unknown is fine."""
        try:
            head = _decode(body)
        except _REFUSED:
            head = _by_json(body)
        if head.model is None:
            raise ClientError(400, "invalid_request_error", "model: Field required")
        if not isinstance(head.model, str) or not head.model:
            raise ClientError(400, "invalid_request_error", "model: Input should be a non-empty string")
        if _LIST.match(head.messages) is None:
            missing = _NOTHING.match(head.messages)
            problem = "Field required" if missing else "Input should be a list"
            raise ClientError(400, "invalid_request_error", f"messages: {problem}")
        stream = head.stream
        if not (stream is True or stream is False or stream is None):
            raise ClientError(400, "invalid_request_error", "stream: Input should be true or false")
        return cls(head.model, stream is True, head)


# These look at the start of a field where it is: it may be large, and is not copied.
_LIST: Final = re.compile(rb"\[")
_SOME: Final = re.compile(rb"\[\s*[^\s\]]")
_NOTHING: Final = re.compile(rb"n|\Z")
_OBJECT: Final = re.compile(rb"\{")
_decode: Final = msgspec.json.Decoder(_Head).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_REFUSED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_compaction(body: bytes) -> bool:
    """Whether the client asks for a summary of the conversation: nothing but a whole text is of use to it then."""
    return _COMPACTION in body


def _object(raw: msgspec.Raw) -> dict[str, Any]:
    """The members of a small object; none of anything else."""
    if _OBJECT.match(raw) is None:
        return {}
    try:
        return _decode_object(raw)
    except _REFUSED:
        pass
    try:
        return json.loads(bytes(raw))  # type: ignore[no-any-return]  # it begins as an object
    except (ValueError, RecursionError):
        return {}


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
    return _Head(
        model=told.get("model"),
        stream=told.get("stream"),
        messages=_raw(told, "messages"),
        tools=_raw(told, "tools"),
        metadata=_raw(told, "metadata"),
        output_config=_raw(told, "output_config"),
    )


def _raw(told: dict[str, Any], field: str) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(told[field]).encode() if field in told else b"")
