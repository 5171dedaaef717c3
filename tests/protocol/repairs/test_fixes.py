"""What repairs do to a body: what they are for, and no other byte."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.protocol.repairs import NAMES
from companion.protocol.repairs.record import Made
from companion.protocol.repairs.table import REPAIRS, apply, regretted, without_betas
from companion.protocol.spans import members
from tests.captures import captured
from tests.protocol.repairs.wordings import body

# What each may touch, at the top of the body.
TOUCHED = {
    "system_role": {"messages", "system"},
    "context_management": {"context_management"},
    "effort": {"output_config", "messages"},
    "adaptive_thinking": {"thinking", "context_management"},
    "thinking_signature": {"messages", "thinking", "context_management"},
    "thinking_budget": {"thinking", "max_tokens"},
    "max_tokens": {"max_tokens", "thinking", "context_management"},
    "images": {"messages"},
    "tool_properties": {"tools"},
}
PARAMETERS = [
    *(Made(name, REPAIRS[name].always) for name in NAMES),
    Made("adaptive_thinking", "none"),
    *(Made("thinking_signature", which) for which in ("foreign", "past", "prefix", "placeholder")),
    Made("thinking_budget", "2000"),
    Made("max_tokens", "1000"),
    Made("max_tokens", "3386 now"),
]

TEXT = st.text(max_size=4) | st.just("\ud83d")
BLOCKS = st.sampled_from(
    [
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "…"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {"image": [1, {"type": "image"}]}},
        {"type": "image", "source": {"type": "url", "url": "u"}, "cache_control": {"type": "ephemeral"}},
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {}}, {"type": "text"}]},
        {"type": "tool_result", "tool_use_id": "t", "content": "image"},
        {"type": "new", "image": {}},
    ]
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": TEXT | st.lists(BLOCKS, max_size=4)},
    optional={"output_config": st.sampled_from([{"effort": "low"}, {"effort": "low", "timing": 1}, {}])},
)
TOOLS = st.sampled_from(
    [
        {"name": "a", "input_schema": {"type": "object"}},
        {"name": "b", "input_schema": {"properties": {"x": {}}}},
        {"name": "c", "type": "custom"},
        {"name": "d", "type": "web_search_20250305"},
        {"name": "e", "input_schema": {}},
        {"name": "f", "input_schema": {"type": "object", "properties": {}}},
    ]
)
REQUESTS = st.fixed_dictionaries(
    {"model": TEXT},
    optional={
        "messages": st.lists(MESSAGES, max_size=5),
        "system": st.sampled_from(["you", "", None, [], [{"type": "text", "text": "you"}]]),
        "tools": st.lists(TOOLS, max_size=3),
        "max_tokens": st.sampled_from([1, 1000, 1024, 1025, 1300, 4096, 128000, "many"]),
        "thinking": st.sampled_from(
            [
                {"type": "adaptive", "display": "omitted"},
                {"type": "disabled"},
                *({"type": "enabled", "budget_tokens": budget} for budget in (1, 1024, 5000, 200000)),
                None,
            ]
        ),
        "context_management": st.sampled_from(
            [
                {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
                {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]},
                {},
            ]
        ),
        "output_config": st.sampled_from([{"effort": "high"}, {"format": {}, "effort": "high"}, {"format": {}}]),
        "stream": st.booleans(),
    },
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A request as somebody may write it: odd white space, keys in any order, one of them perhaps twice."""
    told = draw(REQUESTS)
    keys = draw(st.permutations(list(told)))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    parts = [f"{json.dumps(key)}{separators[1]}{json.dumps(told[key], separators=separators)}" for key in keys]
    if draw(st.booleans()):
        parts.insert(0, f'"{draw(st.sampled_from(sorted(told)))}"{separators[1]}null')
    return f"\n{{{separators[0].join(parts)} }}".encode()


def raw(data: bytes) -> dict[str, bytes]:
    return {key: data[at.value_start : at.value_end] for key, at in members(data)}


@pytest.mark.parametrize("made", PARAMETERS, ids=str)
@given(data=bodies())
@settings(max_examples=25, deadline=None)
def test_a_repair_touches_its_own_fields_only_and_once(made, data):
    repaired = apply((made,), data)

    before, after = raw(data), raw(repaired.body)
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            assert key in TOUCHED[made.name]
    kept = [key for key in before if key in after]
    assert [key for key in after if key in kept] == kept
    json.loads(repaired.body)
    again = apply((made,), repaired.body)
    assert again.made == ()
    assert again.body is repaired.body
    if not repaired.made:
        assert repaired.body is data


