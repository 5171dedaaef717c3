"""One test for each row of the grammar; it fails when its row is taken out (tests/test_tables.py does that)."""

import pytest

from companion.protocol.grammar import GRAMMAR, Action, State
from companion.protocol.sse import Decoder
from companion.protocol.validate import Cut, Stream, Violated
from companion.protocol.violations import Violation
from tests.protocol.streams import (
    ERROR,
    NO_DELTA,
    NOT_JSON,
    PING,
    START,
    STOP,
    UNKNOWN,
    delta,
    message_delta,
    payloads,
    start,
    stop,
    text,
    thinking,
    tool_json,
)

V = Violation
INTERIM = message_delta(None)
TO_STATE = {
    State.START: (),
    State.MESSAGE: (START,),
    State.BLOCK: (START, start(), text()),
    State.ENDING: (START, start(), text(), stop(), message_delta()),
    State.STOPPED: (START, start(), text(), stop(), message_delta(), STOP),
}
EARLY = {
    "content_block_start": start(),
    "content_block_delta": text(),
    "content_block_stop": stop(),
    "interim_delta": INTERIM,
    "message_delta": message_delta(),
    "message_stop": STOP,
}
LATE = {"message_start": START, **EARLY, "error": ERROR, "broken": NOT_JSON, "unusable": NO_DELTA}


def feed(stream: Stream, *raws: bytes) -> bytes:
    data = b"".join(raws)
    return stream.feed(Decoder().feed(data), data)


def at(state: State, mode: str = "repair") -> Stream:
    stream = Stream(mode)
    feed(stream, *TO_STATE[state])
    assert stream.state is state
    assert not stream.violations
    return stream


def passes(state: State, raw: bytes, after: State) -> Stream:
    """The event passes as it is, and is no violation."""
    stream = at(state, "strict")

    assert feed(stream, raw) == raw
    assert stream.state is after
    assert not stream.violations
    return stream


def faults(state: State, raw: bytes, violation: Violation) -> Stream:
    """The event is a fault of this name, and what is known stays as it was."""
    stream = at(state)

    with pytest.raises(Violated) as raised:
        feed(stream, raw)

    assert raised.value.name is violation
    assert stream.state is state
    return stream


def drops(state: State, raw: bytes, violation: Violation) -> Stream:
    """The event does not reach the client."""
    stream = at(state)

    assert feed(stream, raw) == b""
    assert stream.violations == {violation: 1}
    assert stream.state is state
    assert stream.repaired
    return stream


# === the protocol


def test_a_message_starts():
    stream = passes(State.START, START, State.MESSAGE)
    assert stream.started
    assert stream.model == "claude-x"
    assert stream.usage.input_tokens == 7


def test_a_block_starts():
    assert passes(State.MESSAGE, start(), State.BLOCK).open == "text"


def test_an_interim_message_delta_passes_between_blocks():
    assert passes(State.MESSAGE, INTERIM, State.MESSAGE).stop_reason is None


def test_a_stop_reason_follows_the_blocks():
    stream = passes(State.MESSAGE, message_delta("refusal"), State.ENDING)
    assert stream.stop_reason == "refusal"
    assert stream.usage.output_tokens == 5


def test_deltas_fill_the_open_block():
    passes(State.BLOCK, text("more"), State.BLOCK)


def test_a_block_stops():
    stream = passes(State.BLOCK, stop(), State.MESSAGE)
    assert (stream.open, stream.finished) == (None, "text")


def test_an_interim_message_delta_passes_inside_a_block():
    passes(State.BLOCK, INTERIM, State.BLOCK)


def test_a_second_message_delta_passes():
    assert passes(State.ENDING, message_delta("max_tokens"), State.ENDING).stop_reason == "max_tokens"


def test_a_message_stops():
    assert passes(State.ENDING, STOP, State.STOPPED).complete


def test_a_complete_stream_may_end():
    assert at(State.STOPPED, "strict").end() == b""


