"""Thinking in a form that the upstream knows, and what is left of it in the conversation so far."""

from typing import Final

from companion.protocol.repairs.limits import budget_within, thinking_off
from companion.protocol.repairs.patterns import Pattern
from companion.protocol.repairs.record import Repair, Wording
from companion.protocol.repairs.tree import Edits, Node, text, whole
from companion.protocol.repairs.turns import Turn, content_of, turns

# Anthropic refuses text without a letter, and a turn without content.
_OMITTED: Final = b'{"type":"text","text":"[thinking omitted]"}'
_PLACEHOLDER: Final = b'{"type":"thinking","thinking":"[not kept]","signature":""}'
_STRANGE: Final = r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|extraneous|unpermitted)"
_NOT_TAKEN: Final = r"(?:not (?:permitted|allowed|supported)|unknown|unsupported)"
_KINDS: Final = frozenset({"thinking", "redacted_thinking"})


# === adaptive thinking


def _enabled(root: Node, edits: Edits, form: str) -> None:
    """With a budget in place of adaptive, or without thinking; the history may leave no choice."""
    thinking = root.get("thinking")
    if thinking is None:
        return
    budget = budget_within(whole(root.get("max_tokens")))
    if form == "none":
        thinking_off(root, edits)
    elif thinking.type == "adaptive":
        if budget is None or _unthinking(root):
            thinking_off(root, edits)
        else:
            edits.replace(thinking, b'{"type":"enabled","budget_tokens":%d}' % budget)


def _unthinking(root: Node) -> bool:
    """Whether the last turn calls tools and does not begin with thinking: not allowed where that has a budget."""
    last = _last(root)
    return last is not None and last.calls_tools and last.blocks[0].type not in _KINDS


# === the history


def _assistants(root: Node) -> list[Turn]:
    """Every turn of the assistant that has blocks."""
    return [turn for turn in turns(root.get("messages")) if turn.role == "assistant" and turn.blocks]


def _last(root: Node) -> Turn | None:
    return next(reversed(_assistants(root)), None)


def _question(root: Node) -> int:
    """The number of the last message of the user that brings no results of tools: what follows is still going on."""
    for turn in reversed(turns(root.get("messages"))):
        if turn.role == "user" and not any(block.type == "tool_result" for block in turn.blocks):
            return turn.number
    return -1


def _history(root: Node, edits: Edits, which: str) -> None:
    """What an upstream can read of earlier turns; where thinking with a budget cannot go on without them, it ends."""
    messages = root.get("messages")
    if messages is None:
        return
    if which == "placeholder":
        _with_placeholders(root, messages, edits)
    elif which != "prefix":
        _without_blocks(root, messages, edits, _question(root) if which == "past" else None)
    if which in {"prefix", "foreign"} and text(root.at("thinking", "type")) == "enabled":
        last = _last(root)
        if _unthinking(root) or (edits.any and last is not None and last.calls_tools):
            thinking_off(root, edits)


def _without_blocks(root: Node, messages: Node, edits: Edits, end: int | None) -> None:
    """No blocks of thinking, or none before the message `end`."""
    for turn in _assistants(root):
        if end is not None and turn.number > end:
            break
        places = [place for place, block in enumerate(turn.blocks) if block.type in _KINDS]
        if not places:
            continue
        content = content_of(messages, turn)
        for place in places:
            edits.drop(content, place)
        if len(places) == len(turn.blocks):
            edits.refill(content, _OMITTED)


def _with_placeholders(root: Node, messages: Node, edits: Edits) -> None:
    for turn in _assistants(root):
        kinds = [block.type for block in turn.blocks]
        if not turn.calls_tools or "thinking" in kinds:
            continue
        content = content_of(messages, turn)
        if "redacted_thinking" not in kinds:
            edits.prepend(content, _PLACEHOLDER)
        for place, kind in enumerate(kinds):
            if kind == "redacted_thinking":
                edits.replace(content.items[place], _PLACEHOLDER)


ADAPTIVE_THINKING: Final = Repair(
    name="adaptive_thinking",
    does="makes `thinking` of type adaptive one with a budget that fits `max_tokens`, or takes it out",
    because="the upstream knows only thinking with a budget, or none",
    wordings=(
        Wording(
            Pattern(
                r"adaptive['\"`]?[^\n]{0,40}(?:(?:not|n't) (?:support|allow|permit|recogni)\w*|unsupported|不支持)",
                r"(?:tag|variant|value|type|mode)\b[^\n\w]{0,4}adaptive\b",
                r"thinking(?:\.|\[?['\"])?type\b[^\n]{0,40}(?:input should be|must be|should be|expected|one of|enum)",
                r"thinking type (?:should|must) be",
                r"thinking(?:\.adaptive|\.enabled)?\.budget_tokens: (?:field )?required",
            ),
            "enabled",
        ),
        Wording(
            Pattern(
                rf"{_STRANGE}(?: \w+){{0,4}}:? ?[^\n\w]{{0,3}}thinking(?![\w.]| ?(?:block|budget))",
                rf"(?<![\w.-])thinking[`'\"\]]*:? (?:extra (?:inputs|fields)|(?:is )?{_NOT_TAKEN}|不支持)"
                r"(?! ?(?:when|with|if|together|for this tool))",
                r"(?:not|n't) support (?:(?:extended|deep) )?(?:thinking|reasoning)\b"
                r"(?! ?(?:block|effort|budget|level|type))",
                r"不支持(?:深度)?思考",
            ),
            "none",
        ),
    ),
    fix=_enabled,
    always="enabled",
    betas=("thinking-display-",),
    regrets=Pattern(r"thinking\.type[^a-z]{1,8}enabled", r"requires adaptive thinking"),
)

THINKING_SIGNATURE: Final = Repair(
    name="thinking_signature",
    does="drops blocks of thinking that another upstream signed, or none; gives a turn that must begin with one a "
    "placeholder",
    because="signatures hold for the upstream that made them, and some know no such blocks",
    wordings=(
        Wording(
            Pattern(r"(?:thinking|reasoning_content)`?[^\n]{0,60}must be passed back"),
            "placeholder",
        ),
        Wording(
            Pattern(
                r"(?:tag|variant|type|block)\b[^\n\w]{0,6}(?:redacted_)?thinking\b",
                r"(?:redacted_)?thinking['\"`]?(?: content)? blocks? (?:is|are) not (?:support|allow|permit)",
                r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected)[^\n]{0,30}\bthinking\W{0,2}(?:content )?block",
                r"(?:not|n't) support (?:redacted_)?thinking (?:content )?blocks?",
            ),
            "every",
        ),
        Wording(
            Pattern(r"must start with a thinking block", r"expected `?thinking`? or `?redacted_thinking`?"),
            "prefix",
        ),
        Wording(
            Pattern(
                r"(?:thought|thinking)[_ .]?signature|invalid[^\n]{0,30}\bthinking\W{0,2}(?:content )?block",
                r"\bsignature\b[^\n]{0,60}(?:required|invalid|not valid|mismatch|verif|corrupt|missing|should be)",
                r"(?:invalid|corrupted?|missing|unknown)[^\n]{0,40}\bsignature\b",
                r"(?:thinking|redacted_thinking)[^\n]{0,60}(?:cannot be modified|could not be (?:verified|decrypted))",
            ),
            "foreign",
        ),
    ),
    fix=_history,
    kept=lambda which: "past" if which == "foreign" else which,
    always="every",
)
