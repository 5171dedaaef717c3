"""Patterns that are compiled when somebody first looks for them: a hundred of them would slow every start."""

import re
from functools import cached_property

Match = re.Match[str]


class Pattern:
    """One pattern of several. Upper and lower case are the same."""

    def __init__(self, *patterns: str, flags: re.RegexFlag = re.NOFLAG) -> None:
        self._source = "|".join(patterns)
        self._flags = flags | re.IGNORECASE

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return re.compile(self._source, self._flags)

    def search(self, text: str) -> Match | None:
        """The first place that fits."""
        return self.compiled.search(text)


def everything(*patterns: str) -> Pattern:
    """A pattern that fits where all of these are found, in any order."""
    return Pattern(r"\A" + "".join(rf"(?=.*?{pattern})" for pattern in patterns), flags=re.DOTALL)


def across_lines(*patterns: str) -> Pattern:
    """One pattern of several, whose dots stand for ends of lines, too."""
    return Pattern(*patterns, flags=re.DOTALL)
