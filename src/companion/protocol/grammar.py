"""The order of events in an Anthropic stream, as one table: (state, kind of event) → what follows.

    start ──message_start──> message ──content_block_start──> block
                               ^  └──message_delta──> ending ──message_stop──> stopped
                               └─────────content_block_stop──── block

Rows without a violation are the protocol. The others are what upstreams get wrong, each with its name and with what is
done about it in `repair` mode. A pair without a row is UNEXPECTED, a fault. The kinds include cases that depend on more
than the state (`EventKind`, second half); `validate.py` tells them apart. What is inside events is in `shapes.py`.

Rule 1: whatever is sent to the client is itself a path through the rows without a violation.
Rule 2: a repair never makes half an answer look whole. A missing end is added only after a stop reason, the stop of a
tool_use only when its input parses.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from companion.protocol.anthropic import EventKind
from companion.protocol.violations import Violation


class State(StrEnum):
    """How far a message has come."""

    START = "start"  # nothing yet
    MESSAGE = "message"  # begun; no block is open
    BLOCK = "block"  # a content block is open
    ENDING = "ending"  # the stop reason is known
    STOPPED = "stopped"


class Action(StrEnum):
    """What to do with the event in `repair` mode."""

    CARRY = "carry it as it came"
    DROP = "drop"
    CLOSE = "stop the open block first"
    OPEN = "start the block that the delta implies first"
    REOPEN = "stop the open block and start the one that the delta implies first"
    INFER = "tell the stop reason first"
    KEEP = "keep the stop reason that is known"
    FINISH = "end the message"
    FAULT = "fault"
    FAIL = "fault in every mode"
    CUT = "cut in every mode"


class Row(msgspec.Struct, frozen=True):
    """One row. `state` is the next one (in `observe` mode behind a fault, too); `test` fails when the row is gone."""

    state: State
    violation: Violation | None
    action: Action
    test: str


_START, _MESSAGE, _BLOCK, _ENDING, _STOPPED = State
_K, _V = EventKind, Violation


def _row(state: State, test: str, violation: Violation | None = None, action: Action = Action.CARRY) -> Row:
    return Row(state, violation, action, f"tests/protocol/test_grammar.py::{test}")


GRAMMAR: dict[tuple[State, EventKind], Row] = {
    # the protocol
    (_START, _K.MESSAGE_START): _row(_MESSAGE, "test_a_message_starts"),
    (_MESSAGE, _K.BLOCK_START): _row(_BLOCK, "test_a_block_starts"),
    (_MESSAGE, _K.INTERIM_DELTA): _row(_MESSAGE, "test_an_interim_message_delta_passes_between_blocks"),
    (_MESSAGE, _K.MESSAGE_DELTA): _row(_ENDING, "test_a_stop_reason_follows_the_blocks"),
    (_BLOCK, _K.BLOCK_DELTA): _row(_BLOCK, "test_deltas_fill_the_open_block"),
    (_BLOCK, _K.BLOCK_STOP): _row(_MESSAGE, "test_a_block_stops"),
    (_BLOCK, _K.INTERIM_DELTA): _row(_BLOCK, "test_an_interim_message_delta_passes_inside_a_block"),
    (_ENDING, _K.MESSAGE_DELTA): _row(_ENDING, "test_a_second_message_delta_passes"),
    (_ENDING, _K.MESSAGE_STOP): _row(_STOPPED, "test_a_message_stops"),
    (_STOPPED, _K.END): _row(_STOPPED, "test_a_complete_stream_may_end"),
    # before the message
    (_START, _K.END): _row(_START, "test_an_empty_stream_is_a_cut", _V.NO_MESSAGE_START, Action.CUT),
    # between blocks
    (_MESSAGE, _K.MESSAGE_START): _row(
        _MESSAGE, "test_a_second_message_start_is_dropped", _V.DUPLICATE_MESSAGE_START, Action.DROP
    ),
    (_MESSAGE, _K.BLOCK_DELTA): _row(
        _BLOCK, "test_a_delta_without_a_block_opens_one", _V.MISSING_BLOCK_START, Action.OPEN
    ),
    (_MESSAGE, _K.BLOCK_STOP): _row(
        _MESSAGE, "test_a_stop_without_a_block_is_dropped", _V.MISSING_BLOCK_START, Action.DROP
    ),
    (_MESSAGE, _K.MESSAGE_STOP): _row(
        _STOPPED, "test_a_stop_reason_that_was_never_told_is_inferred", _V.NULL_STOP_REASON, Action.INFER
    ),
    (_MESSAGE, _K.END): _row(
        _MESSAGE, "test_an_end_without_a_stop_reason_is_a_cut", _V.MISSING_MESSAGE_DELTA, Action.CUT
    ),
    # inside a block
    (_BLOCK, _K.MESSAGE_START): _row(
        _BLOCK, "test_a_message_start_inside_a_block_is_dropped", _V.DUPLICATE_MESSAGE_START, Action.DROP
    ),
    (_BLOCK, _K.BLOCK_START): _row(
        _BLOCK, "test_a_block_that_follows_an_open_one_stops_it", _V.MISSING_BLOCK_STOP, Action.CLOSE
    ),
    (_BLOCK, _K.MISFIT_DELTA): _row(
        _BLOCK, "test_a_delta_that_does_not_fit_gets_its_own_block", _V.MISFIT_DELTA, Action.REOPEN
    ),
    (_BLOCK, _K.LATE_DELTA): _row(
        _BLOCK, "test_a_delta_for_a_block_that_had_to_be_stopped_is_a_fault", _V.LATE_DELTA, Action.FAULT
    ),
    (_BLOCK, _K.LATE_STOP): _row(
        _BLOCK, "test_a_stop_that_was_told_on_its_behalf_is_dropped", _V.LATE_BLOCK_STOP, Action.DROP
    ),
    (_BLOCK, _K.BROKEN_STOP): _row(
        _MESSAGE, "test_tool_input_that_is_not_json_is_a_fault", _V.TOOL_INPUT_NOT_JSON, Action.FAULT
    ),
    (_BLOCK, _K.MESSAGE_DELTA): _row(
        _ENDING, "test_a_stop_reason_stops_the_open_block", _V.MISSING_BLOCK_STOP, Action.CLOSE
    ),
    (_BLOCK, _K.MESSAGE_STOP): _row(
        _STOPPED, "test_a_message_stop_inside_a_block_is_a_fault", _V.MISSING_MESSAGE_DELTA, Action.FAULT
    ),
    (_BLOCK, _K.END): _row(_BLOCK, "test_an_end_inside_a_block_is_a_cut", _V.MISSING_BLOCK_STOP, Action.CUT),
    # behind the stop reason
    (_ENDING, _K.MESSAGE_START): _row(
        _ENDING, "test_a_message_start_behind_the_stop_reason_is_dropped", _V.DUPLICATE_MESSAGE_START, Action.DROP
    ),
    (_ENDING, _K.BLOCK_START): _row(
        _BLOCK, "test_a_block_behind_the_stop_reason_is_a_fault", _V.CONTENT_AFTER_DELTA, Action.FAULT
    ),
    (_ENDING, _K.BLOCK_DELTA): _row(
        _ENDING, "test_a_delta_behind_the_stop_reason_is_a_fault", _V.CONTENT_AFTER_DELTA, Action.FAULT
    ),
    (_ENDING, _K.BLOCK_STOP): _row(
        _ENDING, "test_a_block_stop_behind_the_stop_reason_is_dropped", _V.LATE_BLOCK_STOP, Action.DROP
    ),
    (_ENDING, _K.INTERIM_DELTA): _row(
        _ENDING, "test_a_null_stop_reason_does_not_undo_one", _V.NULL_STOP_REASON, Action.KEEP
    ),
    (_ENDING, _K.END): _row(_STOPPED, "test_a_missing_message_stop_is_added", _V.MISSING_MESSAGE_STOP, Action.FINISH),
}

_LIVE: Final = (_START, _MESSAGE, _BLOCK, _ENDING)
_EARLY: Final = (
    *(_K.BLOCK_START, _K.BLOCK_DELTA, _K.BLOCK_STOP),
    *(_K.INTERIM_DELTA, _K.MESSAGE_DELTA, _K.MESSAGE_STOP),
)
_LATE: Final = (_K.MESSAGE_START, *_EARLY, _K.ERROR, _K.BROKEN, _K.UNUSABLE)


def _everywhere(states: tuple[State, ...], kind: EventKind, test: str, *how: Any) -> dict[tuple[State, EventKind], Row]:
    """A row for each of these states, which it does not change."""
    return {(state, kind): _row(state, f"{test}[{state}]", *how) for state in states}


GRAMMAR |= {
    **{
        (_START, kind): _row(
            _START, f"test_nothing_comes_before_message_start[{kind}]", _V.NO_MESSAGE_START, Action.FAULT
        )
        for kind in _EARLY
    },
    **{
        (_STOPPED, kind): _row(
            _STOPPED, f"test_nothing_counts_after_message_stop[{kind}]", _V.CONTENT_AFTER_STOP, Action.DROP
        )
        for kind in _LATE
    },
    **_everywhere((*_LIVE, _STOPPED), _K.PING, "test_pings_pass"),
    **_everywhere((*_LIVE, _STOPPED), _K.UNKNOWN, "test_unknown_events_pass"),
    **_everywhere(_LIVE, _K.ERROR, "test_an_error_event_is_a_fault_in_every_mode", _V.ERROR_EVENT, Action.FAIL),
    **_everywhere(_LIVE, _K.BROKEN, "test_data_that_is_not_json_is_a_fault", _V.BAD_JSON, Action.FAULT),
    **_everywhere(_LIVE, _K.UNUSABLE, "test_an_event_without_what_it_needs_is_a_fault", _V.BAD_EVENT, Action.FAULT),
}


def unexpected(state: State) -> Row:
    """What a pair without a row means."""
    return _UNEXPECTED[state]


_UNEXPECTED: Final = {
    state: Row(state, _V.UNEXPECTED_EVENT, Action.FAULT, "tests/protocol/test_grammar.py") for state in State
}
