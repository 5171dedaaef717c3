"""The names of what upstreams get wrong, and the two ways in which a stream ends badly.

A name is what counters, records and users see. Where it is found and what is done about it is in `grammar.py` (the
order of events) and `shapes.py` (what is inside them).
"""

from enum import StrEnum

from companion.errors import Kind


class Violation(StrEnum):
    """One way of breaking the Anthropic protocol."""

    # frames
    BYTE_ORDER_MARK = "byte_order_mark"
    MISSING_EVENT_LINE = "missing_event_line"
    WRONG_EVENT_LINE = "wrong_event_line"
    BAD_JSON = "bad_json"
    BAD_EVENT = "bad_event"
    TOO_LARGE = "too_large"
    # the order of events
    UNEXPECTED_EVENT = "unexpected_event"
    NO_MESSAGE_START = "no_message_start"
    DUPLICATE_MESSAGE_START = "duplicate_message_start"
    MISSING_BLOCK_START = "missing_block_start"
    MISSING_BLOCK_STOP = "missing_block_stop"
    MISSING_MESSAGE_DELTA = "missing_message_delta"
    MISSING_MESSAGE_STOP = "missing_message_stop"
    MISFIT_DELTA = "misfit_delta"
    LATE_DELTA = "late_delta"
    LATE_BLOCK_STOP = "late_block_stop"
    CONTENT_AFTER_DELTA = "content_after_delta"
    CONTENT_AFTER_STOP = "content_after_stop"
    TOOL_INPUT_NOT_JSON = "tool_input_not_json"
    ERROR_EVENT = "error_event"
    # inside an event or a whole answer
    NOT_A_MESSAGE = "not_a_message"
    MISSING_TYPE = "missing_type"
    NO_USAGE = "no_usage"
    WRONG_ROLE = "wrong_role"
    CONTENT_IN_START = "content_in_start"
    INCOMPLETE_BLOCK_START = "incomplete_block_start"
    TOOL_INPUT_IN_START = "tool_input_in_start"
    TEXT_IN_START = "text_in_start"
    WRONG_INDEX = "wrong_index"
    FOREIGN_STOP_REASON = "foreign_stop_reason"
    NULL_STOP_REASON = "null_stop_reason"
    # only noted
    FOREIGN_ID = "foreign_id"
    END_TURN_WITH_TOOL = "end_turn_with_tool"


class ProtocolError(Exception):
    """The upstream's bytes break the protocol. `sent` is what may still go to the client of the piece that broke it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.sent = b""


class Violated(ProtocolError):
    """A violation that is a fault: `name` says which, `detail` what was seen, `error_type` what an error event said."""

    def __init__(self, name: Violation, detail: str = "", error_type: str | None = None) -> None:
        super().__init__(f"{name}: {detail}" if detail else str(name))
        self.name = name
        self.detail = detail
        self.error_type = error_type

    @property
    def kind(self) -> Kind:
        """The kind of Fault that this is after the gate."""
        return Kind.ERROR_EVENT if self.name is Violation.ERROR_EVENT else Kind.VIOLATION


class Cut(ProtocolError):
    """The stream ended before its message did."""
