"""An ASGI application behind our server: what it sees, what its client gets, and how either of them leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from companion.proxy import bridge as module
from companion.proxy.bridge import Bridge
from tests.proxy.client import HOST, memory, serving, until

ADDRESS = "http://127.0.0.1:8080"


def bridged(app: Any) -> Bridge:
    async def make():
        return app

    return Bridge(make, lambda: ADDRESS)


@asynccontextmanager
async def running(app: Any, **limits: Any) -> AsyncIterator[Any]:
    """A server with this application; `at.bridge` leads to it."""
    bridge = bridged(app)
    try:
        async with serving(bridge, **limits) as at:
            cast("Any", at).bridge = bridge
            yield at
    finally:
        await bridge.aclose()


def says(*messages: Any) -> Any:
    """An application that answers with these messages, and knows no lifespan."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        for message in messages:
            await send(message)

    return app


def says_nothing_of_life(app: Any) -> Any:
    """The application, without a lifespan."""

    async def http_only(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await app(scope, receive, send)

    return http_only


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


# === what the application sees


async def test_the_scope_says_all_about_the_request():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await says(start(), body())(scope, receive, send)

    async with running(app) as at:
        await at.asks("PUT /admin/api/caf%C3%A9%2Fx?a=%20b&c HTTP/1.1", HOST, "X-Odd:  one ", "x-odd: two", "", "")
    # The first scope was the lifespan's.
    (scope,) = scopes[1:]
    assert scope["type"] == "http"
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert (scope["method"], scope["scheme"], scope["http_version"]) == ("PUT", "http", "1.1")
    assert scope["path"] == "/admin/api/café/x"
    assert scope["raw_path"] == b"/admin/api/caf%C3%A9%2Fx"
    assert (scope["query_string"], scope["root_path"]) == (b"a=%20b&c", "")
    assert scope["headers"] == [(b"host", b"localhost"), (b"x-odd", b"one"), (b"x-odd", b"two")]
    assert (scope["client"][0], scope["server"]) == ("127.0.0.1", ("127.0.0.1", 8080))


async def test_a_body_arrives_whole_and_is_counted_no_more():
    sent = bytes(range(256)) * 20_000
    got = []
    held: list[int] = []

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        got.append(await receive())
        held.append(at.shared.held)
        await says(start(), body())(scope, receive, send)

    async with running(app) as at:
        await at.asks("POST / HTTP/1.1", HOST, f"Content-Length: {len(sent)}", "", sent)
    assert got == [{"type": "http.request", "body": sent, "more_body": False}]
    assert held == [0]


async def test_starlette_is_at_home_here():
    async def echo(request: Request):
        return JSONResponse({"got": (await request.json())["n"] + 1, "url": str(request.url)}, status_code=201)

    async with running(Starlette(routes=[Route("/echo", echo, methods=["POST"])])) as at:
        answer = await at.asks("POST /echo?x=1 HTTP/1.1", HOST, "Content-Length: 7", "", '{"n":1}')
    assert answer == (201, b'{"got":2,"url":"http://localhost/echo?x=1"}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))


# === what the client gets


async def test_an_answer_without_length_streams_and_ends_properly():
    app = says(start(200, (b"X-Mine", b"1")), body(b"one", more=True), body(b"two", more=True), body())
    async with running(app) as at, at.client() as client:
        for _ in range(2):
            client.says("GET / HTTP/1.1", HOST, "", "")
            answer = await client.hears()
            assert answer == (200, b"onetwo")
            assert answer.headers["x-mine"] == "1"
            assert answer.headers["transfer-encoding"] == "chunked"


async def test_framing_is_the_servers_to_say():
    headers = [(b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"), (b"Date", b"never")]
    async with running(says(start(200, *headers), body(b"x"))) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
    assert answer == (200, b"x")
    assert "connection" not in answer.headers
    assert answer.headers["date"] != "never"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_where_no_body_belongs_none_is_sent(method, status):
    app = says(start(status, (b"content-length", b"3")), body(b"abc"))
    async with running(app) as at, at.client() as client:
        for _ in range(2):
            client.says(f"{method} / HTTP/1.1", HOST, "", "")
            assert await client.hears(method) == (status, b"")


async def test_trailers_are_left_out():
    app = says({**start(), "trailers": True}, body(b"x"), {"type": "http.response.trailers", "headers": [(b"a", b"b")]})
    async with running(app) as at, at.client() as client:
        for _ in range(2):
            client.says("GET / HTTP/1.1", HOST, "", "")
            assert await client.hears() == (200, b"x")


async def test_a_client_that_reads_slowly_holds_the_application_up():
    passed = []

    async def app(scope, receive, send):
        await send(start())
        for _ in range(200):
            await send(body(b"x" * 100_000, more=True))
            passed.append(1)
        await send(body())

    async with running(app) as at, at.client() as client:
        with memory(4_000_000):
            client.says("GET / HTTP/1.1", HOST, "", "")
            client.stops_reading()
            await until(lambda: passed)
            await asyncio.sleep(0.1)
            assert len(passed) < 100
        client.reads_on()
        assert await client.hears() == (200, b"x" * 20_000_000)
        assert len(passed) == 200


# === mistakes


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [start()],
        [body(b"x")],
        [start(), start()],
        [start(200, (b"x", b"a\r\nb")), body(b"x")],
    ],
    ids=["silence", "no body", "no head", "two heads", "a header that cannot be sent"],
)
async def test_an_application_that_fails_before_its_answer_is_a_500_that_blames_us(messages, capsys):
    async with running(says(*messages)) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
        assert answer.status == 500
        kind, message = answer.error
        assert kind == "api_error"
        assert "Claude Code Companion made a mistake" in message
    assert "our own mistake" in capsys.readouterr().out


@pytest.mark.parametrize("head", [[start()], []], ids=["after its head", "before it"])
async def test_an_error_of_the_application_is_logged_and_not_shown(head, capsys):
    async def app(scope, receive, send):
        await says(*head)(scope, receive, send)
        raise ZeroDivisionError("secret detail")

    async with running(app) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "ZeroDivisionError: secret detail" in capsys.readouterr().out


@pytest.mark.parametrize("length", [(), ((b"content-length", b"9"),)], ids=["chunked", "with length"])
async def test_an_error_within_the_answer_cuts_it(length):
    async def app(scope, receive, send):
        await says(start(200, *length), body(b"half", more=True))(scope, receive, send)
        raise ZeroDivisionError

    async with running(app) as at:
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
    assert (answer.body, answer.whole) == (b"half", False)


async def test_more_body_than_was_announced_does_not_reach_the_next_answer():
    app = says(start(200, (b"content-length", b"3")), body(b"abcdef"))
    async with running(app) as at, at.client() as client:
        client.says("GET / HTTP/1.1", HOST, "", "")
        answer = await client.hears()
        assert not answer.whole
        assert b"def" not in answer.body + await client.hears_the_end()


async def test_work_after_the_answer_holds_nobody_up_and_its_error_is_logged(capsys):
    go = asyncio.Event()

    async def app(scope, receive, send):
        await says(start(), body(b"x"))(scope, receive, send)
        await go.wait()
        raise ZeroDivisionError

    async with running(app) as at:
        async with at.client() as client:
            for _ in range(2):
                client.says("GET / HTTP/1.1", HOST, "", "")
                assert await client.hears() == (200, b"x")
        go.set()
        await until(lambda: not at.bridge._visits)
    assert capsys.readouterr().out.count("application failed after its answer") == 2


# === leaving


async def test_a_client_that_leaves_is_told_to_the_application():
    told = []

    async def app(scope, receive, send):
        await receive()
        await send(start())
        await send(body(b"x", more=True))
        told.append(await receive())
        await send(body(b"into the void", more=True))
        told.append("ended by itself")

    async with running(app) as at:
        async with at.client() as client:
            client.says("GET / HTTP/1.1", HOST, "", "")
            await client.hears_head()
        await until(lambda: told)
        await until(lambda: not at.bridge._visits)
    assert told == [{"type": "http.disconnect"}, "ended by itself"]


async def test_an_application_that_does_not_listen_is_stopped(monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.05)
    stopped = asyncio.Event()

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"x", more=True))
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with running(app) as at:
        async with at.client() as client:
            client.says("GET / HTTP/1.1", HOST, "", "")
            await client.hears_head()
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_silent_stream_of_starlette_ends_when_its_client_leaves():
    ended = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b": hello\n\n"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def live(request):
        return StreamingResponse(events(), media_type="text/event-stream")

    async with running(Starlette(routes=[Route("/live", live)])) as at:
        async with at.client() as client:
            client.says("GET /live HTTP/1.1", HOST, "", "")
            await client.hears_head()
        await asyncio.wait_for(ended.wait(), 5)


