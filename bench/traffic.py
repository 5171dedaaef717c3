"""What goes over the wire, made from a fixed seed: Claude Code's requests and the Messages API's answers to them."""

import json
import random
from typing import Any, Final

MODEL: Final = "claude-opus-5-5"
COUNT: Final = "@COUNT@000000000"

_TEXT: Final = """
the a to of and in is that for it with as on be this are by from at or an which you not can if has will one all
request response stream upstream endpoint event handler buffer token message header client server timeout retry
parse write read send receive socket module function returns value error fault circuit candidate config session
naïve “quoted” größer → ✓ path/to/file.py self.state == None {key: value}
"""
_WORDS: Final = _TEXT.split()

_ANSWER_HEADERS: Final = (
    "date: Mon, 23 Nov 2026 10:00:00 GMT",
    "cache-control: no-cache",
    "request-id: req_011CWbenchbenchbenchbench",
    "anthropic-organization-id: 00000000-1111-4222-8333-444444444444",
    "anthropic-ratelimit-requests-limit: 4000",
    "anthropic-ratelimit-requests-remaining: 3999",
    "anthropic-ratelimit-requests-reset: 2026-11-23T10:00:00Z",
    "anthropic-ratelimit-input-tokens-limit: 2000000",
    "anthropic-ratelimit-input-tokens-remaining: 1999000",
    "strict-transport-security: max-age=31536000; includeSubDomains; preload",
    "server: cloudflare",
    "x-robots-tag: none",
    "cf-cache-status: DYNAMIC",
)

_REQUEST_HEADERS: Final = (
    "host: 127.0.0.1",
    "accept: application/json",
    "authorization: Bearer dummy",
    "content-type: application/json",
    "user-agent: claude-cli/2.1.330 (external, sdk-cli)",
    "x-claude-code-session-id: 11111111-2222-4333-8444-555555555500",
    "x-stainless-arch: x64",
    "x-stainless-lang: js",
    "x-stainless-os: Linux",
    "x-stainless-package-version: 0.128.0",
    "x-stainless-retry-count: 0",
    "x-stainless-runtime: node",
    "x-stainless-runtime-version: v26.12.1",
    "x-stainless-timeout: 600",
    "anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "anthropic-dangerous-direct-browser-access: true",
    "anthropic-version: 2023-06-01",
    "x-app: cli",
    "connection: keep-alive",
    "accept-encoding: gzip, deflate, br, zstd",
)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class _Author:
    """Writes text that looks like prose and like code, the same on every run."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def words(self, count: int) -> str:
        return " ".join(self._dice.choices(_WORDS, k=count))

    def lines(self, length: int) -> str:
        text = ""
        while len(text) < length:
            indent = " " * self._dice.choice((0, 0, 4, 4, 8))
            text += f'{indent}{self.words(self._dice.randint(3, 12))}("{self._dice.choice(_WORDS)}")\n'
        return text[:length]


class Answers:
    """The upstream's answers, as the blocks that load.c reads."""

    def __init__(self) -> None:
        author = _Author(seed=1)
        self.whole = _json(_message([{"type": "text", "text": author.lines(1600)}], "end_turn")).encode()
        self.opening = _frames(
            {"type": "message_start", "message": _message([], None)},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
        )
        self.deltas = [_frames(_delta(author.words(1 + turn % 6) + " ")) for turn in range(211)]
        self.ending = _frames(
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": _USAGE},
            {"type": "message_stop"},
        )

    def blocks(self) -> bytes:
        whole = _head("HTTP/1.1 200 OK", _ANSWER_HEADERS, _of_json(self.whole)) + self.whole
        streamed = ("content-type: text/event-stream; charset=utf-8", "transfer-encoding: chunked")
        opening = _head("HTTP/1.1 200 OK", _ANSWER_HEADERS, streamed) + _chunk(self.opening)
        blocks = [whole, opening, _chunk(self.ending) + b"0\r\n\r\n", *map(_chunk, self.deltas)]
        return b"".join(b"%d\n%b" % (len(block), block) for block in blocks)

    def stream(self, tokens: int) -> bytes:
        """The whole body of a stream that says `tokens` times something."""
        deltas = [self.deltas[turn % len(self.deltas)] for turn in range(tokens)]
        return b"".join([self.opening, *deltas, self.ending])


