"""Random YAML files as people write them, with comments anywhere, and random wishes of what they shall mean."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from companion.config.editing import writing

KEYS: Final = ("name", "url", "port", "labels", "set", "a b", "ä", "true", "1", "x: y")
TEXTS: Final = (
    *("", "a", "two words", "- dash", "# no comment", "a: b", "'", '"', "ä€😀", "true", "12", "1e3", "null", "~", "*a"),
    *(
        "&a",
        "two\nlines\n",
        " padded ",
        "tab\there",
        "\u2028",
        "\x85",
        "\x00",
        "x" * 130,
        "2026-01-01",
        "${X}",
        "[",
        "{",
    ),
)
OTHERS: Final = (None, True, False, 0, -5, 10**6, 0.5, 1.5e-7, -2.25, 1e300)


class Documents:
    """Everything by chance, and by the same chance for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def file(self) -> tuple[str, dict[str, Any]]:
        """A file, and what it means."""
        content = self.sections(5)
        lines = list(self._mapping(content, 0))
        text = self._one("", "# head\n", "# head\n\n", "---\n", "\n") + "".join(f"{line}\n" for line in lines)
        if self._once_in(3):
            text = text.removesuffix("\n")
        return (text.replace("\n", "\r\n") if self._once_in(4) else text), content

    def sections(self, most: int, depth: int = 0) -> dict[str, Any]:
        count = self._random.randint(0, most)
        return {key: self._data(depth + 1) for key in self._random.sample(KEYS, count)}

    def changed(self, value: Any, depth: int = 0) -> Any:
        """What somebody may want instead of `value`."""
        if depth and self._once_in(12):
            return self._data(depth)
        if isinstance(value, dict):
            kept = {key: self.changed(each, depth + 1) for key, each in value.items() if not self._once_in(6)}
            return kept | (self.sections(2, depth) if self._once_in(4) else {})
        if isinstance(value, list):
            items = [self.changed(each, depth + 1) for each in value if not self._once_in(6)]
            if self._once_in(4):
                items.insert(self._random.randint(0, len(items)), self._data(depth + 1))
            if self._once_in(4):
                self._random.shuffle(items)
            return items
        return self._scalar() if self._once_in(5) else value

    def _data(self, depth: int) -> Any:
        if depth > 3 or self._once_in(3):
            return self._scalar()
        if self._once_in(2):
            return self.sections(4, depth)
        return [self._data(depth + 1) for _ in range(self._random.randint(0, 4))]

    def _scalar(self) -> Any:
        return self._one(*TEXTS) if self._once_in(2) else self._one(*OTHERS)

    def _mapping(self, value: dict[str, Any], column: int) -> Iterator[str]:
        for key, each in value.items():
            yield from self._noise(column)
            yield from self._entry(f"{' ' * column}{writing.scalar(key)}:", each, column)

    def _list(self, value: list[Any], column: int) -> Iterator[str]:
        for each in value:
            yield from self._noise(column)
            if isinstance(each, dict | list) and each and self._once_in(2):
                inner = column + self._one(2, 4)
                lines = list(self._mapping(each, inner) if isinstance(each, dict) else self._list(each, inner))
                while not lines[0].strip() or lines[0].lstrip().startswith("#"):
                    yield lines.pop(0)
                yield f"{' ' * column}-".ljust(inner) + lines[0].lstrip(" ")
                yield from lines[1:]
            else:
                yield from self._entry(" " * column + "-", each, column)

    def _entry(self, begin: str, value: Any, column: int) -> Iterator[str]:
        """A key or a dash, with its value behind or below it."""
        if isinstance(value, dict | list) and value and not self._once_in(3):
            yield begin + self._behind()
            inner = column + self._one(2, 4)
            if isinstance(value, dict):
                yield from self._mapping(value, inner)
            else:
                yield from self._list(value, column if begin.endswith(":") and self._once_in(3) else inner)
        elif value is None and self._once_in(2):
            yield begin + self._behind()
        elif isinstance(value, str) and value.isprintable() and value.strip() == value != "" and self._once_in(4):
            yield f"{begin} {self._one('|-', '>-')}{self._behind()}"
            yield " " * (column + 2) + value
            yield " " * column + "# after it"  # what is indented more would be text
        else:
            yield f"{begin} {self._flow(value, column)}{self._behind()}"

    def _flow(self, value: Any, column: int) -> str:
        if not isinstance(value, dict | list) or not value:
            return self._quoted(value) if isinstance(value, str) and self._once_in(3) else writing.inline(value)
        opening, closing = "[]" if isinstance(value, list) else "{}"
        parts = self._parts(value, column)
        indent = "\n" + " " * (column + 3)
        shape = self._random.randint(0, 3)
        if shape == 0:
            return f"{opening} {' , '.join(parts)} {closing}"
        if shape == 1:
            return f"{opening}{indent}{f',{indent}'.join(parts)}{self._one('', ',')}{indent}{closing}"
        if shape == 2:
            lines = [f"{each},{self._behind()}" for each in parts[:-1]]
            lines.append(f"{parts[-1]}{self._one('', ',')}{self._behind()}")
            noise = [indent.join(["", *self._noise(column + 3)]) for _ in lines]
            inner = "".join(f"{before}{indent}{line}" for before, line in zip(noise, lines, strict=True))
            return opening + self._behind() + inner + indent + closing
        return opening + ", ".join(parts) + closing

    def _parts(self, value: Any, column: int) -> list[str]:
        if isinstance(value, list):
            return [self._flow(each, column) for each in value]
        return [f"{writing.scalar(key)}: {self._flow(each, column)}" for key, each in value.items()]

    def _quoted(self, value: str) -> str:
        return "'" + value.replace("'", "''") + "'" if value.isprintable() else writing.inline(value)

    def _noise(self, column: int) -> Iterator[str]:
        for _ in range(self._one(0, 0, 0, 1, 2)):
            yield self._one(
                "",
                f"{' ' * column}# own line",
                "# at the edge",
                f"{' ' * (column + 4)}# deep",
                f"{' ' * column}# - a: b",
            )

    def _behind(self) -> str:
        return str(self._one("", "", "", "   # behind", " # - a: b"))

    def _one(self, *choices: Any) -> Any:
        return self._random.choice(choices)

    def _once_in(self, times: int) -> bool:
        return self._random.randrange(times) == 0
