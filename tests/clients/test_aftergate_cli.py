"""After the gate, with the real CLI: an answer breaks that has begun to arrive, and the conversation ends as it should.

The first endpoint breaks off one answer, in one place and in one way; the second is healthy. What an older CLI cannot
survive is pinned too, beside what it makes of that without the proxy. docs/reference/clients.md tells both.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import pytest

from companion.events import ExchangeSettled
from companion.proxy.aftergate import Broken
from companion.simulator import Simulator, replies
from companion.simulator.exchange import Reply
from companion.simulator.replies.streams import Where
from tests.clients.claude import NEWER, OLDER, Claude, Run
from tests.support.proxy import Proxy, endpoint, running

Make = Callable[..., Claude]
How = Literal["fin", "rst", "clean", "error"]
DOCS: Final = Path(__file__).parents[2] / "docs" / "reference" / "clients.md"
TEXTS: Final = {
    "hi": "Hello from the simulator.",
    "mistake": "DONE mistake",
    "thinking": "DONE thinking: thought",
    "tools": "DONE tools: beta",
}


class Place(NamedTuple):
    """Where the first answer of a script breaks off, and which row of the table that is."""

    row: Broken
    script: str
    where: Where | None = None


PLACES: Final[dict[str, Place]] = {
    "nothing has begun": Place(Broken.NOTHING, "mistake"),
    "in the first block, thinking": Place(Broken.OPEN_BLOCK, "thinking", "in_thinking"),
    "in the first block, text": Place(Broken.OPEN_BLOCK, "hi", "in_text"),
    "in the first block, a tool's input": Place(Broken.OPEN_BLOCK, "mistake", "in_tool"),
    "in a text, thinking finished": Place(Broken.OPEN_BLOCK, "thinking", "in_text"),
    "in a tool's input, text finished": Place(Broken.OPEN_BLOCK, "tools", "in_tool"),
    "thinking finished": Place(Broken.THINKING, "thinking", "after_thinking"),
    "a tool call finished": Place(Broken.TOOL_USE, "thinking", "after_tool"),
    "a text finished, a tool call to come": Place(Broken.TEXT, "tools", "after_text"),
    "the whole text finished": Place(Broken.TEXT, "hi", "after_text"),
    "another block finished": Place(Broken.OTHER_BLOCK, "mistake"),
}
# Places that 2.1.197 does not survive: it ends with exit code 1, through the proxy as without it.
FATAL: Final = {
    "in a text, thinking finished",
    "in a tool's input, text finished",
    "another block finished",
}
HOWS: Final[tuple[How, ...]] = ("fin", "rst", "clean", "error")

_START: Final[dict[str, Any]] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}
_SEARCHED: Final = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
_BEGUN: Final[dict[Broken, list[dict[str, Any]]]] = {
    # More events than the gate waits for, and none that it knows.
    Broken.NOTHING: [{"type": "some_later_event", "number": number} for number in range(70)],
    Broken.OTHER_BLOCK: [
        {"type": "content_block_start", "index": 0, "content_block": _SEARCHED},
        {"type": "content_block_stop", "index": 0},
    ],
}
_ERROR: Final = {"type": "error", "error": {"type": "api_error", "message": "The simulator broke off."}}


def broken_off(place: Place, how: How) -> Reply:
    if place.where is not None:
        return replies.cut(place.where, how)
    stream = [_START, *_BEGUN[place.row]]
    return replies.events([*stream, _ERROR]) if how == "error" else replies.events(stream, end=how)


async def through(folder: Path, claude: Claude, place: Place, how: How) -> tuple[Run, Proxy, Simulator, Simulator]:
    async with (
        Simulator() as first,
        Simulator() as second,
        running(folder, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.queue(broken_off(place, how))
        run = await claude.run(proxy.url, place.script)
        settled = proxy.told(ExchangeSettled)
        assert [(each.endpoint, each.outcome) for each in settled[:1]] == [("first", "truncated")]
        assert not first.queued
        return run, proxy, first, second


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", PLACES)
async def test_the_newer_client_comes_to_the_same_end(tmp_path: Path, claude: Make, place: str, how: How):
    run, _, first, second = await through(tmp_path, claude(NEWER), PLACES[place], how)

    assert (run.code, run.text) == (0, TEXTS[PLACES[place].script]), run.said
    assert all(received.stream for received in first.ledger + second.ledger)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("place", [name for name in PLACES if name not in FATAL])
async def test_the_older_client_comes_to_the_same_end(tmp_path: Path, claude: Make, place: str, how: How):
    run, *_ = await through(tmp_path, claude(OLDER), PLACES[place], how)

    assert (run.code, run.text) == (0, TEXTS[PLACES[place].script]), run.said


@pytest.mark.parametrize("place", sorted(FATAL))
async def test_what_the_older_client_does_not_survive_it_does_not_survive_alone_either(
    tmp_path: Path, claude: Make, place: str
):
    run, *_ = await through(tmp_path, claude(OLDER, "through"), PLACES[place], "fin")
    async with Simulator() as sim:
        sim.queue(broken_off(PLACES[place], "fin"))
        alone = await claude(OLDER, "alone").run(sim.url, PLACES[place].script)

    assert (run.code, alone.code) == (1, 1)
    assert run.text == alone.text
    assert "Connection closed mid-response" in str(run.text)


async def test_what_the_older_client_takes_for_an_end_is_none_through_the_proxy(tmp_path: Path, claude: Make):
    """Alone it takes half an answer for all of it, without a word, when the stream ends cleanly after a text."""
    place = PLACES["a text finished, a tool call to come"]
    run, *_ = await through(tmp_path, claude(OLDER, "through"), place, "clean")
    async with Simulator() as sim:
        sim.queue(broken_off(place, "clean"))
        alone = await claude(OLDER, "alone").run(sim.url, place.script)

    assert (alone.code, alone.text) == (0, "I write a note.")
    assert (run.code, run.text) == (0, "DONE tools: beta")


async def test_several_cuts_in_one_conversation_are_survived(tmp_path: Path, claude: Make):
    """Both endpoints break off, one after the other, each in another place."""
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.queue(replies.cut("after_text"), replies.cut("after_tool", "rst"))
        second.queue(replies.cut("after_tool", "clean"), replies.cut("in_tool", "error"))
        run = await claude(NEWER).run(proxy.url, "tools")

        assert (run.code, run.text) == (0, "DONE tools: beta")
        outcomes = [settled.outcome for settled in proxy.told(ExchangeSettled)]
        assert outcomes.count("truncated") >= 3


async def test_an_endpoint_that_has_cut_is_not_asked_first_when_the_client_is_back(tmp_path: Path, claude: Make):
    run, proxy, first, second = await through(tmp_path, claude(NEWER), PLACES["in the first block, text"], "fin")

    assert run.code == 0
    assert [each.endpoint for each in proxy.told(ExchangeSettled)] == ["first", "second"]
    assert [len(first.ledger), len(second.ledger)] == [1, 1]


async def test_a_lone_endpoint_that_cuts_is_asked_again(tmp_path: Path, claude: Make):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.cut("in_tool"))
        run = await claude(NEWER).run(proxy.url, "tools")

        assert (run.code, run.text) == (0, "DONE tools: beta")


def test_every_row_of_the_table_is_met():
    assert {place.row for place in PLACES.values()} == set(Broken)


def test_the_documentation_tells_what_is_survived():
    rows = [line.split("|")[1:-1] for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    told = {cells[0].strip(): cells[-1].strip() for cells in rows if cells[0].strip() in PLACES}

    assert {place: told[place].startswith("**exit code 1**") for place in told} == {
        place: place in FATAL for place in PLACES
    }
