"""Odd names, odd headers, odd bodies: carried, or bounded."""

import asyncio
from pathlib import Path

import pytest

from companion.simulator import Simulator, replies
from companion.simulator.exchange import Exchange, Reply
from tests.proxy.test_faults import pair, until
from tests.support.http import Connection, ask, message
from tests.support.proxy import endpoint, running


@pytest.mark.parametrize("path", ["moon%2Fkimi%20k2", "moon/kimi%20k2"])
async def test_a_model_of_the_configuration_is_found_however_its_name_is_written_in_a_path(tmp_path: Path, path: str):
    models = {"default": "moon/kimi k2"}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, models=models)) as proxy:
        sim.queue(replies.status(404), match=lambda _: True)

        assert (await ask(proxy.url, f"/v1/models/{path}")).json["id"] == "moon/kimi k2"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["\ud800x", "a/b:c@d", "\0", "模型", "x" * 5000, "a\r\nX: y", "[x]*"])
async def test_any_model_name_is_carried_and_shown_as_it_was_asked_for(tmp_path: Path, model: str, stream: bool):
    models = {"rewrite": [{"from": "*", "to": "known"}]}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, models=models)) as proxy:
        answer = await message(proxy.url, stream=stream, model=model)

        assert sim.ledger[0].model == "known"
        assert (answer.events[0]["message"] if stream else answer.json)["model"] == model


async def test_right_bytes_called_a_web_page_are_an_answer(tmp_path: Path):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        for stream in (True, False):
            sim.queue(replies.wrong_type("text/html"))
            answer = await message(proxy.url, stream=stream)

            assert answer.text
            assert answer.headers["x-companion-attempts"] == "1"


async def test_an_error_whose_body_never_ends_is_not_waited_for(tmp_path: Path):
    """Every byte is life, but the status has said what matters."""

    async def play(exchange: Exchange) -> None:
        exchange.wire.head(529, (), length=100_000)
        while True:
            await exchange.wire.write(b"x")
            await asyncio.sleep(0.02)

    async with pair(tmp_path, Reply("drip", play)) as (proxy, first, _), asyncio.timeout(5):
        assert (await message(proxy.url)).headers["x-companion-endpoint"] == "second"
        await until(lambda: first.ledger[0].eof_at is not None)


async def test_what_any_connection_header_names_stays_on_that_connection(tmp_path: Path):
    async with (
        Simulator() as sim,
        running(tmp_path, endpoint("only", sim.url)) as proxy,
        Connection(proxy.url) as client,
    ):
        host = f"{client.host}:{client.port}"
        client.writer.write(
            f"GET /v1/files HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\n"
            "Connection: X-Own, close\r\nX-Own: 1\r\nX-Other: 2\r\n\r\n".encode()
        )
        await client.head()

        assert (sim.ledger[0].header("x-own"), sim.ledger[0].header("x-other")) == (None, "2")
