"""Before the first content every fault is invisible: the real CLI leads a conversation, and its user notices nothing.

The first endpoint fails in one way with every request until its circuit opens; the second one is healthy.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from companion.errors import Kind
from companion.events import AttemptEnded, ExchangeSettled
from companion.simulator import Simulator, replies
from companion.simulator.exchange import Reply
from tests.clients.claude import NEWER, OLDER, Claude
from tests.support.proxy import Proxy, endpoint, running

Make = Callable[..., Claude]

TIMEOUTS: Final = {"connect": "1s", "write": "1s", "headers": "1s", "idle_gate": "1s"}
STATUSES: Final[dict[int, Kind]] = {
    401: Kind.UNAUTHORIZED,
    402: Kind.PAYMENT,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT_STATUS,
    409: Kind.CONFLICT,
    429: Kind.RATE_LIMITED,
    500: Kind.SERVER_ERROR,
    502: Kind.BAD_GATEWAY,
    503: Kind.UNAVAILABLE,
    504: Kind.SERVER_ERROR,
    520: Kind.BAD_GATEWAY,
    529: Kind.OVERLOADED,
}
FAULTS: Final[dict[str, tuple[Reply, Kind]]] = {
    **{str(code): (replies.status(code), kind) for code, kind in STATUSES.items()},
    "403 by a gateway": (replies.status(403, "html"), Kind.FORBIDDEN),
    "413": (replies.status(413), Kind.TOO_LARGE),
    "429 for a second": (replies.status(429, retry_after=1), Kind.RATE_LIMITED),
    "429 for an hour": (replies.status(429, retry_after=3600), Kind.RATE_LIMITED),
    "502 by a gateway": (replies.status(502, "html"), Kind.BAD_GATEWAY),
    "503 without a word": (replies.status(503, "empty"), Kind.UNAVAILABLE),
    "reset": (replies.reset(), Kind.RESET),
    "closed": (replies.close(), Kind.CLOSED),
    "hang": (replies.hang(), Kind.HEADERS_TIMEOUT),
    "hang after the head": (replies.headers_then_hang(), Kind.IDLE_TIMEOUT),
    "hang after message_start": (replies.cut("before_content", "stall"), Kind.IDLE_TIMEOUT),
    "another protocol": (replies.bad_http(), Kind.BAD_HTTP),
    "broken chunks": (replies.bad_chunk(), Kind.BAD_HTTP),
    "a lie about gzip": (replies.lying_encoding(), Kind.BAD_ENCODING),
    "HTML": (replies.html(), Kind.HTML),
    "empty": (replies.empty(), Kind.EMPTY_BODY),
    "empty JSON": (replies.empty("application/json"), Kind.EMPTY_BODY),
    "error JSON with 200": (replies.error_json(), Kind.ERROR_IN_200),
    "overloaded with 200": (replies.error_json("overloaded_error"), Kind.ERROR_IN_200),
    "JSON for a stream": (replies.json_for_stream(), Kind.NOT_A_STREAM),
    "error event first": (replies.error_first(), Kind.ERROR_IN_200),
    "api_error event first": (replies.error_first("api_error"), Kind.ERROR_IN_200),
    "no message_start": (replies.no_message_start(), Kind.NO_MESSAGE_START),
    "no content": (replies.empty_content(), Kind.EMPTY_ANSWER),
    "cut before a byte of the body": (replies.cut("before_start", "fin"), Kind.CUT),
    "reset before a byte of the body": (replies.cut("before_start", "rst"), Kind.CUT),
    "cut before content": (replies.cut("before_content", "fin"), Kind.CUT),
    "reset before content": (replies.cut("before_content", "rst"), Kind.CUT),
    "end before content": (replies.cut("before_content", "clean"), Kind.CUT),
    "error event before content": (replies.cut("before_content", "error"), Kind.ERROR_IN_200),
}


PARALLEL: Final = ("parallel", "DONE parallel: one, two", 2)
TOOLS: Final = ("tools", "DONE tools: beta", 5)


async def unnoticed(proxy: Proxy, claude: Claude, conversation: tuple[str, str, int] = PARALLEL) -> list[AttemptEnded]:
    """Lead a conversation, and see that its user noticed nothing; returns the tries, in their order."""
    script, text, requests = conversation
    run = await claude.run(proxy.url, script)

    assert (run.code, run.text, run.retries) == (0, text, 0), run.said
    assert len([each for each in proxy.told(ExchangeSettled) if each.path == "/v1/messages"]) == requests
    assert {settled.status for settled in proxy.told(ExchangeSettled)} == {200}
    return proxy.told(AttemptEnded)


def messages(sim: Simulator) -> list[str]:
    return [received.sha256 for received in sim.ledger if received.path == "/v1/messages"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_first_content_is_invisible(tmp_path: Path, claude: Make, fault: str):
    reply, kind = FAULTS[fault]
    async with (
        Simulator() as first,
        Simulator() as second,
        running(
            tmp_path,
            endpoint("first", first.url),
            endpoint("second", second.url),
            defaults={"timeouts": TIMEOUTS},
        ) as proxy,
    ):
        first.always = reply
        tries = await unnoticed(proxy, claude(NEWER))

        assert [(each.endpoint, each.fault and each.fault.kind) for each in tries[:2]] == [
            ("first", kind),
            ("second", None),
        ]
        assert first.ledger[0].at < second.ledger[0].at
        assert messages(first)[0] == messages(second)[0]
        assert len(messages(second)) == 2
        assert {received.reply for received in first.ledger} == {reply.name}


async def test_a_refused_connection_is_invisible(tmp_path: Path, claude: Make):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        await first.refuse()
        tries = await unnoticed(proxy, claude(NEWER))

        assert [(each.endpoint, each.fault and each.fault.kind) for each in tries[:2]] == [
            ("first", Kind.REFUSED),
            ("second", None),
        ]
        assert len(messages(second)) == 2


async def test_data_without_event_lines_is_repaired_on_the_spot(tmp_path: Path, claude: Make):
    """What the CLI itself takes for an empty stream: the proxy adds the lines, and nobody else need be asked."""
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.always = replies.data_only()
        await unnoticed(proxy, claude(NEWER))

        assert [len(messages(first)), len(messages(second))] == [2, 0]
        assert {settled.outcome for settled in proxy.told(ExchangeSettled)} == {"repaired"}


async def test_data_without_event_lines_is_a_fault_where_validation_is_strict(tmp_path: Path, claude: Make):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url), validation="strict") as proxy,
    ):
        first.always = replies.data_only()
        tries = await unnoticed(proxy, claude(NEWER))

        assert [each.endpoint for each in tries[:2]] == ["first", "second"]
        assert len(messages(second)) == 2


@pytest.mark.parametrize(
    "reply",
    [replies.status(529), replies.reset(), replies.html(), replies.error_first(), replies.cut("before_content")],
    ids=lambda reply: reply.name,
)
async def test_an_older_client_does_not_notice_either(tmp_path: Path, claude: Make, reply: Reply):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
    ):
        first.always = reply
        tries = await unnoticed(proxy, claude(OLDER))

        assert [each.endpoint for each in tries[:2]] == ["first", "second"]


async def test_one_fault_after_the_other_is_invisible(tmp_path: Path, claude: Make):
    """Each turn of the conversation meets another fault."""
    waiting: list[Any] = [replies.close(), replies.status(500), replies.empty(), replies.error_first(), replies.html()]
    async with (
        Simulator() as first,
        Simulator() as second,
        running(
            tmp_path,
            endpoint("first", first.url),
            endpoint("second", second.url),
            health={"failures": 100},
        ) as proxy,
    ):
        first.queue(*waiting)
        await unnoticed(proxy, claude(NEWER), TOOLS)

        assert [len(messages(first)), len(messages(second))] == [5, 5]
        assert messages(first) == messages(second)
        assert not first.queued


async def test_a_lone_endpoint_that_stumbles_is_asked_again(tmp_path: Path, claude: Make):
    """Disconnect and reconnect: without a second endpoint the first gets another chance, and the user sees nothing."""
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url)) as proxy:
        sim.queue(replies.reset(), replies.answer(), replies.status(529))
        tries = await unnoticed(proxy, claude(NEWER), TOOLS)

        assert [each.fault and each.fault.kind for each in tries[:4]] == [Kind.RESET, None, Kind.OVERLOADED, None]
        assert len(messages(sim)) == 7
