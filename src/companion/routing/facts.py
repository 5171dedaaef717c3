"""Facts: what is known about a request before anybody is asked to answer it. Frozen, and cheap to make."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from companion.net.h1 import Headers, header
from companion.protocol.request import RequestHead, is_compaction

_CLAUDE_CODE: Final = re.compile(rb"claude-cli/(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
RESUMES_SINCE: Final = (2, 1, 281)


class Client(StrEnum):
    """Who asks, as far as it matters for what can be done after the first byte (client.md §2.2)."""

    RESUMING = "Claude Code that resumes a cut by itself"
    OLDER = "Claude Code before 2.1.281"
    OTHER = "any other client"


def client_of(headers: Headers) -> Client:
    """By what its User-Agent says."""
    return _client(header(headers, b"user-agent") or b"")


@lru_cache(maxsize=256)
def _client(agent: bytes) -> Client:
    found = _CLAUDE_CODE.match(agent)
    if found is None:
        return Client.OTHER
    return Client.RESUMING if tuple(map(int, found.groups())) >= RESUMES_SINCE else Client.OLDER


# An enum's member costs a call of Python code each time it is looked up by name.
_OLDER: Final = Client.OLDER


class Facts(msgspec.Struct, frozen=True):
    """One request as the rules see it.

    `session` is `x-claude-code-session-id`, or what metadata.user_id says; `whole_text_only` marks a compaction, a
    structured answer or a request without tools: an artificially closed half of an answer would be taken for all of it.
    `agent` is a sub-agent's id, `parent_agent` the one that it works for, if that is a sub-agent, too.
    """

    client: Client
    model: str | None = None
    stream: bool = False
    session: str | None = None
    whole_text_only: bool = False
    agent: str | None = None
    parent_agent: str | None = None


def describe(client: Client, headers: Headers, body: bytes, head: RequestHead) -> Facts:
    """Facts of a Messages request."""
    told = header(headers, b"x-claude-code-session-id")
    agent = _told(headers, b"x-claude-code-agent-id") if told else None
    return Facts(
        client=client,
        model=head.model,
        stream=head.stream,
        session=told.decode("latin-1") if told else head.session,
        whole_text_only=client is _OLDER and (not head.tools or head.structured or is_compaction(body)),
        agent=agent,
        parent_agent=_told(headers, b"x-claude-code-parent-agent-id") if agent else None,
    )


def _told(headers: Headers, name: bytes) -> str | None:
    value = header(headers, name)
    return value.decode("latin-1") if value else None
