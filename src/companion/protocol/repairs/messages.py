"""Parts of messages that an upstream cannot read: the role system, and images."""

from collections.abc import Iterator
from typing import Final

from companion.protocol.repairs.patterns import Pattern
from companion.protocol.repairs.record import Repair, Wording
from companion.protocol.repairs.tree import Edits, Node, text
from companion.protocol.repairs.turns import Block, content_of, turns

_THIS_TIME: Final = "now"
INSTEAD_OF_IMAGE: Final = "[An image was here. This model cannot see images.]"


# === role system


def _to_top(root: Node, edits: Edits, _: str) -> None:
    """Messages of the role system become blocks at the end of the system prompt, in order."""
    messages = root.get("messages")
    told = turns(messages)
    moved = [turn.number for turn in told if turn.role == "system"]
    if messages is None or not moved or len(moved) == len(told):
        return
    for number in moved:
        edits.drop(messages, number)
    blocks = [block for number in moved for block in _blocks(messages.items[number].get("content"))]
    if blocks:
        _append(root, edits, b",".join(blocks))


def _blocks(content: Node | None) -> Iterator[bytes]:
    if content is None:
        return
    if text(content):
        yield b'{"type":"text","text":%b}' % content.raw
    for block in content.items:
        if block.type == "text":
            yield block.raw


def _append(root: Node, edits: Edits, blocks: bytes) -> None:
    system = root.get("system")
    if system is not None and system.is_array:
        edits.append(system, blocks)
    elif text(system):
        edits.put(root, "system", b'[{"type":"text","text":%b},%b]' % (system.raw if system else b"", blocks))
    else:
        edits.put(root, "system", b"[%b]" % blocks)


# === images


def _without_images(root: Node, edits: Edits, _: str) -> None:
    messages = root.get("messages")
    for turn in turns(messages):
        if messages is not None and any(_shows(block) for block in turn.blocks):
            _replace_images(content_of(messages, turn), edits)


def _shows(block: Block) -> bool:
    return block.type == "image" or (block.type == "tool_result" and block.images)


def _replace_images(content: Node, edits: Edits) -> None:
    for block in content.items:
        if block.type == "image":
            kept = block.get("cache_control")
            more = b"" if kept is None else b',"cache_control":' + kept.raw
            edits.replace(block, b'{"type":"text","text":"%b"%b}' % (INSTEAD_OF_IMAGE.encode(), more))
        elif block.type == "tool_result" and (inner := block.get("content")) is not None:
            _replace_images(inner, edits)


_IMAGES: Final = r"(?:images?|vision|multi-?modal\w*|visual)"
_INPUT: Final = r"(?:[ _](?:input|content|understanding|block|part|message|recognition|url)s?)?"
_NOT_TAKEN: Final = r"(?:not (?:\w+ )?(?:support|allow|accept|permit)\w*|unsupported)"
_STRANGE: Final = r"(?:unsupported|unknown|invalid|unrecogni[sz]ed)"
# One that is of a wrong format, size or address is no reason to show a model none at all.
_ONE: Final = r"(?![/\w]| ?(?:format|type|url|size|dimension|data|with|larger|over))"

SYSTEM_ROLE: Final = Repair(
    name="system_role",
    does="moves messages of the role system to the end of `system`",
    because="the upstream wants only user and assistant among the messages",
    wordings=(
        Wording(
            Pattern(
                r"角色信息(?:不正确|有误|错误)",
                r"role information is (?:incorrect|invalid|wrong)|incorrect role information",
                r"\broles?\b[^\n]{0,60}(?:must|should|can only) be[^\n]{0,16}user\b[^\n]{0,16}assistant",
                r"only[^\n]{0,12}user\b[^\n]{0,16}assistant\b[^\n]{0,20}roles? (?:are|is) (?:supported|allowed)",
                r"(?:invalid|unknown|unsupported|unexpected|illegal)(?: \w+){0,3}:? ?[^\n\w]{0,2}system\b",
                r"\brole\b[^\n]{0,80}(?:received|got|input:?|variant) ?[^\n\w]{0,2}system\b",
                r"\bsystem\b['\"`]? (?:roles?|messages?) (?:is|are)?(?: not|n't| only)?[^\n]{0,12}"
                r"(?:support|allow|permit)\w*",
                r"system messages? must be (?:at the beginning|the first|first)",
                r"不支持[^\n]{0,6}role[^\n\w]{0,3}system|role[^\n\w]{0,3}system[^\n\w]{0,3}不支持",
                r"roles must alternate",
            )
        ),
    ),
    fix=_to_top,
    betas=("mid-conversation-", "per-turn-control-"),
)

IMAGES: Final = Repair(
    name="images",
    does="puts a sentence in the place of images, those in results of tools too",
    because="the model reads text only",
    wordings=(
        Wording(
            Pattern(
                rf"(?:not|n't) (?:currently )?support (?:\w+ ){{0,3}}{_IMAGES}{_ONE}",
                rf"\b{_IMAGES}{_INPUT}['\"`]? (?:(?:is|are|was|were) )?{_NOT_TAKEN}(?! (?:format|type|url))",
                rf"{_STRANGE} (?:content|message|block|part)[^\n]{{0,12}}\bimage(?:_url)?{_ONE}",
                rf"(?:variant|tag|type|content part)\b[^\n\w]{{0,4}}image(?:_url)?{_ONE}",
                r"不支持[^\n的]{0,8}(?:图片|图像|视觉|多模态|image)(?! ?(?:格式|类型|链接|尺寸|大小|url|format))",
                r"(?:图片|图像|视觉|多模态)(?:输入|内容|理解|消息)?暂?不支持|(?:仅|只)支持(?:文本|text)",
                r"no endpoints found that support image",
                r"(?:only|just) (?:supports? )?text (?:input|content)|is (?:a )?text-only",
                r"not a (?:multi-?modal|vision)",
                r"at most 0 image",
                r"missing data required for image input",
                r"messages\.content\.type[^\n]{0,20}\[['\"]text['\"]\]",
            )
        ),
        # Said of models that cannot see, and of pictures that cannot be read.
        Wording(Pattern(r"图片输入格式/解析错误"), _THIS_TIME),
    ),
    fix=_without_images,
    kept=lambda when: None if when == _THIS_TIME else when,
)