@given(bodies())
@settings(max_examples=60, deadline=None)
def test_no_repair_leaves_a_turn_empty_or_a_budget_out_of_bounds(data):
    told = json.loads(apply((made for made in PARAMETERS if made.name != "system_role"), data).body)

    for before, after in zip(json.loads(data).get("messages") or (), told.get("messages") or (), strict=False):
        assert bool(before["content"]) <= bool(after["content"])
    thinking, most = told.get("thinking") or {}, told.get("max_tokens")
    if thinking.get("type") == "enabled":
        assert thinking["budget_tokens"] >= 1024
        assert not isinstance(most, int) or thinking["budget_tokens"] < most


@pytest.mark.parametrize("request_", [each for each in captured() if each.body], ids=lambda request: request.name)
def test_real_requests_are_repaired_in_all_ways_and_stay_whole(request_):
    for made in PARAMETERS:
        repaired = apply((made,), request_.body)
        before, after = raw(request_.body), raw(repaired.body)
        assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= TOUCHED[made.name]


def fixed(*made: str, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(apply(map(Made.of, made), json.dumps(body(**changes)).encode()).body)
    return told


# === one by one


def test_system_messages_move_to_the_end_of_system_in_order():
    cached = {"type": "text", "text": "two", "cache_control": {"type": "ephemeral"}}
    conversation = [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "one"},
        {"role": "assistant", "content": "ho"},
        {
            "role": "system",
            "content": [cached, {"type": "tool_addition", "tool": {}}],
            "output_config": {"effort": "low"},
        },
    ]
    moved = [{"type": "text", "text": "one"}, cached]

    told = fixed("system_role", messages=conversation)
    assert told["messages"] == [conversation[0], conversation[2]]
    assert told["system"] == [*body()["system"], *moved]
    assert fixed("system_role", messages=conversation, system="you")["system"] == [
        {"type": "text", "text": "you"},
        *moved,
    ]
    assert fixed("system_role", messages=conversation, system=None)["system"] == moved
    alone = [{"role": "system", "content": "one"}]
    assert fixed("system_role", messages=alone)["messages"] == alone


def test_the_conversation_keeps_its_prefix_from_turn_to_turn():
    """What a prompt cache has of one turn is what the next one begins with."""
    turns = [json.loads(each.body) for each in captured() if each.name.startswith("tools-")]
    repaired = [json.loads(apply((Made("system_role"),), json.dumps(turn).encode()).body) for turn in turns]

    for earlier, later in pairwise(repaired):
        assert [block["text"] for block in earlier["system"]] == [block["text"] for block in later["system"]]
        assert earlier["messages"][0]["content"] == later["messages"][0]["content"]


def test_effort_goes_and_the_format_stays():
    assert "output_config" not in fixed("effort")
    assert fixed("effort", output_config={"effort": "low", "format": {"type": "x"}})["output_config"] == {
        "format": {"type": "x"}
    }
    conversation = [
        {"role": "user", "content": "x"},
        {"role": "system", "content": "x", "output_config": {"effort": "low"}},
    ]
    assert "output_config" not in fixed("effort", messages=conversation)["messages"][1]


@pytest.mark.parametrize(
    ("most", "thinking"),
    [
        (128000, {"type": "enabled", "budget_tokens": 31999}),
        (8192, {"type": "enabled", "budget_tokens": 6553}),
        (1200, {"type": "enabled", "budget_tokens": 1024}),
        (1024, None),
        (None, {"type": "enabled", "budget_tokens": 31999}),
    ],
)
def test_adaptive_thinking_becomes_a_budget_that_fits(most, thinking):
    told = fixed("adaptive_thinking=enabled", max_tokens=most)

    assert told.get("thinking") == thinking
    assert ("context_management" in told) == (thinking is not None)


def test_thinking_with_a_budget_cannot_begin_behind_a_turn_without():
    conversation = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    ]

    assert "thinking" not in fixed("adaptive_thinking=enabled", messages=conversation)
    assert "thinking" not in fixed("adaptive_thinking=none")


def history(*kinds: str) -> list[dict[str, Any]]:
    """Two turns, the second one still going on; the blocks of the assistant in them by their kinds."""
    blocks = {
        "thinking": {"type": "thinking", "thinking": "", "signature": "x"},
        "redacted_thinking": {"type": "redacted_thinking", "data": "x"},
        "text": {"type": "text", "text": "x"},
        "tool_use": {"type": "tool_use", "id": "t", "name": "n", "input": {}},
    }
    result: dict[str, Any] = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}
    old, current = ([blocks[kind] for kind in each.split()] for each in kinds)
    first: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": old}]
    return [*first, {"role": "user", "content": "go on"}, {"role": "assistant", "content": current}, result]


def kinds(told: dict[str, Any]) -> list[str]:
    turns = [message["content"] for message in told["messages"] if message["role"] == "assistant"]
    return [" ".join(block["type"] for block in turn) for turn in turns]


