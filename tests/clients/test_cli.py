"""The real CLI leads whole conversations through the proxy, and its user sees what he would see without it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from companion.events import ExchangeSettled
from companion.simulator import Received, Simulator, replies
from tests.clients.claude import NEWER, OLDER, Claude
from tests.support.proxy import endpoint, running

VERSIONS = pytest.mark.parametrize("version", [NEWER, OLDER])
Make = Callable[..., Claude]


def blocks(received: Received) -> Counter[str]:
    """How many blocks of each type a request's history holds, those inside of tool results included."""
    counted: Counter[str] = Counter()

    def count(content: Any) -> None:
        for block in content if isinstance(content, list) else ():
            counted[block["type"]] += 1
            count(block.get("content"))

    for message in received.json["messages"]:
        count(message["content"])
    return counted


def messages(sim: Simulator) -> list[Received]:
    return [received for received in sim.ledger if received.path == "/v1/messages"]


@VERSIONS
async def test_everything_works_as_it_does_without_the_proxy(tmp_path: Path, claude: Make, version: str):
    """A conversation with tools, parallel calls, an image, a sub-agent and a compaction."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        direct = await claude(version, "direct").run(sim.url, "everything")
        alone = len(messages(sim))
        sim.ledger.clear()
        through = await claude(version, "through").run(proxy.url, "everything")

        assert (through.code, through.text) == (direct.code, direct.text) == (0, "DONE everything: beta")
        assert through.retries == direct.retries == 0
        assert len(messages(sim)) == alone == 14
        seen = [blocks(received) for received in messages(sim)]
        assert any(each["tool_use"] >= 6 for each in seen)
        assert any(each["image"] for each in seen)
        assert [received.reply for received in messages(sim)] == ["answer"] * alone
        outcomes = Counter(settled.outcome for settled in proxy.told(ExchangeSettled))
        assert set(outcomes) == {"complete", "error"}
        # The prompt that is too long is refused by the upstream, and that is what makes the client compact.
        assert outcomes["error"] == 1


@VERSIONS
@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("parallel", "DONE parallel: one, two"),
        ("image", "DONE image: image"),
        ("agent", "DONE agent: DONE parallel: one, two"),
        ("thinking", "DONE thinking: thought"),
        ("compact", "DONE compact: three"),
        ("mistake", "DONE mistake"),
    ],
)
async def test_a_conversation_ends_as_its_script_says(
    tmp_path: Path, claude: Make, version: str, script: str, text: str
):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        run = await claude(version).run(proxy.url, script)

        assert (run.code, run.text, run.retries) == (0, text, 0)


async def test_a_client_that_compacts_by_itself_is_told_the_true_usage(tmp_path: Path, claude: Make):
    """The decision rests on the token counts of answers, which pass unchanged."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        run = await claude(NEWER).run(proxy.url, "full")

        assert (run.code, run.text) == (0, "DONE full: three")
        assert any(b"CRITICAL: Respond with TEXT ONLY" in received.body for received in messages(sim))


async def test_an_endpoint_that_dies_in_mid_conversation_is_not_missed(tmp_path: Path, claude: Make):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.queue(replies.answer(), times=3)
        first.queue(replies.status(500), times=None)
        run = await claude(NEWER).run(proxy.url, "tools")

        assert (run.code, run.text, run.retries) == (0, "DONE tools: beta", 0)
        assert [len(messages(first)), len(messages(second))] == [5, 2]
