"""The fast look at a conversation sees what the slow one sees."""

import json

from hypothesis import given, settings

from companion.protocol.repairs import turns as module
from companion.protocol.repairs.tree import Node
from companion.protocol.repairs.turns import content_of, turns
from tests.protocol.repairs.test_fixes import bodies


@given(bodies())
@settings(max_examples=150, deadline=None)
def test_both_ways_of_looking_agree(data):
    messages = Node.root(data).get("messages")
    told = turns(messages)

    if messages is not None:
        assert told == [module._looked_up(number, message) for number, message in enumerate(messages.items)]
    for turn in told:
        if turn.blocks:
            assert messages is not None
            assert [block.type for block in content_of(messages, turn).items] == [block.type for block in turn.blocks]


def test_a_conversation_may_hold_what_the_fast_look_cannot_read():
    messages = [
        {"role": "user", "content": "\ud83d"},
        {"role": "system", "content": ["text", {"type": "image"}, {"type": 5, "content": [{"type": "image"}]}]},
        {"role": 1, "content": None, "output_config": None},
    ]
    told = turns(Node.root(json.dumps({"messages": messages}).encode()).get("messages"))

    assert [turn.role for turn in told] == ["user", "system", None]
    assert [block.type for block in told[1].blocks] == [None, "image", None]
    assert [block.images for block in told[1].blocks] == [False, False, True]
    assert [turn.configured for turn in told] == [False, False, True]


def test_what_is_no_list_of_messages_has_no_turns():
    assert turns(None) == []
    assert turns(Node.root(b'{"messages":"x"}').get("messages")) == []
