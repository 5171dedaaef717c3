"""How far a message has come: what a stream's events add up to, and whether what is open may be closed."""

from contextlib import suppress
from typing import Final

import msgspec

from companion.protocol.anthropic import (
    Block,
    ContentBlockDelta,
    Delta,
    MessageDelta,
    MessageStart,
    Usage,
    is_tool,
    loads,
    meant,
)
from companion.protocol.grammar import State
from companion.protocol.violations import Violated, Violation

MAX_TOOL_INPUT: Final = 32 * 1024 * 1024

# The delta types that a block can take; a type that is in none of these, or a block that is not here, is let be.
FITS: Final = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "redacted_thinking": frozenset[str](),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "mcp_tool_use": frozenset({"input_json_delta"}),
}
_KNOWN_DELTAS: Final = frozenset().union(*FITS.values())
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_NO_ANSWER: Final = frozenset({None, "end_turn", "tool_use"})

_skip: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Progress:
    """What is known about a stream; `Stream` decides, this counts.

    `open` and `finished` are the types of the open block and of the last finished one. `content` is True once something
    has come that proves an answer (DESIGN: the gate), `visible` once some of it is more than thinking. `model` and
    `usage` are what the upstream says.
    """

    def __init__(self) -> None:
        self.state = State.START
        self.open: str | None = None
        self.finished: str | None = None
        self.stop_reason: str | None = None
        self.model: str | None = None
        self.usage = Usage()
        self.content = False
        self.visible = False
        self.index = -1  # of our last block
        self.told: int | None = None  # what the upstream calls the open block
        self.closed_for: set[int | None] = set()  # its names of blocks that we had to stop
        self.given: bytes | None = None  # a delta to send before the stop, should no other come
        self.used_tool = False
        self.filled = False
        self._tool_input = bytearray()

    @property
    def started(self) -> bool:
        return self.state is not State.START

    @property
    def complete(self) -> bool:
        return self.state is State.STOPPED

    @property
    def empty(self) -> bool:
        """Whether this is no answer, as far as it has come: nothing in it, and no stop reason that would say why."""
        return not self.content and self.stop_reason in _NO_ANSWER

    def input_parses(self) -> bool:
        """Whether the open block may be stopped: true but for a tool_use with half an input. No input at all is {}."""
        if not is_tool(self.open) or self.given is not None or not self._tool_input:
            return True
        return is_json(bytes(self._tool_input))

    def fits(self, delta: Delta) -> bool:
        """Whether the open block can take this delta."""
        return delta.type not in _KNOWN_DELTAS or delta.type in FITS.get(self.open or "", _KNOWN_DELTAS)

    # === what events add

    def begin_message(self, event: MessageStart) -> None:
        self.model = event.message.model
        self.usage.merge(event.message.usage)

    def begin_block(self, block: Block, told: int | None) -> None:
        self.index += 1
        self.told = told
        self.closed_for.discard(told)
        self.open = block.type
        self.given = None
        self.filled = False
        self._tool_input.clear()
        if block.type == "thinking":
            self.content = True

    def fill(self, event: ContentBlockDelta) -> None:
        """A delta for the open block. Raises Violated when a tool's input grows without end."""
        delta = event.delta
        if is_tool(self.open):
            self.collect(delta)
        if self.filled or not carries(delta):
            return
        self.filled = True
        self.given = None
        self._prove()

    def collect(self, delta: Delta) -> None:
        self._tool_input += (delta.partial_json or "").encode("utf-8", "surrogatepass")
        if len(self._tool_input) > MAX_TOOL_INPUT:
            raise Violated(Violation.TOO_LARGE, f"a tool input of more than {MAX_TOOL_INPUT} bytes")

    def finish_block(self) -> None:
        if self.open is None:
            return
        if self.filled or self.given is not None or self.open not in {"text", "thinking"}:
            self._prove()
        self.used_tool = self.used_tool or self.open == "tool_use"
        self.finished, self.open = self.open, None
        self.given = None

    def end_message(self, event: MessageDelta) -> None:
        self.usage.merge(event.usage)
        self.stop_reason = meant(event.delta.stop_reason) or self.stop_reason

    def inferred_stop_reason(self) -> str:
        return "tool_use" if self.finished == "tool_use" else "end_turn"

    def _prove(self) -> None:
        self.content = True
        self.visible = self.visible or self.open not in _THINKING


def carries(delta: Delta) -> bool:
    """Whether a delta brings anything; one of a type that we do not know does."""
    told = delta.text, delta.partial_json, delta.thinking
    return any(told) or told == (None, None, None)


def is_json(text: bytes) -> bool:
    try:
        _skip(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        with suppress(ValueError):
            loads(text)
            return True
        return False
    return True
