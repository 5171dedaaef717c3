"""Refusals that Claude Code answers by itself: they pass on once, byte for byte, so that it does.

It goes by the wording and, mostly, the status; the patterns are what client.md §2.4 saw and what 2.1.330 looks for. One
more thing is known of some: what they change must be in the request, or the client has changed it already.
"""

import json
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from companion.protocol.repairs.patterns import Match, Pattern, across_lines, everything
from companion.protocol.repairs.tree import Node
from companion.protocol.repairs.words import MAX

_ONLY_400: Final = frozenset({400})
_SIZE: Final = frozenset({400, 413, 422})
# Below this limit Claude Code leaves max_tokens as it is.
_LEAST_LIMIT: Final = 4096


class Healed(NamedTuple):
    """Words, the statuses with which they count (None: any), and whether the request leaves the client something."""

    pattern: Pattern
    statuses: frozenset[int] | None = _ONLY_400
    leaves: Callable[[Match, Node], bool] = lambda _found, _root: True


def heals(status: int, said: str, raw: bytes, root: Node) -> bool:
    """Whether the client will ask again, and right, when it reads this."""
    message = _message(raw)
    for pattern, statuses, leaves in HEALED:
        if statuses is None or status in statuses:
            found = pattern.search(said if pattern is _LIMIT else message)
            if found is not None and leaves(found, root):
                return True
    return False


def _message(raw: bytes) -> str:
    """What the client's library makes of a body: its JSON again, without spaces and needless escapes."""
    try:
        return json.dumps(json.loads(raw), ensure_ascii=False, separators=(",", ":"))[:MAX]
    except (ValueError, RecursionError):
        return raw[:MAX].decode("utf-8", "replace")


def _per_turn(_: Match, root: Node) -> bool:
    messages = root.get("messages")
    return messages is not None and any(message.get("output_config") is not None for message in messages.items)


def _enough(found: Match, _: Node) -> bool:
    return int(found[1]) >= _LEAST_LIMIT


# This one is looked for in the message alone.
_LIMIT: Final = Pattern(
    r"^max_tokens: \d+ > (\d+), which is the maximum allowed number of output tokens for .+$", flags=re.MULTILINE
)

HEALED: Final = (
    Healed(across_lines(r"capability_rejected: ", r"policy_blocked"), None),
    # a message of the role system
    Healed(
        across_lines(
            r"unexpected role.*input message role",
            r"unknown variant .{0,2}system\b.{0,2}, expected [\\'\"`]{1,2}(?:user|assistant)\b.{0,2} or ",
            r"input should be [\\'\"`]{1,2}(?:user|assistant)\b.{0,2} or [\\'\"`]{1,2}(?:user|assistant)\b",
            r"role .{0,2}system.{0,2} must (?:precede an|follow a)|text-only role .{0,2}system.{0,2} messages require",
            r"use the top-level .{0,2}system.{0,2} parameter for the initial system prompt",
        ),
        None,
    ),
    Healed(everything("not supported", r"role .{0,2}system"), None),
    # fields and betas
    Healed(across_lines(r"context_management: Extra inputs are not permitted"), None),
    Healed(
        across_lines(
            r"input tag '(?:clear_(?:thinking|tool_uses)_\d+|tool_\w+)'", r"anthropic[-_]beta|invalid beta flag"
        )
    ),
    Healed(across_lines(r"output_config\.format: extra inputs are not permitted")),
    Healed(across_lines(r"effort '[a-z]+' is not supported when thinking is disabled")),
    Healed(everything("effort parameter", "not support")),
    Healed(everything("output_config", "effort", "extra inputs are not permitted")),
    Healed(across_lines(r"output_config(?!\.timing)"), leaves=_per_turn),
    # thinking
    Healed(
        across_lines(
            r"thinking\.type[^a-z]{1,8}(?:enabled|adaptive).*not supported", r"\badaptive thinking is not supported"
        )
    ),
    Healed(across_lines(r"signature`? in `?thinking`? block|invalid data in `?redacted_thinking`? block")),
    Healed(everything(r"thinking\.signature", "field required")),
    Healed(everything(r"(?:thinking`? block|redacted_thinking)", r"(?:cannot be modified|invalid signature)")),
    # images and documents
    Healed(
        across_lines(
            r"could not process (?:image|pdf)|image (?:exceeds|dimensions exceed|cannot be empty|file is empty)",
            r"image does not match the provided media type|exceeds? (?:the )?api limit|too much media",
            r"unable to (?:resize|compress) image|does not support pdf|pdf pages|the pdf specified|pdf cannot be empty",
            r"messages[.[]\d+[\].]+content[.[]\d+[\].]+(?:tool_result[.[]content[.[]\d+[\].]+)?(?:image|document|pdf)",
        )
    ),
    # sizes
    Healed(_LIMIT, leaves=_enough),
    Healed(across_lines(r"input length and `max_tokens` exceed context limit")),
    Healed(
        # A max_tokens that is itself too large is no reason to compact.
        across_lines(
            r"\A(?!.*max_(?:completion_)?tokens\S* is too large).*(?:prompt is too long|input is too long"
            r"|context window|maximum context (?:length|limit)|context_length_exceeded|contextwindowexceedederror"
            r"|longer than the (?:maximum model|model's context) length|exceeds the available context size"
            r"|exceeds the maximum number of tokens allowed|exceeded model token limit|input token length too long"
            r"|input tokens exceed the configured limit|maximum prompt length|prompt exceeds max length"
            r"|tokens in request more than max tokens allowed|range of input length should be"
            r"|but model only supports up to|reduce the length of the messages|context exceeds your deployment)",
        ),
        _SIZE,
    ),
)
