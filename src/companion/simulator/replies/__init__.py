"""What the simulator can do with a request: good answers, and every fault that was seen to hurt a client.

    whole.py     statuses, bodies that are not what was asked for
    broken.py    connections that are reset, closed or silent, and bytes that are no HTTP
    streams.py   streams that come late, come dressed oddly, or are cut; and the good answer
    picky.py     refusals of what a proxy can repair
    odd.py       complete streams whose events are wrong
    shape.py     how a stream is given a shape

A fault of a stream is applied to the scripted answer of that very request, so that when the client asks again, or a
proxy asks elsewhere, the conversation goes on as if nothing had happened. Requests that do not stream get the same
fault where it has a meaning for them, else it waits for one that streams.
"""

from companion.simulator.replies.broken import bad_chunk, bad_http, close, hang, headers_then_hang, raw, reset
from companion.simulator.replies.odd import (
    data_only,
    duplicate_message_start,
    empty_content,
    foreign_tool,
    index_gap,
    invalid_tool_json,
    no_block_start,
    no_block_stop,
    no_message_start,
    no_signature,
    no_usage,
    null_usage,
    other_model,
    redacted_thinking,
    server_tool,
    stop_reason,
    text_after_stop,
    tool_input_in_start,
    truncated_json,
    unknown_block,
    unknown_delta,
    unknown_event,
    zero_usage,
)
from companion.simulator.replies.picky import refuses
from companion.simulator.replies.streams import (
    answer,
    bytewise,
    comments,
    crlf,
    cut,
    deflate,
    error_first,
    events,
    gzip,
    late,
    lying_encoding,
    pings,
    unframed,
    wrong_type,
)
from companion.simulator.replies.whole import empty, error_json, html, json_for_stream, redirect, status, too_long

__all__ = [
    "answer",
    "bad_chunk",
    "bad_http",
    "bytewise",
    "close",
    "comments",
    "crlf",
    "cut",
    "data_only",
    "deflate",
    "duplicate_message_start",
    "empty",
    "empty_content",
    "error_first",
    "error_json",
    "events",
    "foreign_tool",
    "gzip",
    "hang",
    "headers_then_hang",
    "html",
    "index_gap",
    "invalid_tool_json",
    "json_for_stream",
    "late",
    "lying_encoding",
    "no_block_start",
    "no_block_stop",
    "no_message_start",
    "no_signature",
    "no_usage",
    "null_usage",
    "other_model",
    "pings",
    "raw",
    "redacted_thinking",
    "redirect",
    "refuses",
    "reset",
    "server_tool",
    "status",
    "stop_reason",
    "text_after_stop",
    "too_long",
    "tool_input_in_start",
    "truncated_json",
    "unframed",
    "unknown_block",
    "unknown_delta",
    "unknown_event",
    "wrong_type",
    "zero_usage",
]