_USAGE: Final = {"input_tokens": 12, "cache_read_input_tokens": 38211, "output_tokens": 420}


def _message(content: list[Any], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_01BenchBenchBenchBenchBench",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": _USAGE,
    }


def _delta(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def _frames(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {_json(event)}\n\n" for event in events).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _head(first: str, *fields: tuple[str, ...]) -> bytes:
    return "\r\n".join([first, *(line for some in fields for line in some), "", ""]).encode()


def _of_json(body: bytes) -> tuple[str, ...]:
    return ("content-type: application/json", f"content-length: {len(body)}")


def request(size: int, *, stream: bool, tokens: int) -> bytes:
    """A raw HTTP request whose body has exactly `size` bytes: a short question, or a long conversation with tools."""
    author = _Author(seed=size)
    body = _conversation(author, size, stream=stream, tokens=tokens) if size > 10_000 else _question(author, tokens)
    text = _json({**body, "stream": True} if stream else body)
    missing = size - len(text.encode())
    if missing < 0:
        raise ValueError(f"{size} bytes are too few")
    raw = text.replace("@FILL@", "@FILL@" + "x" * missing, 1).encode()
    fields = (f"content-length: {len(raw)}",)
    return _head("POST /v1/messages?beta=true HTTP/1.1", _REQUEST_HEADERS, fields) + raw


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a raw request or answer."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])]


def _question(author: _Author, tokens: int) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": [{"type": "text", "text": author.lines(900) + "@FILL@"}]}],
        "system": [{"type": "text", "text": author.lines(300), "cache_control": {"type": "ephemeral"}}],
        "metadata": {"user_id": "user_bench_account__session_11111111-2222-4333-8444-555555555500"},
        "max_tokens": tokens,
    }


def _conversation(author: _Author, size: int, *, stream: bool, tokens: int) -> dict[str, Any]:
    """As from Claude Code: a quarter system prompt and tools, the rest tool calls and what they brought.

    The last result has the mark that load.c counts in, so that no two requests are the same conversation.
    """
    messages: list[dict[str, Any]] = [{"role": "user", "content": author.lines(400) + "@FILL@"}]
    body = {
        "model": MODEL,
        "messages": messages,
        "system": [
            {"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": author.lines(size // 10), "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [_tool(author, number, size // 100) for number in range(14)],
        "metadata": {"user_id": "user_bench_account__session_11111111-2222-4333-8444-555555555500"},
        "max_tokens": tokens,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }
    room = size - len(_json(body).encode()) - (len(',"stream":true') if stream else 0)
    while True:
        turn = _turn(author, len(messages))
        room -= len(_json(turn).encode())
        if room < 0:
            messages[-1]["content"][0]["content"] = COUNT + messages[-1]["content"][0]["content"][len(COUNT) :]
            return body
        messages += turn


def _turn(author: _Author, number: int) -> list[dict[str, Any]]:
    name = f"toolu_{number:024d}"
    call = {"type": "tool_use", "id": name, "name": "Tool1", "input": {"file_path": f"/src/{number}.py", "limit": 80}}
    result = {"type": "tool_result", "tool_use_id": name, "content": author.lines(2400)}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": author.words(30)}, call]},
        {"role": "user", "content": [result]},
    ]


def _tool(author: _Author, number: int, length: int) -> dict[str, Any]:
    fields = {f"field_{n}": {"type": "string", "description": author.words(12)} for n in range(4)}
    schema = {"type": "object", "properties": fields, "required": ["field_0"], "additionalProperties": False}
    return {"name": f"Tool{number}", "description": author.lines(length), "input_schema": schema}
