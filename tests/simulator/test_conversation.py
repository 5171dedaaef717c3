"""Scripts, walked as a client walks them: answer, tools, answer, until a text ends it."""

import json
from typing import Any

import pytest

from companion.simulator import Simulator
from companion.simulator.conversation import parse_marker
from companion.simulator.messages import Event, ToolUse
from companion.simulator.replies import cut
from companion.simulator.scripts import SCRIPTS
from tests.captures import captured
from tests.simulator.wire import ask, body, results

CUT_OFF = "Your response above was cut off mid-stream. Resume directly from where it stops."
LIMIT_HIT = "Output token limit hit. Resume directly, no apology."
COMPACT = "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools."

ENDS = {
    "hi": "Hello from the simulator.",
    "tools": "DONE tools: result of cat ./note.txt",
    "parallel": "DONE parallel: result of echo one, result of echo two",
    "image": "DONE image: image",
    "agent": "DONE agent: DONE parallel: one, two",
    "thinking": "DONE thinking: result of echo thought",
    "compact": "DONE compact: result of echo three",
    "full": "DONE full: result of echo three",
    "mistake": "DONE mistake",
    "everything": "DONE everything: result of cat ./note.txt ./note.txt",
}
SAY: dict[str, list[Event]] = {
    "Agent": [{"type": "text", "text": "[hand-back] It says:\n  DONE parallel: one, two\nagentId: x"}],
    "Read": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}}],
}


async def turn(sim: Simulator, messages: list[Event], **fields: Any) -> Event:
    """The next answer, whole; a prompt that is too long is compacted first, as Claude Code does it."""
    wire = await ask(sim, body(stream=False, messages=messages, **fields))
    if wire.status == 400:
        assert wire.json["error"]["message"].startswith("prompt is too long: ")
        await compact(sim, messages, keep=2)
        return await turn(sim, messages)
    answer: Event = wire.json
    return answer


async def compact(sim: Simulator, messages: list[Event], keep: int) -> None:
    """Replace all but the last messages by what the upstream says they were."""
    asked = [*messages[:-keep], {"role": "user", "content": [{"type": "text", "text": COMPACT}]}]
    summary = (await turn(sim, asked))["content"][0]["text"]
    messages[:-keep] = [{"role": "user", "content": f"This session is being continued. {summary}"}]


async def walk(sim: Simulator, *messages: Event) -> list[Event]:
    """All answers of a conversation, from these messages to its end."""
    history = list(messages)
    answers = []
    while True:
        answer = await turn(sim, history)
        answers.append(answer)
        if answer["stop_reason"] != "tool_use":
            return answers
        history += [{"role": "assistant", "content": answer["content"]}, results(answer, SAY)]


def asks(marker: str) -> Event:
    return {"role": "user", "content": [{"type": "text", "text": "<reminder/>"}, {"type": "text", "text": marker}]}


def text(answer: Event) -> str:
    return "".join(block["text"] for block in answer["content"] if block["type"] == "text")


def calls(answer: Event) -> list[str]:
    return [block["name"] for block in answer["content"] if block["type"] == "tool_use"]


# === every script


@pytest.mark.parametrize("name", ENDS)
async def test_a_script_is_walked_to_its_end(name):
    async with Simulator() as sim:
        answers = await walk(sim, asks(f"do it [[script:{name}]]"))

        assert text(answers[-1]) == ENDS[name]
        wanted = [part.name for turn in SCRIPTS[name].turns for part in turn.parts if isinstance(part, ToolUse)]
        assert [call for answer in answers for call in calls(answer)] == wanted


@pytest.mark.parametrize("name", ENDS)
async def test_any_endpoint_goes_on_with_any_conversation(name):
    async with Simulator() as one, Simulator() as other:
        alone = await walk(one, asks(f"[[script:{name}]]"))
        history = [asks(f"[[script:{name}]]")]
        for sim in [one, other] * len(alone):
            answer = await turn(sim, history)
            history += [{"role": "assistant", "content": answer["content"]}, results(answer, SAY)]
            if answer["stop_reason"] != "tool_use":
                break

        assert text(answer) == ENDS[name]