@pytest.mark.parametrize(
    ("which", "left"),
    [
        ("every", ["text", "tool_use"]),
        ("foreign", ["text", "tool_use"]),
        ("past", ["text", "thinking tool_use"]),
        ("prefix", ["thinking", "thinking tool_use"]),
        ("placeholder", ["thinking", "thinking tool_use"]),
    ],
)
def test_thinking_of_others_is_dropped_where_it_must_be(which, left):
    told = fixed(f"thinking_signature={which}", messages=history("thinking", "thinking tool_use"))

    assert kinds(told) == left
    assert told["thinking"] == body()["thinking"]


def test_without_its_thinking_a_turn_that_calls_tools_ends_thinking_with_a_budget():
    budget = {"type": "enabled", "budget_tokens": 5000}

    told = fixed("thinking_signature=foreign", messages=history("text", "thinking tool_use"), thinking=budget)
    assert "thinking" not in told
    assert "context_management" not in told
    told = fixed("thinking_signature=foreign", messages=history("thinking text", "text"), thinking=budget)
    assert told["thinking"] == budget
    told = fixed("thinking_signature=prefix", messages=history("text", "tool_use"), thinking=budget)
    assert "thinking" not in told


def test_a_placeholder_stands_where_thinking_must_be_passed_back():
    told = fixed("thinking_signature=placeholder", messages=history("text tool_use", "redacted_thinking tool_use"))

    assert kinds(told) == ["thinking text tool_use", "thinking tool_use"]


@pytest.mark.parametrize(
    ("budget", "most", "limit", "after"),
    [
        (500, 8000, "", (1024, 8000)),
        (500, 600, "", (1024, 1624)),
        (8000, 8000, "", (6400, 8000)),
        (9000, 1100, "", (1024, 1100)),
        (90000, 128000, "38912", (38912, 128000)),
        (5000, 8000, "", (5000, 8000)),
    ],
)
def test_a_budget_is_put_within_its_bounds(budget, most, limit, after):
    thinking = {"type": "enabled", "budget_tokens": budget}
    told = fixed(f"thinking_budget={limit}", thinking=thinking, max_tokens=most)

    assert (told["thinking"]["budget_tokens"], told["max_tokens"]) == after


def test_max_tokens_takes_the_budget_down_with_it():
    budget = {"type": "enabled", "budget_tokens": 31999}

    assert fixed("max_tokens=8192", thinking=budget)["thinking"]["budget_tokens"] == 6553
    assert "thinking" not in fixed("max_tokens=1000", thinking=budget)
    assert fixed("max_tokens=8192", max_tokens=100)["max_tokens"] == 100


def test_images_become_a_sentence_and_keep_their_breakpoint():
    cached = {"type": "image", "source": {}, "cache_control": {"type": "ephemeral"}}
    told = fixed("images", messages=[*body()["messages"], {"role": "user", "content": [cached]}])

    assert "iVBOR" not in json.dumps(told)
    assert told["messages"][-1]["content"][0] == {
        "type": "text",
        "text": "[An image was here. This model cannot see images.]",
        "cache_control": {"type": "ephemeral"},
    }
    assert told["messages"][3]["content"][0]["content"][0]["type"] == "text"


def test_schemas_are_completed_but_for_those_of_servers():
    tools = [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": {"type": "object", "required": []}}]
    served = {"type": "web_search_20250305", "name": "web_search"}
    told = fixed("tool_properties", tools=[*tools, {"name": "c"}, served])

    schemas = [tool.get("input_schema") for tool in told["tools"]]
    empty = {"type": "object", "properties": {}}
    assert schemas == [empty, {"type": "object", "required": [], "properties": {}}, empty, None]


# === what goes with them


def test_betas_go_with_the_fields_that_they_are_for():
    sent = json.dumps(body()).encode()
    value = b"claude-code-20250219, context-management-2025-06-27,effort-2025-11-24"

    assert apply((Made("context_management"),), sent).betas == ("context-management-",)
    assert apply((Made("context_management"),), b'{"model":"m"}').betas == ()
    assert without_betas(value, ("context-management-", "effort-")) == b"claude-code-20250219"
    assert without_betas(value, ()) == value
    assert without_betas(b"effort-2025-11-24", ("effort-",)) == b""


def test_an_upstream_that_wants_adaptive_thinking_back_is_heard():
    answer = b'{"error":{"message":"\\"thinking.type.enabled\\" is not supported for this model."}}'
    made = (Made("images"), Made("adaptive_thinking", "enabled"))

    assert regretted(made, answer) == (made[1],)
    assert regretted(made, b"prompt is too long") == ()
