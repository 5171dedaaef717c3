"""The doors, the ledger, the queue, and clients that leave."""

import asyncio
import hashlib
import json
import re
import ssl
import sys
import time
from collections.abc import Callable

import pytest
import trustme

from companion.clock import FakeClock
from companion.simulator import Received, Reply, Simulator
from companion.simulator.connection import MAX_PIPELINED
from companion.simulator.replies import answer, close, cut, hang, headers_then_hang, html, status
from tests.simulator.wire import MESSAGES, ask, body, read, request


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 what is waited for is in the ledger, which has no event
            await asyncio.sleep(0.005)


# === the ledger


async def test_the_ledger_shows_every_byte():
    async with Simulator(clock=FakeClock(500.0)) as sim:
        raw = b'{"messages":[{"role":"user","content":"hi"}] , "model":"m", "stream":true}'
        await ask(sim, raw, target="/v1/messages?beta=true&x=1", headers={"X-Team": "blue", "x-team": "red"})

        (received,) = sim.ledger
        assert (received.method, received.target, received.path) == (
            "POST",
            "/v1/messages?beta=true&x=1",
            "/v1/messages",
        )
        assert received.query == {"beta": "true", "x": "1"}
        assert (received.body, received.sha256) == (raw, hashlib.sha256(raw).hexdigest())
        assert [value for name, value in received.headers if name == b"x-team"] == [b"blue", b"red"]
        assert (received.header("X-TEAM"), received.header("none")) == ("blue", None)
        assert (received.at, received.stream, received.model, received.reply) == (500.0, True, "m", "answer")
        assert (received.finished, received.eof_at) == (True, None)


async def test_the_ledger_counts_requests_and_connections():
    async with Simulator() as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        for _ in range(2):
            writer.write(request(sim, json.dumps(body(stream=False)).encode(), "POST", MESSAGES, {}))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        writer.close()
        await ask(sim, body())

        assert [(received.number, received.connection) for received in sim.ledger] == [(1, 1), (2, 1), (3, 2)]


async def test_pipelined_requests_are_answered_in_order():
    async with Simulator() as sim:
        sim.queue(status(500), status(502), status(503))
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        data = json.dumps(body()).encode()
        writer.write(request(sim, data, "POST", MESSAGES, {}) * 2)
        writer.write(request(sim, data, "POST", MESSAGES, {"connection": "close"}))
        raw = await reader.read(-1)
        writer.close()

        assert re.findall(rb"HTTP/1.1 (\d+)", raw) == [b"500", b"502", b"503"]


async def test_too_many_pipelined_requests_end_the_connection():
    async with Simulator() as sim:
        sim.queue(hang())
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(request(sim, b"{}", "POST", MESSAGES, {}) * (MAX_PIPELINED + 2))

        assert await reader.read(-1) == b""
        writer.close()


async def test_the_ledger_is_bounded():
    async with Simulator(keep=2) as sim:
        for _ in range(3):
            await ask(sim, body())

        assert [received.number for received in sim.ledger] == [2, 3]


async def test_the_ledger_is_served_without_secrets():
    async with Simulator() as sim:
        secrets = {"Authorization": "Bearer sk-secret", "x-api-key": "sk-other", "X-Team": "blue"}
        await ask(sim, body(), headers=secrets)

        wire = await ask(sim, method="GET", target="/__ledger")

        (line,) = wire.json
        assert (line["model"], line["bytes"], line["finished"]) == ("claude-opus-5-5", len(sim.ledger[0].body), True)
        shown = dict(line["headers"])
        assert shown["x-team"] == "blue"
        assert shown["authorization"] == "Bearer sha256:" + hashlib.sha256(b"sk-secret").hexdigest()[:12]
        assert shown["x-api-key"] == "sha256:" + hashlib.sha256(b"sk-other").hexdigest()[:12]
        assert "sk-" not in wire.body.decode()
        assert len(sim.ledger) == 1


# === clients that leave