@pytest.mark.parametrize("state", State)
def test_pings_pass(state):
    passes(state, PING, state)


@pytest.mark.parametrize("state", State)
def test_unknown_events_pass(state):
    passes(state, UNKNOWN, state)


# === before the message


@pytest.mark.parametrize("kind", EARLY)
def test_nothing_comes_before_message_start(kind):
    faults(State.START, EARLY[kind], V.NO_MESSAGE_START)


def test_an_empty_stream_is_a_cut():
    with pytest.raises(Cut, match="before message_start"):
        at(State.START).end()


# === between blocks


def test_a_second_message_start_is_dropped():
    drops(State.MESSAGE, START, V.DUPLICATE_MESSAGE_START)


def test_a_delta_without_a_block_opens_one():
    stream = at(State.MESSAGE)

    assert feed(stream, text("orphan")) == start() + text("orphan")
    assert stream.violations == {V.MISSING_BLOCK_START: 1}
    assert feed(stream, text("more"), stop()) == text("more") + stop()


def test_a_stop_without_a_block_is_dropped():
    drops(State.MESSAGE, stop(), V.MISSING_BLOCK_START)


def test_a_stop_reason_that_was_never_told_is_inferred():
    stream = at(State.MESSAGE)
    feed(stream, start(type="tool_use"), stop())

    told, stopped = payloads(feed(stream, STOP))

    assert told["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert told["usage"] == {"output_tokens": 1}
    assert stopped == {"type": "message_stop"}
    assert stream.violations == {V.NULL_STOP_REASON: 1}
    assert stream.complete


def test_an_end_without_a_stop_reason_is_a_cut():
    with pytest.raises(Cut, match="without a stop reason"):
        at(State.MESSAGE).end()


# === inside a block


def test_a_message_start_inside_a_block_is_dropped():
    drops(State.BLOCK, START, V.DUPLICATE_MESSAGE_START)


def test_a_block_that_follows_an_open_one_stops_it():
    stream = at(State.BLOCK)

    assert feed(stream, start(1, "thinking")) == stop() + start(1, "thinking")
    assert stream.violations == {V.MISSING_BLOCK_STOP: 1}
    assert (stream.open, stream.finished) == ("thinking", "text")


def test_a_delta_that_does_not_fit_gets_its_own_block():
    stream = at(State.BLOCK)

    assert feed(stream, thinking("hm")) == stop() + start(1, "thinking") + thinking("hm", 1)
    assert stream.violations == {V.MISFIT_DELTA: 1}
    assert feed(stream, stop()) == stop(1)


def test_a_delta_for_a_block_that_had_to_be_stopped_is_a_fault():
    stream = at(State.BLOCK)
    feed(stream, start(1))

    with pytest.raises(Violated) as raised:
        feed(stream, text("for the first"))

    assert raised.value.name is V.LATE_DELTA


def test_a_stop_that_was_told_on_its_behalf_is_dropped():
    stream = at(State.BLOCK)
    feed(stream, start(1))

    assert feed(stream, stop(0)) == b""
    assert stream.violations == {V.MISSING_BLOCK_STOP: 1, V.LATE_BLOCK_STOP: 1}
    assert feed(stream, text("x", 1), stop(1)) == text("x", 1) + stop(1)


def test_tool_input_that_is_not_json_is_a_fault():
    stream = at(State.MESSAGE)
    feed(stream, start(type="tool_use"), tool_json('{"command": "rm'))

    with pytest.raises(Violated) as raised:
        feed(stream, stop())

    assert raised.value.name is V.TOOL_INPUT_NOT_JSON
    assert stream.open == "tool_use"


def test_a_stop_reason_stops_the_open_block():
    stream = at(State.BLOCK)

    assert feed(stream, message_delta()) == stop() + message_delta()
    assert stream.violations == {V.MISSING_BLOCK_STOP: 1}
    assert stream.finished == "text"


def test_a_message_stop_inside_a_block_is_a_fault():
    faults(State.BLOCK, STOP, V.MISSING_MESSAGE_DELTA)


def test_an_end_inside_a_block_is_a_cut():
    with pytest.raises(Cut, match="inside a block"):
        at(State.BLOCK).end()


# === behind the stop reason


def test_a_message_start_behind_the_stop_reason_is_dropped():
    drops(State.ENDING, START, V.DUPLICATE_MESSAGE_START)


def test_a_block_behind_the_stop_reason_is_a_fault():
    faults(State.ENDING, start(1), V.CONTENT_AFTER_DELTA)


def test_a_delta_behind_the_stop_reason_is_a_fault():
    faults(State.ENDING, text(), V.CONTENT_AFTER_DELTA)


def test_a_block_stop_behind_the_stop_reason_is_dropped():
    drops(State.ENDING, stop(), V.LATE_BLOCK_STOP)


def test_a_null_stop_reason_does_not_undo_one():
    stream = at(State.ENDING)

    assert feed(stream, INTERIM) == message_delta("end_turn")
    assert stream.violations == {V.NULL_STOP_REASON: 1}


def test_a_missing_message_stop_is_added():
    stream = at(State.ENDING)

    assert stream.end() == STOP
    assert stream.violations == {V.MISSING_MESSAGE_STOP: 1}
    assert stream.complete


# === after the message, and everywhere


@pytest.mark.parametrize("kind", LATE)
def test_nothing_counts_after_message_stop(kind):
    drops(State.STOPPED, LATE[kind], V.CONTENT_AFTER_STOP)


ALIVE = [state for state in State if state is not State.STOPPED]


@pytest.mark.parametrize("state", ALIVE)
def test_an_error_event_is_a_fault_in_every_mode(state):
    for mode in ("strict", "repair", "observe"):
        with pytest.raises(Violated) as raised:
            feed(at(state, mode), ERROR)
        assert raised.value.name is V.ERROR_EVENT
        assert raised.value.error_type == "overloaded_error"


@pytest.mark.parametrize("state", ALIVE)
def test_data_that_is_not_json_is_a_fault(state):
    faults(state, NOT_JSON, V.BAD_JSON)


@pytest.mark.parametrize("state", ALIVE)
def test_an_event_without_what_it_needs_is_a_fault(state):
    faults(state, NO_DELTA, V.BAD_EVENT)


# === the table as a whole


def test_every_row_names_a_test_of_its_own():
    tests = [row.test for row in GRAMMAR.values()]

    assert len(set(tests)) == len(tests)
    for test in tests:
        assert test.partition("::")[2].partition("[")[0] in globals()


def test_a_pair_without_a_row_is_a_fault_and_names_itself():
    saved = GRAMMAR.pop(
        (State.MESSAGE, start_kind := next(kind for _, kind in GRAMMAR if kind == "content_block_start"))
    )
    try:
        faults(State.MESSAGE, start(), V.UNEXPECTED_EVENT)
    finally:
        GRAMMAR[State.MESSAGE, start_kind] = saved


def test_what_a_row_calls_right_leads_from_start_to_stopped():
    right = {(state, row.state) for (state, _), row in GRAMMAR.items() if row.violation is None}
    reached = {State.START}
    for _ in State:
        reached |= {after for before, after in right if before in reached}

    assert reached == set(State)


def test_repairs_that_add_something_never_stand_where_the_message_has_not_begun():
    adding = {Action.CLOSE, Action.OPEN, Action.REOPEN, Action.INFER, Action.FINISH, Action.KEEP}

    assert not [state for (state, _), row in GRAMMAR.items() if row.action in adding and state is State.START]


def test_a_signature_without_its_thinking_cannot_be_given_a_block():
    faults(State.MESSAGE, delta(0, "signature_delta", signature="x"), V.MISSING_BLOCK_START)
    faults(State.BLOCK, tool_json("{}"), V.MISFIT_DELTA)
