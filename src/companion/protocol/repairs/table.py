"""The table of repairs, how one is found for an upstream's answer, and how some are made.

Everything here is pure: bodies in, bodies out. A body that no repair changes stays the same object.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from companion.protocol.repairs import NAMES
from companion.protocol.repairs.fields import CONTEXT_MANAGEMENT, EFFORT
from companion.protocol.repairs.healed import HEALED, heals
from companion.protocol.repairs.limits import MAX_TOKENS, THINKING_BUDGET
from companion.protocol.repairs.messages import IMAGES, SYSTEM_ROLE
from companion.protocol.repairs.record import STATUSES, Made, Repair
from companion.protocol.repairs.thinking import ADAPTIVE_THINKING, THINKING_SIGNATURE
from companion.protocol.repairs.tools import TOOL_PROPERTIES
from companion.protocol.repairs.tree import Edits, Node
from companion.protocol.repairs.words import words

_ALL: Final = (
    SYSTEM_ROLE,
    CONTEXT_MANAGEMENT,
    EFFORT,
    THINKING_SIGNATURE,
    THINKING_BUDGET,
    ADAPTIVE_THINKING,
    MAX_TOKENS,
    IMAGES,
    TOOL_PROPERTIES,
)
REPAIRS: Final[Mapping[str, Repair]] = {name: next(repair for repair in _ALL if repair.name == name) for name in NAMES}
"""All repairs, in the order in which they are shown."""


class Repaired(NamedTuple):
    """A body with those repairs that changed it, and beginnings of the `anthropic-beta` values that have to go."""

    body: bytes
    made: tuple[Made, ...]
    betas: tuple[str, ...]


def find(
    status: int, answer: bytes, body: bytes, *, never: Collection[str] = (), tried: Collection[str] = ()
) -> Made | None:
    """The repair that an upstream's answer to this body calls for, or None where there is none or the client heals it.

    `never` and `tried` are names that are out of the question.
    """
    if status not in STATUSES:
        return None
    said = words(answer)
    root = _read(body)
    if root is None:
        return None
    for repair in _ALL:
        if repair.name in never or repair.name in tried or (made := repair.wanted(said, root)) is None:
            continue
        edits = Edits(body)
        repair.fix(root, edits, made.parameter)
        if edits.any:
            return None if heals(status, said, answer, root) else made
    return None


def apply(wanted: Iterable[Made], body: bytes) -> Repaired:
    """The body with these repairs, one after the other."""
    made: list[Made] = []
    betas: list[str] = []
    for each in wanted:
        repair, root = REPAIRS[each.name], _read(body)
        if root is None:
            break
        edits = Edits(body)
        repair.fix(root, edits, each.parameter)
        if edits.any:
            body = edits.made()
            made.append(each)
            betas += repair.betas
    return Repaired(body, tuple(made), tuple(betas))


def always(names: Iterable[str]) -> tuple[Made, ...]:
    """The repairs of these names as they are made where no upstream has said anything."""
    return tuple(Made(name, REPAIRS[name].always) for name in names)


def regretted(made: Iterable[Made], answer: bytes) -> tuple[Made, ...]:
    """Those of the repairs that the upstream's answer speaks against."""
    said = words(answer)
    return tuple(each for each in made if (against := REPAIRS[each.name].regrets) is not None and against.search(said))


def warm() -> None:
    """Compile every pattern now, in a thread perhaps, so that the first refusal need not wait for it."""
    for pattern in (wording.pattern for repair in _ALL for wording in repair.wordings):
        _ = pattern.compiled
    for healed in HEALED:
        _ = healed.pattern.compiled


def without_betas(value: bytes, beginnings: Collection[str]) -> bytes:
    """An `anthropic-beta` header's value without those that begin so."""
    kept = [each for each in value.split(b",") if not each.strip().startswith(tuple(b.encode() for b in beginnings))]
    return b",".join(kept).strip()


def _read(body: bytes) -> Node | None:
    try:
        return Node.root(body)
    except ValueError:
        return None
