"""After the gate: what the client gets when an answer breaks that has begun to arrive. One table, state by client.

Claude Code re-asks by streaming when the connection ends without the final chunk, keeps finished blocks, and (since
2.1.281) resumes by itself; every other client needs `event: error`. Nothing is ever closed as if it were whole when it
is not, and a tool's half input is never closed at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from companion.routing.facts import Client, Facts


class Broken(StrEnum):
    """How far the answer had come."""

    NOTHING = "nothing finished, nothing open"
    OPEN_BLOCK = "a block is open"
    THINKING = "only thinking is finished"
    TOOL_USE = "the last finished block is tool_use"
    TEXT = "the last finished block is text"
    OTHER_BLOCK = "the last finished block is of another type"


class Ending(StrEnum):
    """How the client's answer ends."""

    CUT = "without the final chunk"
    CLOSE_TOOL_USE = "closed with stop_reason tool_use"
    CLOSE_MAX_TOKENS = "closed with stop_reason max_tokens, unless only a whole text is of use"
    ERROR_EVENT = "with event: error"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. `test` names the test that fails when the row is missing."""

    ending: Ending
    test: str


def _row(ending: Ending, test: str) -> Row:
    return Row(ending, f"tests/proxy/test_aftergate.py::{test}")


AFTER_GATE: Mapping[tuple[Broken, Client], Row] = {
    (Broken.NOTHING, Client.RESUMING): _row(Ending.CUT, "test_nothing_yet_is_cut_for_claude_code"),
    (Broken.NOTHING, Client.OLDER): _row(Ending.CUT, "test_nothing_yet_is_cut_for_an_older_claude_code"),
    (Broken.NOTHING, Client.OTHER): _row(Ending.ERROR_EVENT, "test_nothing_yet_is_an_error_event_for_others"),
    (Broken.OPEN_BLOCK, Client.RESUMING): _row(Ending.CUT, "test_an_open_block_is_cut_for_claude_code"),
    (Broken.OPEN_BLOCK, Client.OLDER): _row(Ending.CUT, "test_an_open_block_is_cut_for_an_older_claude_code"),
    (Broken.OPEN_BLOCK, Client.OTHER): _row(Ending.ERROR_EVENT, "test_an_open_block_is_an_error_event_for_others"),
    (Broken.THINKING, Client.RESUMING): _row(Ending.CUT, "test_finished_thinking_is_cut_for_claude_code"),
    (Broken.THINKING, Client.OLDER): _row(Ending.CUT, "test_finished_thinking_is_cut_for_an_older_claude_code"),
    (Broken.THINKING, Client.OTHER): _row(Ending.ERROR_EVENT, "test_finished_thinking_is_an_error_event_for_others"),
    (Broken.TOOL_USE, Client.RESUMING): _row(
        Ending.CLOSE_TOOL_USE, "test_a_finished_tool_use_is_closed_for_claude_code"
    ),
    (Broken.TOOL_USE, Client.OLDER): _row(
        Ending.CLOSE_TOOL_USE, "test_a_finished_tool_use_is_closed_for_an_older_claude_code"
    ),
    (Broken.TOOL_USE, Client.OTHER): _row(Ending.ERROR_EVENT, "test_a_finished_tool_use_is_an_error_event_for_others"),
    (Broken.TEXT, Client.RESUMING): _row(Ending.CUT, "test_finished_text_is_cut_for_claude_code"),
    (Broken.TEXT, Client.OLDER): _row(Ending.CLOSE_MAX_TOKENS, "test_finished_text_is_closed_for_an_older_claude_code"),
    (Broken.TEXT, Client.OTHER): _row(Ending.ERROR_EVENT, "test_finished_text_is_an_error_event_for_others"),
    (Broken.OTHER_BLOCK, Client.RESUMING): _row(Ending.CUT, "test_another_finished_block_is_cut_for_claude_code"),
    (Broken.OTHER_BLOCK, Client.OLDER): _row(Ending.CUT, "test_another_finished_block_is_cut_for_an_older_claude_code"),
    (Broken.OTHER_BLOCK, Client.OTHER): _row(
        Ending.ERROR_EVENT, "test_another_finished_block_is_an_error_event_for_others"
    ),
}

_FINISHED: Final = {
    None: Broken.NOTHING,
    "thinking": Broken.THINKING,
    "redacted_thinking": Broken.THINKING,
    "tool_use": Broken.TOOL_USE,
    "text": Broken.TEXT,
}


def broken(open_block: str | None, finished: str | None) -> Broken:
    """The row's state, from the types of the open block and of the last finished one."""
    if open_block is not None:
        return Broken.OPEN_BLOCK
    return _FINISHED.get(finished, Broken.OTHER_BLOCK)


def ending(state: Broken, facts: Facts, after_text: str) -> Ending:
    """How to end; `after_text` is gate.after_text: `cut` and `resume` overrule what the client's version says."""
    chosen = AFTER_GATE[state, facts.client].ending
    if state is Broken.TEXT and facts.client is not Client.OTHER:
        if after_text == "cut":
            return Ending.CUT
        if after_text == "resume":
            chosen = Ending.CLOSE_MAX_TOKENS
    if chosen is Ending.CLOSE_MAX_TOKENS and facts.whole_text_only:
        return Ending.CUT
    return chosen