@pytest.mark.parametrize("reply", [hang(), headers_then_hang(), cut("in_text", "stall"), answer(pace=0.05)])
async def test_a_client_that_leaves_is_seen(reply):
    async with Simulator() as sim:
        sim.queue(reply)
        before = time.monotonic()
        _, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(request(sim, json.dumps(body()).encode(), "POST", MESSAGES, {}))
        await until(lambda: sim.ledger)
        assert sim.ledger[0].eof_at is None
        writer.close()
        await until(lambda: sim.ledger[0].eof_at is not None)

        assert not sim.ledger[0].finished
        assert before < (sim.ledger[0].eof_at or 0.0) < time.monotonic()


async def test_a_client_that_resets_is_seen():
    async with Simulator() as sim:
        sim.queue(hang())
        _, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(request(sim, b"{}", "POST", MESSAGES, {}))
        await until(lambda: sim.ledger)
        writer.transport.abort()
        await until(lambda: sim.ledger[0].eof_at is not None)


async def test_a_client_that_does_not_read_stops_the_answer():
    async with Simulator() as sim:
        sim.queue(answer("x" * 8_000_000, piece=500_000, pace=0.001))
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port, limit=1)
        writer.write(request(sim, json.dumps(body()).encode(), "POST", MESSAGES, {"connection": "close"}))
        await until(lambda: sim.ledger)
        await asyncio.sleep(0.1)
        assert not sim.ledger[0].finished

        wire = await read(reader)
        writer.close()

        assert (wire.end, wire.types[-1]) == ("last chunk", "message_stop")
        assert sim.ledger[0].finished


# === the queue


async def test_replies_are_given_in_order_and_then_the_script_goes_on():
    async with Simulator() as sim:
        sim.queue(status(529), times=2)
        sim.queue(html())

        got = [await ask(sim, body()) for _ in range(4)]

        assert [(wire.status, (wire.header("content-type") or "")[:9]) for wire in got] == [
            (529, "applicati"),
            (529, "applicati"),
            (200, "text/html"),
            (200, "text/even"),
        ]


async def test_a_reply_may_be_given_for_ever():
    async with Simulator() as sim:
        sim.queue(status(503), times=None)
        assert [(await ask(sim, body())).status for _ in range(3)] == [503] * 3

        assert sim.queued == ("status:503",)


async def test_what_is_always_given_comes_after_what_is_queued():
    async with Simulator() as sim:
        sim.always = status(401)
        sim.queue(status(500))
        assert [(await ask(sim, body())).status for _ in range(3)] == [500, 401, 401]

        sim.always = None
        assert (await ask(sim, body())).status == 200


async def test_always_does_not_hold_where_it_does_not_fit():
    async with Simulator() as sim:
        sim.always = cut("in_thinking", "fin")

        assert (await ask(sim, body("[[script:hi]]"))).types[-1] == "message_stop"


async def test_a_reply_is_kept_for_the_request_it_is_meant_for():
    async with Simulator() as sim:
        sim.queue(status(500), match=lambda received: received.model == "special")
        sim.queue(status(502))

        assert [(await ask(sim, body(model=model))).status for model in ("usual", "special", "usual")] == [
            502,
            500,
            200,
        ]


async def test_faults_are_for_messages_unless_they_are_meant_for_others():
    count = "/v1/messages/count_tokens?beta=true"
    async with Simulator() as sim:
        sim.always = status(401)
        sim.queue(status(500))
        assert (await ask(sim, method="HEAD", target="/")).status == 200
        assert (await ask(sim, body(), target=count)).status == 200
        sim.queue(status(501), match=lambda received: received.path.endswith("/count_tokens"))

        assert [(await ask(sim, body(), target=target)).status for target in (count, count, MESSAGES)] == [
            501,
            200,
            500,
        ]


async def test_an_own_reply_is_a_function():
    async def play(exchange):
        await exchange.give(200, exchange.received.body[:9], "text/plain", (("x-mine", "yes"),))

    async with Simulator() as sim:
        sim.queue(Reply("mine", play))
        wire = await ask(sim, body())

        assert (wire.body, wire.header("x-mine")) == (b'{"model":', "yes")


