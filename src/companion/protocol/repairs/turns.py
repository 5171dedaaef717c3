"""A conversation at a glance: roles and kinds of blocks from one fast decode; where they are is looked up for few.

What msgspec refuses (lone surrogates, blocks that are no objects) is read from the tree, slowly.
"""

from typing import Any, Final, NamedTuple

import msgspec

from companion.protocol.repairs.tree import Node, text

IMAGE: Final = b'"image"'


class Block(NamedTuple):
    """What a block is called, and whether images may be inside it."""

    type: str | None
    images: bool


class Turn(NamedTuple):
    """One message: `blocks` are none where its content is a text. `configured`: it has an output_config of its own."""

    number: int
    role: str | None
    blocks: tuple[Block, ...]
    configured: bool

    @property
    def calls_tools(self) -> bool:
        return any(block.type == "tool_use" for block in self.blocks)


class _Block(msgspec.Struct):
    type: Any = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: Any = None
    content: list[_Block] | str | None = None
    output_config: msgspec.Raw = msgspec.Raw(b"")


_read: Final = msgspec.json.Decoder(list[_Message]).decode


def turns(messages: Node | None) -> list[Turn]:
    """Every message, in order; none where there is no list of them."""
    if messages is None or not messages.is_array:
        return []
    try:
        return [_seen(number, told) for number, told in enumerate(_read(messages.raw))]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_looked_up(number, message) for number, message in enumerate(messages.items)]


def content_of(messages: Node, turn: Turn) -> Node:
    """Where the blocks of a turn are that has some."""
    content = messages.items[turn.number].get("content")
    if content is None:
        raise ValueError("a turn without content")
    return content


def _seen(number: int, told: _Message) -> Turn:
    content = told.content if isinstance(told.content, list) else ()
    blocks = tuple(Block(_string(block.type), IMAGE in bytes(block.content)) for block in content)
    return Turn(number, _string(told.role), blocks, len(bytes(told.output_config)) > 0)


def _looked_up(number: int, message: Node) -> Turn:
    content = message.get("content")
    blocks = tuple(
        Block(block.type, (inner := block.get("content")) is not None and IMAGE in inner.raw)
        for block in (content.items if content is not None else ())
    )
    return Turn(number, text(message.get("role")), blocks, message.get("output_config") is not None)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