def test_every_script_is_tested():
    assert set(ENDS) | {"long"} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_calls_of_a_script_differ(name):
    made = [part for turn in SCRIPTS[name].turns for part in turn.parts if isinstance(part, ToolUse)]

    assert len({json.dumps([call.name, dict(call.input)]) for call in made}) == len(made)


@pytest.mark.parametrize("name", SCRIPTS)
def test_only_the_last_turn_of_a_script_calls_no_tool(name):
    *turns, last = SCRIPTS[name].turns

    assert all(turn.refusal or any(isinstance(part, ToolUse) for part in turn.parts) for turn in turns)
    assert not any(isinstance(part, ToolUse) for part in last.parts)


async def test_everything_has_each_kind_of_turn():
    async with Simulator() as sim:
        answers = await walk(sim, asks("[[script:everything]]"))

        made = [calls(answer) for answer in answers]
        assert ["Bash", "Bash"] in made
        assert {"Read", "Edit", "Agent"} <= {name for names in made for name in names}
        assert [received.reply for received in sim.ledger].count("answer") == len(answers) + 2


# === parameters


async def test_parameters_reach_the_tools():
    async with Simulator() as sim:
        answer = await turn(sim, [asks("[[script:tools dir='/tmp/a b']]")])

        assert answer["content"][1]["input"]["command"] == "printf 'alpha\\n' > /tmp/a b/note.txt"


async def test_a_long_answer_has_as_many_deltas_as_asked():
    async with Simulator() as sim:
        wire = await ask(sim, body("[[script:long deltas=40 pace=1ms]]"))

        deltas = [event["delta"]["text"] for event in wire.events if event["type"] == "content_block_delta"]
        assert len(deltas) == 40
        assert len(set(deltas)) == 40
        assert [len(chunk.split(b"\n\n")) for chunk in wire.chunks] == [2] * len(wire.chunks)


async def test_an_agent_is_given_its_own_script():
    async with Simulator() as sim:
        answer = await turn(sim, [asks("[[script:agent agent=thinking]]")])
        sub = await walk(sim, asks(answer["content"][1]["input"]["prompt"]))

        assert text(sub[-1]) == ENDS["thinking"]


async def test_usage_is_what_the_script_says():
    async with Simulator() as sim:
        answers = await walk(sim, asks("[[script:full tokens=123456]]"))

        assert [answer["usage"]["input_tokens"] == 123456 for answer in answers] == [False, True, False, False]


async def test_a_conversation_without_a_marker_gets_the_default():
    async with Simulator(script="parallel") as sim:
        assert calls(await turn(sim, [{"role": "user", "content": "go"}])) == ["Bash", "Bash"]
    async with Simulator() as sim:
        assert text(await turn(sim, [{"role": "user", "content": "go"}])) == ENDS["hi"]


@pytest.mark.parametrize(
    "marker", ["[[script:nothing]]", "[[script:'hi]]", "[[script:]]", "[script:tools]", "[[script: ]]"]
)
def test_what_is_no_marker_is_no_marker(marker):
    assert parse_marker(marker) is None


def test_the_first_known_marker_counts():
    found = parse_marker("a [[script:nothing]] b [[script:image dir=/x]] c [[script:hi]]")

    assert found is not None
    assert (found.name, found.parameters) == ("image", {"dir": "/x"})


def test_a_marker_survives_being_written():
    found = parse_marker("[[script:tools dir='/a b' pace=20ms]]")
    assert found is not None

    again = parse_marker(found.at(3))

    assert again is not None
    assert (again.given, again.start, again.pace(1.0)) == ({"dir": "/a b", "pace": "20ms"}, 3, 0.02)


