"""`companion logs` shows what was recorded: from the store alone, and beside a proxy that runs."""

import json
from contextlib import contextmanager

import pytest

from companion.errors import Fault, Kind, Party, Phase
from companion.net import ulid
from companion.simulator.server import Simulator
from tests.cli.process import COMMAND, companion, endpoint, serving, started, told, write_config
from tests.records.news import CLOCK, recording
from tests.support.http import message

OVERLOADED = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, "we are full", 529, "overloaded_error")


@contextmanager
def recorded(folder):
    """A configuration and a store with two exchanges in it; yields their ids."""
    write_config(folder)
    with recording(folder) as made:
        well = made.tell(b'{"prompt": "how are you"}', answer=[b"event: ping\ndata: {}\n\n"])
        failed = made.tell(
            b'{"prompt": "\x1b[2J"}', outcome="error", status=529, fault=OVERLOADED, endpoint="glm", model="evil\x1b[2J"
        )
    yield well, failed


async def test_the_list_is_a_line_for_each_the_newest_last(tmp_path):
    with recorded(tmp_path) as (well, failed):
        ended = await companion("logs", cwd=tmp_path)

    head, first, second = ended.out.splitlines()
    assert head.split()[:2] == ["TIME", "OUTCOME"]
    assert first.split()[2:] == ["complete", "200", "claude-opus-5-5", "kimi", "1", "10", "20", "0.00", well]
    assert second.endswith(failed)
    assert "\x1b" not in ended.out
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (["--failed"], 1),
        (["--endpoint", "kimi"], 0),
        (["--outcome", "error", "--outcome", "failed-over"], 1),
        (["--status", "529", "--since", "1h"], 1),
        (["--model", "claude-opus-5-5", "--since", "2020-01-01"], 0),
        (["--limit", "1"], 1),
    ],
)
async def test_filters_choose_and_json_is_an_object_a_line(tmp_path, options, number):
    with recorded(tmp_path) as ids:
        ended = await companion("logs", "--json", *options, cwd=tmp_path)

    (line,) = ended.out.splitlines()
    assert json.loads(line)["id"] == ids[number]


async def test_show_tells_all_about_one_by_the_beginning_of_its_id(tmp_path):
    with recorded(tmp_path) as (_, failed):
        shown = await companion("logs", "show", failed[:25] + failed[25:].lower(), "--bodies", cwd=tmp_path)
        as_json = await companion("logs", "show", failed, "--bodies", "--json", cwd=tmp_path)

    for part in ("overloaded (upstream, headers): we are full", "Attempt 1: glm, key 1", "first byte", "x-claude-code"):
        assert part in shown.out
    assert "Bearer ***" in shown.out
    assert "\x1b" not in shown.out
    assert '{"prompt": "\\x1b[2J"}' in shown.out
    told = json.loads(as_json.out)
    assert told["exchange"]["fault"]["kind"] == told["attempts"][0]["fault"]["kind"] == "overloaded"
    assert told["bodies"]["client request"] == '{"prompt": "\x1b[2J"}'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "0"], "More than one exchange begins with 0"),
        (["show", "zz"], "There is no exchange zz"),
        (["--outcome", "great"], "there is no great, but complete"),
        (["--since", "yesterday"], "neither a time"),
        (["nonsense"], "only `show ID`"),
    ],
)
async def test_what_is_not_there_is_said(tmp_path, words, said):
    with recorded(tmp_path):
        ended = await companion("logs", *words, cwd=tmp_path)

    assert ended.code == 2
    assert said in ended.err


async def test_where_nothing_was_recorded_that_is_said(tmp_path):
    write_config(tmp_path)
    ended = await companion("logs", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "There are no records at" in ended.err

    write_config(tmp_path, records={"store": "none"})
    ended = await companion("logs", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "records.store is none" in ended.err


async def test_follow_prints_each_exchange_of_a_running_proxy_when_it_is_over(tmp_path):
    async with Simulator() as upstream:
        write_config(tmp_path, endpoint("kimi", upstream.url))
        async with serving(tmp_path) as proxy:
            await message(proxy.url, "first")
            while not (await companion("logs", "--json", cwd=tmp_path)).out:
                pass
            async with started(*COMMAND, "logs", "--follow", "--json", cwd=tmp_path, PYTHONUNBUFFERED="1") as following:
                first = json.loads(await told(following))
                await message(proxy.url, "second")
                second = json.loads(await told(following))

    assert first["outcome"] == second["outcome"] == "complete"
    assert first["id"] < second["id"] < ulid.new(CLOCK)
    assert first["endpoint"] == "kimi"


async def test_the_first_run_says_that_records_hold_prompts_and_later_ones_where_they_are(tmp_path):
    for first in (True, False):
        async with serving(tmp_path, "--port", "0") as proxy:
            (line,) = [line for line in proxy.greeting.splitlines() if line.startswith("Records ")]
        assert "companion.db" in line
        assert ("hold prompts and code" in line) == first
