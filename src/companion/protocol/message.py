"""Whole answers: a Message checked as a stream is, and put right by splices that leave every other byte as it came."""

from collections.abc import Iterator
from typing import Final

import msgspec

from companion.protocol import spans
from companion.protocol.anthropic import Usage, loads, loosely, meant
from companion.protocol.shapes import Edits, zeros
from companion.protocol.violations import Violated, Violation


class _Block(msgspec.Struct):
    type: str
    text: str | None = None


class _Answer(msgspec.Struct):
    content: list[_Block]
    type: str | None = None
    role: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Usage | None = None


class Message(msgspec.Struct, frozen=True):
    """A whole answer: `body` is what goes to the client, `content` the types of its blocks, `text_length` characters.

    `violations` counts by name; `repaired` tells that `body` is not what came.
    """

    body: bytes
    content: tuple[str, ...]
    text_length: int
    stop_reason: str | None
    usage: Usage
    model: str | None
    violations: dict[str, int]
    repaired: bool

    @property
    def empty(self) -> bool:
        """Whether this is no answer: nothing in it, and no stop reason that would say why."""
        nothing = not self.content or (set(self.content) == {"text"} and not self.text_length)
        return nothing and self.stop_reason in {None, "end_turn", "tool_use"}


def check_message(body: bytes, mode: str = "repair") -> Message:
    """Raises Violated for what is no Message, in `strict` mode for any violation; `observe` only counts them."""
    answer = _read(body)
    content = tuple([block.type for block in answer.content])
    text_length = sum([len(block.text or "") for block in answer.content])
    if _is_right(answer, content):
        return Message(body, content, text_length, answer.stop_reason, answer.usage or Usage(), answer.model, {}, False)
    violations: dict[str, int] = {}
    edits: Edits = {}
    for violation, mend in _wrong(answer):
        violations[violation] = violations.get(violation, 0) + 1
        if mend and mode == "strict":
            raise Violated(violation, "in a whole answer")
        edits |= mend
    repaired = bool(edits) and mode != "observe"
    return Message(
        spans.edit(body, edits) if repaired else body,
        content,
        text_length,
        _meant(answer),
        answer.usage or Usage(),
        answer.model,
        violations,
        repaired,
    )


_OUR_WORDS: Final = frozenset({"end_turn", "tool_use", "max_tokens", "stop_sequence", "pause_turn", "refusal"})


def set_model(body: bytes, model: str) -> bytes:
    """The same answer with another model's name. What is no JSON object stays as it is."""
    try:
        return b"".join(spans.splice(body, {"model": spans.encode(model)}))
    except ValueError:
        return body


def _read(body: bytes) -> _Answer:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        told = loads(body)
    except ValueError as error:
        raise Violated(Violation.BAD_JSON, str(error)) from None
    if not isinstance(told, dict):
        raise Violated(Violation.NOT_A_MESSAGE, "not a JSON object")
    try:
        return loosely(told, _Answer)  # type: ignore[no-any-return]  # it is what it was asked for
    except (msgspec.ValidationError, TypeError):
        raise Violated(Violation.NOT_A_MESSAGE, "no list of content blocks") from None


def _is_right(answer: _Answer, content: tuple[str, ...]) -> bool:
    """Whether there is nothing that `_wrong` could find: nearly always so, and told at a glance."""
    usage = answer.usage
    return (
        answer.type == "message"
        and answer.role == "assistant"
        and answer.stop_reason in _OUR_WORDS
        and (answer.stop_reason != "end_turn" or "tool_use" not in content)
        and usage is not None
        and usage.input_tokens is not None
        and usage.output_tokens is not None
    )


def _wrong(answer: _Answer) -> Iterator[tuple[Violation, Edits]]:
    """Each violation with its edits; one without is only noted."""
    if answer.type is None:
        yield Violation.MISSING_TYPE, {("type",): b'"message"'}
    elif answer.type != "message":
        raise Violated(Violation.NOT_A_MESSAGE, f"of type {answer.type}")
    if answer.role != "assistant":
        yield Violation.WRONG_ROLE, {("role",): b'"assistant"'}
    if lacking := zeros(answer.usage, Usage(), "input_tokens", "output_tokens"):
        yield Violation.NO_USAGE, {("usage", name): zero for name, zero in lacking.items()}
    if answer.stop_reason and meant(answer.stop_reason) != answer.stop_reason:
        yield Violation.FOREIGN_STOP_REASON, {("stop_reason",): spans.encode(_meant(answer))}
    if not answer.stop_reason and answer.content:
        yield Violation.NULL_STOP_REASON, {("stop_reason",): spans.encode(_meant(answer))}
    if _meant(answer) == "end_turn" and _uses_tool(answer):
        yield Violation.END_TURN_WITH_TOOL, {}


def _meant(answer: _Answer) -> str | None:
    """The stop reason in Anthropic's words."""
    if answer.stop_reason or not answer.content:
        return meant(answer.stop_reason)
    return "tool_use" if _uses_tool(answer) else "end_turn"


def _uses_tool(answer: _Answer) -> bool:
    return any(block.type == "tool_use" for block in answer.content)


_decode: Final = msgspec.json.Decoder(_Answer).decode
