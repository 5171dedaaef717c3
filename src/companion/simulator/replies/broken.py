"""Connections that are reset, closed or silent, and bytes that are no HTTP."""

from companion.simulator.exchange import SSE, Exchange, Reply
from companion.simulator.wire import End


def reset() -> Reply:
    """The connection is reset before a byte."""
    return _leaving("reset", "rst")


def close() -> Reply:
    """The connection is closed before a byte."""
    return _leaving("close", "fin")


def hang() -> Reply:
    """No byte ever comes."""
    return _leaving("hang", "hang")


def headers_then_hang() -> Reply:
    """A good head, and then no byte of a body."""

    async def play(exchange: Exchange) -> None:
        exchange.wire.head(200, exchange.head_fields(200, SSE))
        await exchange.wire.end("hang")

    return Reply("headers_then_hang", play)


def raw(data: bytes, end: End = "fin") -> Reply:
    """Bytes as they are, in place of any HTTP."""

    async def play(exchange: Exchange) -> None:
        await exchange.wire.raw(data)
        await exchange.wire.end(end)

    return Reply("raw", play)


def bad_http() -> Reply:
    """Bytes of another protocol."""
    return Reply("bad_http", raw(b"220 mail.example ESMTP\r\n").play)


def bad_chunk() -> Reply:
    """A stream whose first chunk has no proper length."""

    async def play(exchange: Exchange) -> None:
        exchange.wire.head(200, exchange.head_fields(200, SSE))
        await exchange.wire.raw(b"zz\r\nevent: ping\r\n")
        await exchange.wire.end("fin")

    return Reply("bad_chunk", play)


def _leaving(name: str, end: End) -> Reply:
    async def play(exchange: Exchange) -> None:
        await exchange.wire.end(end)

    return Reply(name, play)
