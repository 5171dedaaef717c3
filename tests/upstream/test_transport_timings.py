"""What an answer tells about how its connection came about."""

import asyncio
from typing import cast

import msgspec
import trustme

from companion.events import Timings
from tests.upstream.wire import (
    CHUNKED,
    OK,
    Wire,
    asked,
    body_of,
    client,
    deaf,
    head,
    hearing,
    on,
    pool_of,
    post,
    say,
    send,
    serving,
    trusting,
    until,
)

SERVED = [asked, OK] * 5


def steps(timings: Timings) -> set[str]:
    """The steps that were needed."""
    return {name for name, value in msgspec.structs.asdict(timings).items() if value is not None}


async def test_a_new_connection_tells_its_steps():
    authority = trustme.CA()
    async with Wire(SERVED, tls=serving(authority, "localhost")) as up:
        up.host = "localhost"
        async with client(up, tls=lambda: trusting(authority)) as transport:
            response = await send(transport)
            await body_of(response)
    assert steps(response.timings) == {"reused", "dns", "connect", "tls", "write"}
    assert not response.timings.reused
    assert min(cast("float", getattr(response.timings, step)) for step in ("dns", "connect", "tls", "write")) >= 0


async def test_a_literal_address_without_tls_needs_neither_look_up_nor_handshake():
    async with Wire(SERVED) as up, client(up) as transport:
        response = await send(transport)
        await body_of(response)
        assert steps(response.timings) == {"reused", "connect", "write"}


async def test_a_connection_used_again_needs_none():
    async with Wire(SERVED) as up, client(up) as transport:
        await body_of(await send(transport))
        response = await send(transport)
        await body_of(response)
        assert steps(response.timings) == {"reused", "write"}
        assert response.timings.reused


async def test_the_wait_for_a_free_connection_is_told():
    go = asyncio.Event()
    async with Wire([asked, CHUNKED, on(go), say("0", "", ""), *SERVED]) as up, client(up, pool_of(1)) as transport:
        first = await send(transport)
        waiting = asyncio.create_task(send(transport))
        await asyncio.sleep(0.05)
        go.set()
        await body_of(first)
        response = await waiting
        await body_of(response)
        assert steps(response.timings) == {"reused", "waited", "write"}
        assert (response.timings.waited or 0) >= 0.04


async def test_the_wait_for_a_slot_to_dial_in_is_told():
    go = asyncio.Event()
    ended = [asked, say("HTTP/1.1 200 OK", "connection: close", "transfer-encoding: chunked", "", ""), on(go)]
    async with Wire([*ended, say("0", "", "")], SERVED) as up, client(up, pool_of(1)) as transport:
        first = await send(transport)
        waiting = asyncio.create_task(send(transport))
        await asyncio.sleep(0.05)
        go.set()
        await body_of(first)
        response = await waiting
        await body_of(response)
        assert steps(response.timings) == {"reused", "waited", "connect", "write"}
        assert (response.timings.reused, (response.timings.waited or 0) >= 0.04) == (False, True)


async def test_the_time_that_a_large_request_takes_to_go_out_is_told():
    go = asyncio.Event()
    async with Wire([deaf, on(go), hearing, asked, OK], narrow=True) as up, client(up) as transport:
        sending = asyncio.create_task(send(transport, post(b"x" * 8_000_000)))
        await until(lambda: bool(up.peers))
        await asyncio.sleep(0.05)
        go.set()
        response = await sending
        await body_of(response)
        assert (response.timings.write or 0) >= 0.04


async def test_a_request_that_is_refused_before_it_is_out_has_no_time_for_that():
    refusal = say("HTTP/1.1 413 Too Large", "content-length: 0", "", "")
    async with Wire([head, deaf, refusal], narrow=True) as up, client(up) as transport:
        response = await send(transport, post(b"x" * 8_000_000))
        assert response.timings.write is None
        response.close()
