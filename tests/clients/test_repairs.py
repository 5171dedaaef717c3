"""The real CLI works with upstreams that refuse what it sends, in words that it does not understand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from companion.events import ExchangeSettled
from companion.simulator import Simulator, replies
from tests.clients.claude import NEWER, OLDER, Claude
from tests.support.proxy import endpoint, running

Make = Callable[..., Claude]
STRICT = "system_role+context_management+effort+adaptive_thinking+max_tokens"


@pytest.mark.parametrize("version", [NEWER, OLDER])
async def test_a_strict_upstream_serves_a_whole_conversation(tmp_path: Path, claude: Make, version: str):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.refuses(STRICT)
        run = await claude(version).run(proxy.url, "tools")

        assert (run.code, run.text) == (0, "DONE tools: beta")
        assert run.retries == 0
        settled = proxy.told(ExchangeSettled)
        assert {event.outcome for event in settled} == {"repaired"}
        assert [event.attempts for event in settled][1:] == [1] * (len(settled) - 1)


async def test_an_image_in_the_conversation_is_no_dead_end(tmp_path: Path, claude: Make):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.always = replies.refuses("images")
        run = await claude(NEWER).run(proxy.url, "image")

        assert (run.code, run.retries) == (0, 0)
        assert run.text is not None
        assert run.text.startswith("DONE image")
        assert [len(event.repairs) for event in proxy.told(ExchangeSettled)][-1] == 1
