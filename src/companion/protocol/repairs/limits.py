"""Numbers that are too large or too small for an upstream: max_tokens, and the budget of thinking in it."""

from typing import Final

from companion.protocol.repairs.fields import without_clear_thinking
from companion.protocol.repairs.patterns import Match, Pattern
from companion.protocol.repairs.record import Repair, Wording
from companion.protocol.repairs.tree import Edits, Node, whole

LEAST_BUDGET: Final = 1024
# What Claude Code gives models of the time when thinking had a budget, and most of what it is given room for.
MOST_BUDGET: Final = 31_999
# Limits that an upstream has most probably, where it does not say which.
_USUAL: Final = (8192, 4096)

# What is left of a window depends on the request: such a limit holds for one only.
_NOW: Final = " now"
_WINDOW: Final = Pattern(r"context|prompt|input|上下文|输入")

_TOKENS: Final = r"max[_ ]?(?:completion[_ ]|output[_ ])?tokens"

_AT_MOST: Final = (
    r"(?:<=|≤|less than or equal to|at most|up to|not exceed|no more than|maximum(?: allowed)?(?: value)?(?: is| of|:)"
    r"|limit(?: is| of|:)|不能超过|不能大于|最大值为?|小于等于)"
)


def budget_within(max_tokens: int | None, most: int = MOST_BUDGET) -> int | None:
    """A budget that leaves a fifth of max_tokens to the answer, or None where there is no room for thinking."""
    if max_tokens is None:
        return most
    if max_tokens <= LEAST_BUDGET:
        return None
    return max(LEAST_BUDGET, min(most, max_tokens * 4 // 5))


def thinking_off(root: Node, edits: Edits) -> None:
    """Without thinking, and without what needs it."""
    edits.drop_key(root, "thinking")
    without_clear_thinking(root, edits)


def _usual(found: Match, root: Node) -> str | None:
    asked = whole(root.get("max_tokens"))
    if asked is None or asked < 2:
        return None
    limit = str(next((limit for limit in _USUAL if limit < asked), asked // 2))
    return limit + _NOW if _WINDOW.search(found.string) else limit


def _told(found: Match, root: Node) -> str | None:
    """The limit in the message; in some a window, less what the request takes of it."""
    limit = int(found["limit"]) - int(found.groupdict().get("taken") or 0)
    asked = whole(root.get("max_tokens"))
    return str(limit) if asked is None or 0 < limit < asked else None


def _this_time(found: Match, root: Node) -> str | None:
    limit = _told(found, root)
    return limit and limit + _NOW


def _clamped(root: Node, edits: Edits, limit: str) -> None:
    most, asked = int(limit.removesuffix(_NOW)), whole(root.get("max_tokens"))
    if asked is None or asked <= most:
        return
    edits.put(root, "max_tokens", b"%d" % most)
    budget = root.at("thinking", "budget_tokens")
    if (whole(budget) or 0) >= most:
        lower = budget_within(most)
        if budget is None or lower is None:
            thinking_off(root, edits)
        else:
            edits.replace(budget, b"%d" % lower)


def _budgeted(root: Node, edits: Edits, limit: str) -> None:
    """A budget of 1,024 to the limit, below max_tokens; which grows where it would leave no room for that."""
    budget, asked = root.at("thinking", "budget_tokens"), whole(root.get("max_tokens"))
    if budget is None or (told := whole(budget)) is None:
        return
    wanted = max(LEAST_BUDGET, min(told, int(limit) if limit else told))
    if asked is not None and wanted >= asked:
        if asked <= LEAST_BUDGET:
            edits.put(root, "max_tokens", b"%d" % (LEAST_BUDGET + max(1, asked)))
        wanted = budget_within(asked, wanted) or LEAST_BUDGET
    edits.replace(budget, b"%d" % wanted)


MAX_TOKENS: Final = Repair(
    name="max_tokens",
    does="lowers `max_tokens` to the limit that the upstream names, and the budget of thinking below it",
    because="more is asked for than the model may say",
    wordings=(
        Wording(
            Pattern(
                rf"{_TOKENS}\S* is too large[^\n]{{0,80}}maximum context length is (?P<limit>\d+) tokens and "
                r"your request has (?P<taken>\d+) input"
            ),
            _this_time,
        ),
        *(
            Wording(Pattern(pattern), _told)
            for pattern in (
                rf"{_TOKENS}`?: \d+ > (?P<limit>\d+)",
                rf"{_TOKENS}[^\n]{{0,40}}\[ ?\d+ ?, ?(?P<limit>\d+) ?\]",
                rf"{_TOKENS}[^\n]{{0,40}}between \d+ and (?P<limit>\d+)",
                rf"{_TOKENS}[^\n]{{0,90}}?{_AT_MOST} ?(?P<limit>\d+)",
                rf"(?:not|n't) support {_TOKENS} > ?(?P<limit>\d+)",
                r"maximum tokens you requested exceeds? the model limit of (?P<limit>\d+)",
                r"maximum output (?:length|tokens)[^\n]{0,20} (?:is|of) (?P<limit>\d+)",
            )
        ),
        Wording(
            Pattern(
                rf"{_TOKENS}\b[^\n]{{0,60}}(?:too (?:large|high|big)|exceeds?|greater than the|超[出过]|过大|范围)",
                rf"(?:invalid|illegal|exceeds?)[^\n]{{0,20}}{_TOKENS}\b",
            ),
            _usual,
        ),
    ),
    fix=_clamped,
    kept=lambda limit: None if limit.endswith(_NOW) else limit,
    always=str(_USUAL[0]),
)

THINKING_BUDGET: Final = Repair(
    name="thinking_budget",
    does="raises `budget_tokens` to 1,024 or lowers it to the upstream's limit, and keeps it below `max_tokens`",
    because="the budget of thinking is out of bounds",
    wordings=(
        Wording(
            Pattern(
                r"thinking[_. ]?budget\w*[^\n]{0,60}"
                r"(?:\[ ?\d+ ?, ?|not (?:be )?(?:greater|larger|more) than |<= ?|at most )(?P<limit>\d+)"
            ),
            lambda found, _: found["limit"],
        ),
        Wording(
            Pattern(
                r"budget_tokens\b[^\n]{0,80}(?:greater than or equal to|at least|>=|≥|minimum|less than|below) ?`?"
                r"(?:of )?(?:1,?024|max_tokens)",
                r"max_tokens`? must be greater than `?(?:thinking\.)?budget_tokens",
                r"budget_tokens\b[^\n]{0,60}(?:less|smaller|lower) than[^\n]{0,10}max_tokens",
            )
        ),
    ),
    fix=_budgeted,
)
