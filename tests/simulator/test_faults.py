"""Replies by name, as the command line has them."""

import pytest

from companion.simulator import Simulator, replies
from companion.simulator.faults import FAULTS, about, parse, usage
from companion.simulator.words import seconds
from tests.simulator.wire import ask, body


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_says_what_it_is_and_how_it_is_written(name):
    assert about(name).endswith(".")
    assert usage(name).split(":")[0] == name


def test_every_reply_can_be_named_but_those_that_want_data():
    assert set(replies.__all__) - set(FAULTS) == {"events", "raw"}


@pytest.mark.parametrize(
    ("text", "status", "end"),
    [
        ("status:529", 529, "length"),
        ("status:502:html", 502, "length"),
        ("status:429:retry_after=30", 429, "length"),
        ("cut:in_text:rst", 200, "rst"),
        ("cut:after_text:how=clean", 200, "last chunk"),
        ("cut:after_tool:fin:nth=1", 200, "fin"),
        ("gzip:true", 200, "last chunk"),
        ("late:5ms", 200, "last chunk"),
        ("error_first:api_error", 200, "last chunk"),
        ("stop_reason:length", 200, "last chunk"),
        ("reset", 0, "rst"),
        ("refuses:max_tokens+images", 200, "last chunk"),
    ],
)
async def test_a_fault_is_read_from_words(text, status, end):
    async with Simulator() as sim:
        sim.queue(parse(text))
        wire = await ask(sim, body())

        assert (wire.status, wire.end) == (status, end)
        assert not sim.queued


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "there is no fault 'nothing'; there are: answer, "),
        ("status", "it is written status:CODE:[FORM]"),
        ("status:many", "invalid literal"),
        ("status:500:pdf", "form is one of json, html, empty"),
        ("cut:nowhere", "where is one of before_start, "),
        ("cut:in_text:fin:of=x", "of cannot be given here"),
        ("refuses:manners+images", "nobody refuses manners; what is refused: system_role, "),
        ("late:soon", "'soon' is not a duration such as 20ms or 1.5s"),
        ("reset:now", "too many positional arguments"),
    ],
)
def test_a_wrong_fault_is_told_what_is_wrong(text, words):
    with pytest.raises(ValueError) as caught:
        parse(text)

    assert words in str(caught.value)


def test_durations_are_read():
    assert [seconds(text) for text in ("20ms", "1.5s", "2m", "3", " 4 s ")] == [0.02, 1.5, 120.0, 3.0, 4.0]