# === the process stops


async def test_a_live_stream_ends_at_drain_and_other_answers_go_on():
    go = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    async def live(request):
        return StreamingResponse(events(), media_type="text/event-stream")

    async def work(request):
        await go.wait()
        return PlainTextResponse("done")

    async with running(Starlette(routes=[Route("/live", live), Route("/work", work)])) as at:
        async with at.client() as one, at.client() as other:
            one.says("GET /live HTTP/1.1", HOST, "", "")
            await one.hears_head()
            other.says("GET /work HTTP/1.1", HOST, "", "")
            await until(lambda: len(at.requests) == 2)
            at.bridge.end_streams()
            draining = asyncio.create_task(at.server.drain(30))
            assert (await one.hears_the_end()).endswith(b"data: 1\n\n\r\n0\r\n\r\n")
            assert not draining.done()
            go.set()
            assert await other.hears() == (200, b"done")
        await asyncio.wait_for(draining, 10)


async def test_a_live_stream_that_begins_while_draining_ends_at_once(monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.05)

    async def app(scope, receive, send):
        await send(start(200, (b"content-type", b"text/event-stream")))
        await send(body(b"data: 1\n\n", more=True))
        await asyncio.Event().wait()

    async with running(app) as at:
        at.bridge.end_streams()
        answer = await at.asks("GET / HTTP/1.1", HOST, "", "")
    assert (answer.body, answer.whole) == (b"data: 1\n\n", True)


