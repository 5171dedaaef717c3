"""Fields that an upstream does not know: context_management, and effort in output_config."""

from typing import Final

from companion.protocol.repairs.patterns import Pattern
from companion.protocol.repairs.record import Repair, Wording, field_refused
from companion.protocol.repairs.tree import Edits, Node
from companion.protocol.repairs.turns import turns


def _without_context_management(root: Node, edits: Edits, _: str) -> None:
    edits.drop_key(root, "context_management")


def without_clear_thinking(root: Node, edits: Edits) -> None:
    """Without the edits of context_management that are refused where thinking is off."""
    found = root.at("context_management", "edits")
    if found is None:
        return
    about = [number for number, edit in enumerate(found.items) if (edit.type or "").startswith("clear_thinking")]
    if len(about) == len(found.items):
        edits.drop_key(root, "context_management")
    else:
        for number in about:
            edits.drop(found, number)


def _without_effort(root: Node, edits: Edits, _: str) -> None:
    messages = root.get("messages")
    configured = (messages.items[turn.number] for turn in turns(messages) if turn.configured) if messages else ()
    for holder in (root, *configured):
        config = holder.get("output_config")
        if config is None or config.get("effort") is None:
            continue
        if all(name == "effort" for name, _, _ in config.members):
            edits.drop_key(holder, "output_config")
        else:
            edits.drop_key(config, "effort")


CONTEXT_MANAGEMENT: Final = Repair(
    name="context_management",
    does="takes `context_management` out",
    because="the upstream does not know the field, or wants thinking for it",
    wordings=(
        Wording(Pattern(field_refused("context_management(?:\\.\\w+)*"), r"clear_thinking\w*`? strategy requires")),
    ),
    fix=_without_context_management,
    betas=("context-management-",),
)

EFFORT: Final = Repair(
    name="effort",
    does="takes `effort` out of `output_config`, of single messages too; `output_config.format` stays",
    because="the upstream does not know the field, not this level, or not together with thinking that is off",
    wordings=(
        Wording(
            Pattern(
                field_refused(r"output_config(?:\.effort)?(?!\.)"),
                field_refused(r"(?:reasoning[_ ])?effort(?: level| parameter)?"),
                r"cannot be disabled when reasoning_effort is set",
            )
        ),
    ),
    fix=_without_effort,
    betas=("effort-", "per-turn-control-"),
)
