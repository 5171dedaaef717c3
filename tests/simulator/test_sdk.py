"""The vendor's SDK takes every good stream for what it is."""

import anthropic
import httpx2
import pytest

from companion.simulator import Simulator
from companion.simulator.faults import parse
from companion.simulator.replies import answer
from companion.simulator.scripts import SCRIPTS

MODEL = "claude-opus-5-5"

# Odd, but read by the SDK like a good one.
HARMLESS = [
    "bytewise",
    "bytewise:23",
    "comments:2:0",
    "crlf",
    "deflate",
    "gzip",
    "gzip:true",
    "late:1ms",
    "other_model",
    "pings:2:0",
    "redacted_thinking",
    "server_tool",
    "unframed",
    "unknown_event",
    "wrong_type",
    "zero_usage",
]


def client(sim: Simulator) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=sim.url, api_key="dummy", max_retries=0)


def asks(text: str) -> list[anthropic.types.MessageParam]:
    return [{"role": "user", "content": text}]


async def streamed(sim: Simulator, text: str) -> anthropic.types.Message:
    async with client(sim) as sdk, sdk.messages.stream(model=MODEL, max_tokens=100, messages=asks(text)) as stream:
        return await stream.get_final_message()


def shape(message: anthropic.types.Message) -> list[dict[str, object]]:
    return [block.model_dump(exclude={"id", "parsed_output", "citations"}) for block in message.content]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_both_forms_of_a_script_are_read_alike(script):
    async with Simulator() as sim:
        stream = await streamed(sim, f"[[script:{script}]]")
        async with client(sim) as sdk:
            whole = await sdk.messages.create(model=MODEL, max_tokens=100, messages=asks(f"[[script:{script}]]"))

        assert shape(stream) == shape(whole)
        assert (stream.stop_reason, stream.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


async def test_an_answer_with_everything_in_it_is_read():
    async with Simulator() as sim:
        sim.queue(answer("Text", "Thought", [("Read", {"file_path": "ä\"'"}), ("Bash", {})]))

        message = await streamed(sim, "go")

        assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert shape(message)[2]["input"] == {"file_path": "ä\"'"}
        assert message.stop_reason == "tool_use"


@pytest.mark.parametrize("fault", HARMLESS)
async def test_a_harmless_oddity_is_read(fault):
    async with Simulator() as sim:
        sim.queue(parse(fault))
        message = await streamed(sim, "[[script:parallel]]")

        assert not sim.queued
        assert [block.type for block in message.content][-2:] == ["tool_use", "tool_use"]


@pytest.mark.parametrize(
    ("code", "error"),
    [(401, anthropic.AuthenticationError), (429, anthropic.RateLimitError), (529, anthropic.InternalServerError)],
)
async def test_an_error_status_is_read(code, error):
    async with Simulator() as sim:
        sim.queue(parse(f"status:{code}"))
        with pytest.raises(error) as caught:
            await streamed(sim, "go")

        assert caught.value.request_id == f"req_sim_{sim.port}_1"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut:in_text:fin", httpx2.RemoteProtocolError),
        ("cut:after_text:rst", httpx2.ReadError),
        ("cut:in_text:error", anthropic.APIStatusError),
        ("error_first", anthropic.APIStatusError),
    ],
)
async def test_a_cut_is_an_error_for_it(fault, error):
    async with Simulator() as sim:
        sim.queue(parse(fault))
        with pytest.raises(error):
            await streamed(sim, "go")


async def test_tokens_and_models_are_read():
    async with Simulator() as sim, client(sim) as sdk:
        counted = await sdk.messages.count_tokens(model=MODEL, messages=asks("hi"))
        listed = [model.id async for model in sdk.models.list(limit=1)]
        one = await sdk.models.retrieve("claude-haiku-5-5")

        assert counted.input_tokens > 0
        assert len(listed) == 4
        assert one.display_name == "Claude Haiku 5.5"