async def test_a_reply_that_breaks_is_not_swept_under_the_carpet():
    async def play(exchange):
        raise RuntimeError("not meant")

    sim = Simulator()
    await sim.start()
    sim.queue(Reply("broken", play))
    assert (await ask(sim, body())).raw == b""
    with pytest.raises(ExceptionGroup) as caught:
        await sim.stop()

    assert caught.group_contains(RuntimeError, match="not meant")


async def test_every_request_is_settled_once():
    settled: list[Received] = []
    async with Simulator(settled=settled.append) as sim:
        sim.queue(close(), status(500))
        for _ in range(3):
            await ask(sim, body())

        assert settled == sim.ledger


# === the doors


async def test_a_closed_door_refuses_and_opens_again_at_the_same_port():
    async with Simulator() as sim:
        await ask(sim, body())
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        await sim.refuse()
        with pytest.raises(ConnectionRefusedError):
            await ask(sim, body())
        assert await reader.read(-1) == b""
        writer.close()
        await sim.accept()
        await sim.accept()

        assert (await ask(sim, body())).status == 200
        assert len(sim.ledger) == 2


async def test_a_closed_door_leaves_a_running_answer_alone():
    async with Simulator(pace=0.02) as sim:
        asking = asyncio.create_task(ask(sim, body()))
        await until(lambda: sim.ledger)
        await sim.refuse()

        assert (await asking).end == "last chunk"


async def test_stopping_drops_what_is_under_way():
    sim = Simulator()
    await sim.start()
    sim.queue(hang())
    asking = asyncio.create_task(ask(sim, body()))
    await until(lambda: sim.ledger)
    await sim.stop()
    await sim.stop()

    assert (await asking).raw == b""
    assert not sim.ledger[0].finished


async def test_a_port_in_use_is_an_error():
    async with Simulator() as sim:
        with pytest.raises(OSError):
            await Simulator(port=sim.port).start()


async def test_a_deaf_one_accepts_and_never_reads():
    async with Simulator() as sim:
        sim.deaf = True
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(request(sim, json.dumps(body()).encode(), "POST", MESSAGES, {}))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.1)
        assert sim.ledger == []
        writer.close()


@pytest.mark.parametrize("how", ["fin", "rst", "clean"])
async def test_it_speaks_tls(how):
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Simulator(tls=server) as sim:
        sim.queue(cut("in_text", how))
        wire = await ask(sim, body(), tls=client)

        assert sim.url == f"https://127.0.0.1:{sim.port}"
        assert wire.types[-1] == "content_block_delta"
        assert wire.end == {"fin": "fin", "rst": "rst", "clean": "last chunk"}[how]


@pytest.mark.parametrize("bad", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000])
async def test_what_is_no_http_ends_the_connection(bad):
    async with Simulator() as sim:
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        writer.write(bad)
        wire = await read(reader)
        writer.close()

        assert wire.raw == b""


async def test_a_body_beyond_the_limit_ends_the_connection(monkeypatch):
    monkeypatch.setattr("companion.simulator.connection.MAX_BODY", 1000)
    async with Simulator() as sim:
        assert (await ask(sim, b"x" * 1001)).raw == b""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop on Windows")
def test_it_runs_on_uvloop():
    import uvloop

    async def scenario() -> list[str]:
        async with Simulator() as sim:
            sim.queue(cut("in_text", "rst"), cut("after_text", "fin"), hang())
            ends = [(await ask(sim, body())).end for _ in range(2)]
            _, writer = await asyncio.open_connection("127.0.0.1", sim.port)
            writer.write(request(sim, b"{}", "POST", MESSAGES, {}))
            await until(lambda: len(sim.ledger) == 3)
            writer.close()
            await until(lambda: sim.ledger[2].eof_at is not None)
            return [*ends, (await ask(sim, body())).end]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) == ["rst", "fin", "last chunk"]
