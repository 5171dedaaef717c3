"""The vendor's SDK works through the proxy as it does without it, and its accumulator takes every stream we emit."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest
from anthropic.types import Message, MessageParam, ToolParam

from companion.simulator import Simulator, replies
from companion.simulator.faults import parse
from companion.simulator.replies.streams import message as said
from tests.support.proxy import Proxy, endpoint, running

MODEL: Final = "claude-opus-5-5"
ASKED: Final[list[MessageParam]] = [{"role": "user", "content": "hi"}]
READ: Final[ToolParam] = {
    "name": "Read",
    "description": "reads a file",
    "input_schema": {"type": "object", "properties": {"file_path": {"type": "string"}}},
}
# Reading the system's certificates for each client takes longer than all the rest of a test.
NOBODY: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
FULL: Final = said("And a text.", "Thinking first.", [("Read", {"file_path": 'ä"'}), ("Read", {"file_path": "/b"})])

# A stream with one of these is the good one again when it has come through.
MENDED: Final = [
    "answer",
    "bytewise",
    "bytewise:23",
    "comments:2:0",
    "crlf",
    "crlf:\r",
    "cut:before_message_stop:clean",
    "cut:before_message_stop:fin",
    "cut:before_message_stop:rst",
    "data_only",
    "deflate",
    "duplicate_message_start",
    "gzip",
    "gzip:true",
    "index_gap",
    "no_block_stop",
    "no_usage",
    "null_usage",
    "pings:2:0",
    "text_after_stop",
    "tool_input_in_start",
    "unframed",
    "unknown_event",
    "wrong_type",
    "zero_usage",
]
# These say something else, and are read all the same.
TAKEN: Final = [
    "foreign_tool",
    "no_signature",
    "other_model",
    "redacted_thinking",
    "server_tool",
    "stop_reason",
    "stop_reason:length",
    "stop_reason:pause_turn",
    "stop_reason:refusal",
    "unknown_block",
    "unknown_delta",
]


@asynccontextmanager
async def upstream(folder: Path, **changes: Any) -> AsyncIterator[tuple[Simulator, Proxy]]:
    async with Simulator() as sim, running(folder, endpoint("only", sim.url, **changes)) as proxy:
        yield sim, proxy


@asynccontextmanager
async def client(url: str, retries: int = 0) -> AsyncIterator[anthropic.AsyncAnthropic]:
    http = anthropic.DefaultAsyncHttpxClient(verify=NOBODY)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="mine", max_retries=retries, http_client=http) as sdk:
        yield sdk


@contextmanager
def sync_client(url: str) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(verify=NOBODY)
    with anthropic.Anthropic(base_url=url, api_key="mine", max_retries=0, http_client=http) as sdk:
        yield sdk


async def streamed(url: str, asked: list[MessageParam] = ASKED) -> Message:
    async with (
        client(url) as sdk,
        sdk.messages.stream(model=MODEL, max_tokens=100, messages=asked, tools=[READ]) as stream,
    ):
        return await stream.get_final_message()


def shape(message: Message) -> list[dict[str, Any]]:
    return [block.model_dump(exclude={"id", "parsed_output", "citations"}) for block in message.content]


# === what it offers


@pytest.mark.parametrize("tail", ["", "/"])
async def test_an_answer_is_read_whole(tmp_path: Path, tail: str):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url + tail) as sdk:
        sim.queue(replies.answer("The answer."))
        message = await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert shape(message) == [{"type": "text", "text": "The answer."}]
        assert (message.model, message.stop_reason) == (MODEL, "end_turn")
        assert message.usage.output_tokens > 0
        assert sim.ledger[0].target == "/v1/messages"


@pytest.mark.parametrize("tail", ["", "/"])
async def test_an_answer_is_read_as_a_stream(tmp_path: Path, tail: str):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url + tail) as sdk:
        sim.queue(replies.answer("The answer."))
        async with sdk.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
            text = [piece async for piece in stream.text_stream]
            message = await stream.get_final_message()

        assert len(text) > 0
        assert "".join(text) == "The answer."
        assert shape(message) == [{"type": "text", "text": "The answer."}]


async def test_it_works_without_asyncio_too(tmp_path: Path):
    def both(url: str) -> tuple[Message, Message, int, list[str]]:
        with sync_client(url) as sdk:
            whole = sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
            with sdk.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
                final = stream.get_final_message()
            counted = sdk.messages.count_tokens(model=MODEL, messages=ASKED)
            return whole, final, counted.input_tokens, [model.id for model in sdk.models.list()]

    async with upstream(tmp_path) as (sim, proxy):
        whole, final, counted, models = await asyncio.to_thread(both, proxy.url)

        assert shape(whole) == shape(final) == [{"type": "text", "text": "Hello from the simulator."}]
        assert counted > 0
        assert MODEL in models
        assert len(sim.ledger) == 4


async def test_tools_are_called_and_answered(tmp_path: Path):
    """The loop that every agent has: call, result, next turn."""
    async with upstream(tmp_path) as (sim, proxy):
        asked: list[MessageParam] = [{"role": "user", "content": "do it [[script:tools dir=/tmp]]"}]
        turns = 0
        while (message := await streamed(proxy.url, asked)).stop_reason == "tool_use":
            turns += 1
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": f"result {turns}"}
                for block in message.content
                if block.type == "tool_use"
            ]
            content: Any = [block.model_dump(exclude={"parsed_output", "citations"}) for block in message.content]
            answers: Any = results
            asked += [{"role": "assistant", "content": content}, {"role": "user", "content": answers}]

        assert (turns, shape(message)) == (4, [{"type": "text", "text": "DONE tools: result 4"}])
        assert len(sim.ledger) == 5


async def test_tokens_are_counted(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url) as sdk:
        counted = await sdk.messages.count_tokens(model=MODEL, messages=ASKED)

        assert counted.input_tokens > 0
        assert sim.ledger[0].path == "/v1/messages/count_tokens"


async def test_models_are_listed_page_by_page(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url) as sdk:
        listed = [model.id async for model in sdk.models.list(limit=1)]
        one = await sdk.models.retrieve("claude-haiku-5-5")
        with pytest.raises(anthropic.NotFoundError):
            await sdk.models.retrieve("gpt-x")

        assert len(listed) == len(set(listed)) == 4
        assert one.display_name == "Claude Haiku 5.5"
        assert {received.path.rpartition("/")[0] for received in sim.ledger} == {"/v1", "/v1/models"}


async def test_names_from_the_configuration_are_listed_where_there_is_no_list(tmp_path: Path):
    models = {"default": "glm-5", "rewrite": [{"from": "claude-haiku-5-5", "to": "glm-5-air"}]}
    async with upstream(tmp_path, models=models) as (sim, proxy), client(proxy.url) as sdk:
        sim.queue(replies.status(404), times=None, match=lambda received: received.path.startswith("/v1/models"))
        listed = [model.id async for model in sdk.models.list()]
        one = await sdk.models.retrieve("glm-5")

        assert listed == ["claude-haiku-5-5", "glm-5"]
        assert one.id == "glm-5"


async def test_the_model_that_was_asked_for_is_the_model_that_answers(tmp_path: Path):
    async with upstream(tmp_path, models={"default": "glm-5"}) as (sim, proxy), client(proxy.url) as sdk:
        stream = await streamed(proxy.url)
        whole = await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert [received.model for received in sim.ledger] == ["glm-5", "glm-5"]
        assert (stream.model, whole.model) == (MODEL, MODEL)


# === every stream that we emit


@pytest.mark.parametrize("fault", MENDED)
async def test_a_mended_stream_is_the_good_one(tmp_path: Path, fault: str):
    async with upstream(tmp_path) as (sim, proxy):
        asked: list[MessageParam] = [{"role": "user", "content": "[[script:parallel]]"}]
        good = await streamed(proxy.url, asked)
        sim.queue(parse(fault))
        message = await streamed(proxy.url, asked)

        assert not sim.queued
        assert len(sim.ledger) == 2
        assert shape(message) == shape(good)
        assert message.stop_reason == good.stop_reason == "tool_use"
        assert isinstance(message.usage.input_tokens, int)
        assert isinstance(message.usage.output_tokens, int)


@pytest.mark.parametrize("fault", TAKEN)
async def test_an_unusual_stream_is_taken(tmp_path: Path, fault: str):
    async with upstream(tmp_path) as (sim, proxy):
        sim.queue(parse(fault))
        message = await streamed(proxy.url)

        assert not sim.queued
        assert len(sim.ledger) == 1
        assert message.content
        assert message.usage.output_tokens >= 0


async def test_a_stream_of_every_common_block_is_taken(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy):
        sim.queue(replies.answer("Text", "Thought", [("Read", {"file_path": 'ä"'}), ("Read", {})]))
        message = await streamed(proxy.url)

        assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert shape(message)[2]["input"] == {"file_path": 'ä"'}


async def test_pings_before_the_first_content_are_taken(tmp_path: Path):
    """Patience is over, so 200 and pings are on the way before message_start; then another endpoint answers."""
    gate = {"patience": "50ms", "ping": "50ms"}
    timeouts = {"headers": "300ms"}
    async with (
        Simulator() as first,
        Simulator() as second,
        running(
            tmp_path,
            endpoint("first", first.url, timeouts=timeouts),
            endpoint("second", second.url),
            gate=gate,
        ) as proxy,
    ):
        first.always = replies.hang()
        message = await streamed(proxy.url)

        assert shape(message) == [{"type": "text", "text": "Hello from the simulator."}]
        assert [len(first.ledger), len(second.ledger)] == [1, 1]


@pytest.mark.parametrize("how", ["fin", "rst", "clean", "error"])
@pytest.mark.parametrize("where", ["in_thinking", "after_thinking", "in_text", "after_text", "in_tool", "after_tool"])
async def test_a_broken_stream_is_never_taken_for_a_whole_one(tmp_path: Path, where: Any, how: Any):
    async with upstream(tmp_path) as (sim, proxy):
        sim.queue(replies.cut(where, how, of=FULL))
        with pytest.raises(anthropic.APIStatusError) as caught:
            await streamed(proxy.url)

        assert "only" in caught.value.message
        assert len(sim.ledger) == 1


async def test_a_tool_is_never_called_with_half_its_input(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy):
        sim.queue(replies.invalid_tool_json())
        with pytest.raises(anthropic.APIStatusError):
            await streamed(proxy.url)

        assert not sim.queued


# === errors and retries


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, anthropic.BadRequestError),
        (413, anthropic.RequestTooLargeError),
        (422, anthropic.UnprocessableEntityError),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_as_the_upstream_told_it(
    tmp_path: Path, code: int, error: type[anthropic.APIStatusError]
):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url, retries=2) as sdk:
        sim.always = replies.status(code, message="tools.0: odd")
        with pytest.raises(error) as caught:
            await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert caught.value.request_id == f"req_sim_{sim.port}_1"
        body: Any = caught.value.body
        assert body["error"]["message"] == "tools.0: odd"
        assert len(sim.ledger) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, anthropic.AuthenticationError), (402, anthropic.RateLimitError), (403, anthropic.AuthenticationError)],
)
async def test_a_hopeless_failure_is_told_at_once(tmp_path: Path, code: int, error: type[anthropic.APIStatusError]):
    """Waiting is no help, so the SDK is told not to try again."""
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url, retries=2) as sdk:
        sim.always = replies.status(code)
        with pytest.raises(error) as caught:
            await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert "only" in caught.value.message
        assert len(sim.ledger) == 1


async def test_a_temporary_failure_is_retried_by_the_sdk(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url, retries=1) as sdk:
        sim.queue(replies.status(500))
        message = await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert message.stop_reason == "end_turn"
        assert [received.header("x-stainless-retry-count") for received in sim.ledger] == ["0", "1"]


async def test_a_temporary_failure_with_a_second_endpoint_is_not_even_seen(tmp_path: Path):
    async with (
        Simulator() as first,
        Simulator() as second,
        running(tmp_path, endpoint("first", first.url), endpoint("second", second.url)) as proxy,
        client(proxy.url) as sdk,
    ):
        first.always = replies.reset()
        message = await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert message.stop_reason == "end_turn"
        assert shape(await streamed(proxy.url)) == shape(message)
        assert [len(first.ledger), len(second.ledger)] == [2, 2]


async def test_a_long_rate_limit_holds_the_sdk_for_a_minute_at_most(tmp_path: Path):
    """retry-after is what the SDK obeys without an upper bound; ours says no more than a minute."""
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url) as sdk:
        sim.always = replies.status(429, retry_after=300)
        with pytest.raises(anthropic.APIStatusError) as caught:
            await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (529, "60")


async def test_a_proxy_without_endpoints_says_so(tmp_path: Path):
    async with running(tmp_path) as proxy, client(proxy.url, retries=2) as sdk:
        began = time.monotonic()
        with pytest.raises(anthropic.InternalServerError, match="endpoint"):
            await sdk.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

        assert time.monotonic() - began < 5


async def test_a_request_without_a_model_is_refused_by_name(tmp_path: Path):
    async with upstream(tmp_path) as (sim, proxy), client(proxy.url) as sdk:
        nothing: Any = None
        with pytest.raises(anthropic.BadRequestError, match="model"):
            await sdk.messages.create(model=nothing, max_tokens=100, messages=ASKED)

        assert sim.ledger == []
