"""What a repair is: which words call for it, and what it does to a body."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from companion.protocol.repairs.patterns import Match, Pattern
from companion.protocol.repairs.tree import Edits, Node

# Whoever refuses a request says so with one of these; some relays make their own 500 of another's 400.
STATUSES: Final = frozenset({400, 404, 413, 415, 422, 500, 501})
# Claude Code's usual request has five things that a strict upstream refuses, mostly one at a time.
MAX_RESENDS: Final = 5

Read = Callable[[Match, Node], str | None]


class Wording(NamedTuple):
    """Words that call for a repair, and its parameter: as it is, or read from the match and the body that was sent."""

    pattern: Pattern
    parameter: str | Read = ""


class Made(NamedTuple):
    """A repair with its parameter, such as max_tokens with 8192. As text: `max_tokens=8192`."""

    name: str
    parameter: str = ""

    def __str__(self) -> str:
        return f"{self.name}={self.parameter}" if self.parameter else self.name

    @classmethod
    def of(cls, text: str) -> "Made":
        """The reverse of str()."""
        name, _, parameter = text.partition("=")
        return cls(name, parameter)


@dataclass(frozen=True)
class Repair:
    """One row of the table.

    `does` and `because` are for the reference page. `fix` collects edits of a body that is read as a tree. `always` is
    the parameter where the configuration asks for it unprovoked. `kept` tells which parameter is remembered in place of
    one, None for one that holds for a single request. `betas` are beginnings of `anthropic-beta` values that go with
    what it takes away. `regrets`: an upstream that says so wants the request as it was.
    """

    name: str
    does: str
    because: str
    wordings: tuple[Wording, ...]
    fix: Callable[[Node, Edits, str], None]
    always: str = ""
    kept: Callable[[str], str | None] = str
    betas: tuple[str, ...] = ()
    regrets: Pattern | None = None

    def wanted(self, said: str, root: Node) -> Made | None:
        """What this repair would be for these words, or None where they are not about it."""
        for pattern, parameter in self.wordings:
            if (found := pattern.search(said)) is not None:
                read = parameter if isinstance(parameter, str) else parameter(found, root)
                if read is not None:
                    return Made(self.name, read)
        return None


_REFUSED: Final = (
    r"(?:extra (?:inputs?|fields?)|not (?:permitted|allowed|supported|accepted|recogni[sz]ed)|n't support\w*"
    r"|unsupported|unpermitted|unknown|unrecogni[sz]ed|unexpected|extraneous|invalid (?:param|field|arg)"
    r"|不支持|未知|不允许)"
)
_WRONG: Final = (
    r"(?:unknown|unrecogni[sz]ed|unexpected|unsupported|unpermitted|extraneous|additional|invalid"
    r"|(?:not|n't) support\w*|不支持|未知)"
)


def field_refused(name: str) -> str:
    """A pattern for a field, itself one, that an upstream does not know or want."""
    named = rf"(?<![\w.-]){name}(?![\w-])"
    return rf"{named}[^\n]{{0,60}}?{_REFUSED}|{_WRONG}[^\n:]{{0,50}}:? ?[^\n\w]{{0,3}}{named}"