# === after a cut


@pytest.mark.parametrize("resume", [CUT_OFF, LIMIT_HIT])
@pytest.mark.parametrize("kept", ["DONE parallel: ", "DONE parallel: result of echo one, result of echo two"])
async def test_a_last_text_that_was_cut_is_said_in_full(resume, kept):
    async with Simulator() as sim:
        first = await turn(sim, [asks("[[script:parallel]]")])
        history = [asks("[[script:parallel]]"), {"role": "assistant", "content": first["content"]}, results(first)]
        history += [{"role": "assistant", "content": kept}, {"role": "user", "content": resume}]

        assert text(await turn(sim, history)) == ENDS["parallel"]


async def test_a_text_before_a_tool_is_not_said_twice():
    async with Simulator() as sim:
        history = [
            asks("[[script:parallel]]"),
            {"role": "assistant", "content": [{"type": "text", "text": "Two at once."}]},
        ]

        answer = await turn(sim, [*history, {"role": "user", "content": [{"type": "text", "text": CUT_OFF}]}])

        assert [block["type"] for block in answer["content"]] == ["tool_use", "tool_use"]


async def test_a_text_that_was_cut_goes_on_where_it_stopped():
    async with Simulator() as sim:
        history = [asks("[[script:thinking]]"), {"role": "assistant", "content": [{"type": "text", "text": "I ru"}]}]

        answer = await turn(sim, [*history, {"role": "system", "content": "x"}, {"role": "user", "content": CUT_OFF}])

        assert [block["type"] for block in answer["content"]] == ["text", "tool_use"]
        assert text(answer) == "n it."


async def test_thinking_that_was_dropped_is_thought_again():
    async with Simulator() as sim:
        answer = await turn(sim, [asks("[[script:thinking]]"), {"role": "user", "content": CUT_OFF}])

        assert [block["type"] for block in answer["content"]] == ["thinking", "text", "tool_use"]


async def test_only_the_missing_one_of_parallel_calls_is_made_again():
    async with Simulator() as sim:
        first = await turn(sim, [asks("[[script:parallel]]")])
        kept = {**first, "content": first["content"][:2]}

        answer = await turn(sim, [asks("[[script:parallel]]"), {"role": "assistant", **kept}, results(kept)])

        assert [block["input"]["command"] for block in answer["content"]] == ["echo two"]
        history = [asks("[[script:parallel]]"), {"role": "assistant", **kept}, results(kept)]
        assert text((await walk(sim, *history))[-1]) == ENDS["parallel"]


async def test_a_cut_conversation_asked_again_goes_on_as_if_nothing_had_happened():
    async with Simulator() as broken, Simulator() as sound:
        broken.queue(cut("in_tool", "fin"))
        request = body("[[script:tools]]")

        cut_short, whole = await ask(broken, request), await ask(sound, request)

        assert whole.body.startswith(cut_short.body)


async def test_parallel_results_are_told_in_the_order_of_the_calls():
    async with Simulator() as sim:
        first = await turn(sim, [asks("[[script:parallel]]")])
        back = results(first)
        back["content"].reverse()

        answer = await turn(
            sim, [asks("[[script:parallel]]"), {"role": "assistant", "content": first["content"]}, back]
        )

        assert text(answer) == ENDS["parallel"]


async def test_a_client_may_add_to_a_tools_input():
    async with Simulator() as sim:
        first = await turn(sim, [asks("[[script:parallel]]")])
        for block in first["content"][1:]:
            block["input"]["timeout"] = 5
        history = [asks("[[script:parallel]]"), {"role": "assistant", "content": first["content"]}, results(first)]

        assert text(await turn(sim, history)) == ENDS["parallel"]


# === compaction