# === the application's own life


async def test_it_is_made_once_at_the_first_visit_for_all_who_come():
    made = []
    go = asyncio.Event()

    async def make():
        made.append(1)
        await go.wait()
        return says(start(), body(b"x"))

    bridge = Bridge(make, lambda: ADDRESS)
    async with serving(bridge) as at:
        assert not made
        async with at.client() as leaver:
            leaver.says("GET / HTTP/1.1", HOST, "", "")
            await until(lambda: made)
        visits = [asyncio.create_task(at.asks("GET / HTTP/1.1", HOST, "", "")) for _ in range(3)]
        await until(lambda: len(at.requests) == 4)
        go.set()
        assert [await visit for visit in visits] == [(200, b"x")] * 3
    assert made == [1]
    await bridge.aclose()


async def test_what_cannot_be_made_is_a_500_and_tried_again_at_the_next_visit(capsys):
    tries = []

    async def make():
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("no module named fast")
        return says(start(), body(b"x"))

    bridge = Bridge(make, lambda: ADDRESS)
    async with serving(bridge) as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).error[0] == "api_error"
        assert await at.asks("GET / HTTP/1.1", HOST, "", "") == (200, b"x")
    assert "no module named fast" in capsys.readouterr().out
    await bridge.aclose()


async def test_closing_waits_neither_for_what_is_being_made_nor_for_who_does_not_listen(monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.05)
    go = asyncio.Event()

    async def stubborn(scope, receive, send):
        while not go.is_set():
            with suppress(asyncio.CancelledError):
                await go.wait()

    async def never() -> Any:
        await asyncio.Event().wait()

    for bridge in (Bridge(never, lambda: ADDRESS), bridged(says_nothing_of_life(stubborn))):
        async with serving(bridge) as at, at.client() as client:
            client.says("GET / HTTP/1.1", HOST, "", "")
            await until(partial(getattr, bridge, "_making"))
            await asyncio.sleep(0.05)
            await asyncio.wait_for(bridge.aclose(), 5)
    go.set()
    await asyncio.sleep(0)


async def test_an_application_that_wants_to_know_hears_of_beginning_and_end():
    heard = []

    @asynccontextmanager
    async def lifespan(app):
        heard.append("begin")
        yield {"shared": 7}
        heard.append("end")

    async def shared(request: Request):
        return PlainTextResponse(str(request.state.shared))

    async with running(Starlette(routes=[Route("/", shared)], lifespan=lifespan)) as at:
        assert await at.asks("GET / HTTP/1.1", HOST, "", "") == (200, b"7")
        assert heard == ["begin"]
    assert heard == ["begin", "end"]


async def test_an_application_that_cannot_begin_is_a_500_that_is_logged(capsys):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no room"})

    async with running(app) as at:
        assert (await at.asks("GET / HTTP/1.1", HOST, "", "")).status == 500
    assert "no room" in capsys.readouterr().out


async def test_reading_a_body_that_was_read_already_says_that_the_client_is_gone():
    caught = asyncio.Event()

    async def wait(request: Request):
        await request.body()
        try:
            async for _ in Request(request.scope, request.receive).stream():
                pass
        except ClientDisconnect:
            caught.set()
        return PlainTextResponse("late")

    async with running(Starlette(routes=[Route("/", wait)])) as at:
        async with at.client() as client:
            client.says("GET / HTTP/1.1", HOST, "", "")
            await until(lambda: at.bridge._visits)
        await asyncio.wait_for(caught.wait(), 5)
