"""The live stream: what happens is told as it happens, slow readers lose the oldest, and it ends with the program."""

import asyncio
import json
import typing

import pytest

from companion.admin.events import HEARTBEAT, NewsName, router
from companion.admin.live import KEPT, NAMES, QUEUE, SHOWN, Live
from companion.clock import FakeClock
from companion.events import ConfigChanged, Events, ExchangeSettled, ExchangeStarted
from companion.simulator import Simulator, replies
from tests.admin.client import Admin, Stream, following, problem
from tests.support.http import ask, message
from tests.support.proxy import KEY, endpoint, running


@pytest.fixture
async def bad():
    async with Simulator() as it:
        yield it


@pytest.fixture
async def proxy(tmp_path, bad):
    async with (
        Simulator() as good,
        running(tmp_path, endpoint("bad", bad.url), endpoint("good", good.url)) as it,
    ):
        yield it


async def until(stream: Stream, name: str) -> list[dict[str, str]]:
    """The frames up to the first of this type."""
    frames: list[dict[str, str]] = []
    while not frames or frames[-1]["event"] != name:
        frames.append(await asyncio.wait_for(stream.frame(), 10))
    return frames


async def test_an_exchange_is_told_step_by_step(proxy, bad):
    bad.queue(replies.status(529))
    async with following(proxy.url) as stream:
        answer = await message(proxy.url, "a secret prompt")
        frames = await until(stream, "exchange_settled")

    assert stream.answer.headers["content-type"].startswith("text/event-stream")
    names = [frame["event"] for frame in frames]
    assert names == [
        *("exchange_started", "exchange_planned", "attempt_started", "attempt_ended", "switched"),
        *("attempt_started", "attempt_ended", "exchange_settled"),
    ]
    told = {frame["event"]: json.loads(frame["data"]) for frame in frames}
    assert told["exchange_started"]["id"] == answer.headers["x-request-id"]
    assert told["switched"]["fault"]["kind"] == "overloaded"
    assert told["exchange_settled"]["outcome"] == "failed over"
    now = proxy.app.clock.wall()
    assert all(now - 60 < json.loads(frame["data"])["at"] <= now for frame in frames)
    numbers = [int(frame["id"].partition("-")[2]) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_no_secret_and_no_body_is_in_it(proxy, bad):
    bad.queue(replies.status(401, message=f"invalid x-api-key {KEY}-bad", type=f"no {KEY}-bad"))
    async with following(proxy.url) as stream:
        await message(proxy.url, "a secret prompt")
        frames = await until(stream, "exchange_settled")

    for secret in (KEY, "a secret prompt", "the-clients-own", "claude-cli"):
        assert secret not in str(frames)


async def test_a_key_in_the_query_is_not_in_it_either(proxy, bad):
    bad.queue(replies.status(500, message="cannot serve /v1/messages?key=query%2Fsecret-1 query/secret-1"))
    async with following(proxy.url) as stream:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        await ask(proxy.url, "/v1/messages?beta=true&key=query%2Fsecret-1", body)
        frames = await until(stream, "exchange_settled")

    assert "cannot serve" in str(frames)
    assert "secret-1" not in str(frames)


async def test_only_the_types_that_are_asked_for(proxy):
    async with following(proxy.url, "?type=config_changed&type=exchange_settled") as stream:
        await message(proxy.url)
        assert (await stream.frame())["event"] == "exchange_settled"
        await Admin(proxy.url).patch("/endpoints/good", {"weight": 2})
        assert (await until(stream, "config_changed"))[0]["event"] == "config_changed"
    problem(await Admin(proxy.url).get("/events?type=gossip"), 422, "invalid")


async def test_a_circuit_that_opens_is_told(proxy, bad):
    bad.queue(replies.status(500), times=3)
    async with following(proxy.url, "?type=circuit_changed") as stream:
        for _ in range(3):
            await message(proxy.url)
        told = json.loads((await stream.frame())["data"])

    assert (told["endpoint"], told["before"], told["after"]) == ("bad", "closed", "open")
    assert told["until"] > told["at"] > 1_600_000_000
    assert (told["code"], told["parameters"]) == ("faults_in_a_row", {"faults": {"server_error": 3}})


async def test_several_may_look_on_and_leave(proxy):
    async with following(proxy.url, "?type=exchange_settled") as one:
        async with following(proxy.url, "?type=exchange_settled") as other:
            await message(proxy.url)
            assert (await one.frame())["id"] == (await other.frame())["id"]
        await message(proxy.url)
        assert (await one.frame())["event"] == "exchange_settled"


async def test_nobody_listens_once_nobody_looks_on(tmp_path):
    async with Simulator() as upstream, running(tmp_path, endpoint("it", upstream.url)) as proxy:
        before = len(proxy.app.events._subscribers[ExchangeStarted])
        async with following(proxy.url):
            assert len(proxy.app.events._subscribers[ExchangeStarted]) == before + 1
        for _ in range(200):
            if len(proxy.app.events._subscribers[ExchangeStarted]) == before:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("still listening")


async def test_who_comes_back_gets_what_was_missed(proxy):
    async with following(proxy.url) as keeper:
        async with following(proxy.url, "?type=exchange_settled") as stream:
            await message(proxy.url)
            seen = (await stream.frame())["id"]
        await message(proxy.url)
        await until(keeper, "exchange_settled")
        async with following(proxy.url, "?type=exchange_settled", {"last-event-id": seen}) as stream:
            assert (await stream.frame())["event"] == "exchange_settled"


async def test_who_comes_back_too_late_is_told_so(proxy):
    async with following(proxy.url, "?type=exchange_settled") as stream:
        await message(proxy.url)
        seen = (await stream.frame())["id"]
    for last in (seen, "another-3", "nonsense"):
        async with following(proxy.url, "?type=exchange_settled", {"last-event-id": last}) as stream:
            assert await stream.frame() == {"event": "missed", "data": '{"count":null}'}
            await message(proxy.url)
            assert (await stream.frame())["event"] == "exchange_settled"


async def test_a_stream_ends_when_the_program_is_about_to(tmp_path):
    async with Simulator() as upstream, running(tmp_path, endpoint("it", upstream.url)) as proxy:
        stop = asyncio.Event()
        serving = asyncio.create_task(proxy.app.run_until(stop))
        async with following(proxy.url) as stream:
            stop.set()
            with pytest.raises(EOFError):
                await asyncio.wait_for(stream.rest(), 5)
        await asyncio.wait_for(serving, 10)


def live() -> tuple[Live, Events]:
    events = Events()
    return Live(events, FakeClock()), events


async def test_who_is_slow_loses_the_oldest_and_is_told_how_many():
    hub, events = live()
    slow = hub.attach(())
    for number in range(QUEUE + 7):
        events.publish(ConfigChanged(float(number), str(number)))

    lost, news = await slow.next(1)

    assert lost == 7
    assert [json.loads(each.data)["path"] for each in (news[0], news[-1])] == ["7", str(QUEUE + 6)]
    assert await slow.next(0.01) == (0, [])


async def test_no_more_is_kept_than_is_said():
    hub, events = live()
    hub.attach(())
    for number in range(KEPT + 10):
        events.publish(ConfigChanged(float(number), "x"))
    late = hub.attach((), f"{hub.epoch}-5")
    early = hub.attach((), f"{hub.epoch}-10")

    assert (await late.next(1))[0] is None
    lost, news = await early.next(1)
    assert (lost, len(news)) == (0, KEPT)


async def test_silence_is_broken_by_a_sign_of_life():
    hub, _ = live()
    assert HEARTBEAT == 15.0
    route = router(hub, heartbeat=0.01).routes[0]
    answer = await route.endpoint(type=(), last_event_id=None)  # type: ignore[attr-defined]  # an APIRoute
    pieces = answer.body_iterator
    assert b"retry: 2000" in await anext(pieces)
    assert await anext(pieces) == b": still here\n\n"
    await pieces.aclose()


def test_every_name_can_be_asked_for():
    assert set(typing.get_args(NewsName)) == set(NAMES.values())


def test_every_field_is_shown_or_kept_back_on_purpose():
    kept_back = {
        ExchangeStarted: {"at", "query", "headers", "body", "peer"},
        ExchangeSettled: {"at", "started", "headers"},
    }
    for kind, hidden in kept_back.items():
        assert set(kind.__struct_fields__) - set(SHOWN[kind]) == hidden