async def test_a_compaction_gets_a_text_and_the_conversation_goes_on():
    async with Simulator() as sim:
        history = [asks("[[script:tools dir=/x]]")]
        for _ in range(3):
            answer = await turn(sim, history)
            history += [{"role": "assistant", "content": answer["content"]}, results(answer)]
        await compact(sim, history, keep=2)

        assert "[[script:tools dir=/x from=2]]" in history[0]["content"]
        assert (await turn(sim, history))["content"][0]["input"]["command"] == "cat /x/note.txt"


async def test_a_prompt_that_is_too_long_is_so_until_it_is_compacted():
    async with Simulator() as sim:
        history = [asks("[[script:compact]]")]
        for _ in range(2):
            answer = await turn(sim, history)
            history += [{"role": "assistant", "content": answer["content"]}, results(answer)]

        for stream in (True, False, True):
            assert (await ask(sim, body(messages=history, stream=stream))).status == 400
        sim.queue(cut("in_text", "fin"))
        assert (await ask(sim, body(messages=history))).status == 400
        assert sim.queued == ("cut:in_text:fin",)


# === titles


async def test_a_title_is_json_as_its_schema_wants():
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "tags": {"type": "array"},
            "count": {"type": "integer"},
            "sure": {"type": "boolean"},
            "odd": {"type": ["string", "null"]},
        },
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    async with Simulator() as sim:
        answer = await turn(sim, [asks("[[script:tools]]")], output_config=form)

        title = json.loads(text(answer))
        assert title == {"title": title["title"], "kind": "a", "tags": [], "count": 1, "sure": True, "odd": None}
        assert title["title"]


# === real requests


async def test_real_requests_are_answered():
    async with Simulator() as sim:
        for request in captured():
            wire = await ask(sim, request.body, method=request.method, target=request.target)

            received = sim.ledger[-1]
            assert received.body == request.body
            if not request.target.startswith("/v1/messages?"):
                assert wire.status == 200
            elif received.stream:
                assert wire.types[-1] == "message_stop"
            else:
                assert wire.json["type"] == "message"


# === requests that cannot be answered


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"messages": 3}', b'{"messages": []}', b"[" * 200_000])
async def test_a_request_that_is_none_gets_a_400(bad):
    async with Simulator() as sim:
        wire = await ask(sim, bad)

        assert (wire.status, wire.json["error"]["type"]) == (400, "invalid_request_error")


TOOLS = [{"type": "tool_use", "id": "a"}, {"type": "tool_result", "tool_use_id": "a"}, {"type": "tool_result"}]


@pytest.mark.parametrize(
    "messages", [[3], [{"role": "user", "content": 3}], [{"role": "user"}], [{"content": [1]}], [{"content": TOOLS}]]
)
async def test_strange_messages_are_answered_all_the_same(messages):
    async with Simulator() as sim:
        assert text(await turn(sim, messages)) == ENDS["hi"]


# === a tool that must be called

OFFERED: list[Event] = [
    {"type": "web_search_20250305"},
    {"name": "report", "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}}},
    {"name": "count", "input_schema": {"type": "object", "properties": {"number": {"type": "integer"}}}},
]


@pytest.mark.parametrize(
    ("choice", "name", "input"),
    [
        ({"type": "any"}, "report", {"word": "A simulated conversation"}),
        ({"type": "tool", "name": "count"}, "count", {"number": 1}),
    ],
)
async def test_a_request_that_must_use_a_tool_gets_a_call_of_it(choice, name, input):
    async with Simulator() as sim:
        answer = await turn(sim, [{"role": "user", "content": "hi"}], tools=OFFERED, tool_choice=choice)
    (block,) = answer["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", name, input)
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize("choice", [{"type": "auto"}, {"type": "tool", "name": "nobody"}, "any", None])
async def test_a_request_that_need_not_use_a_tool_gets_its_text(choice):
    async with Simulator() as sim:
        answer = await turn(sim, [{"role": "user", "content": "hi"}], tools=OFFERED, tool_choice=choice)
    assert text(answer) == ENDS["hi"]
