"""What a row of the table is, and what all rows share while they are measured."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from bench import records
from bench.load import BUILD, Job, Load, Upstream
from bench.peers import Make, Place, Setting
from bench.traffic import Answers, request

GAP: Final = 0.020
PLAIN: Final = Setting()
TLS: Final = Setting(tls=True)
RECORDED: Final = Setting(recorded=True)
LIMIT: Final = 30.0  # seconds, over what a run is meant to take


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure, and what else was seen while it was taken."""

    value: float
    seen: dict[str, float] = field(default_factory=dict)


class Bench:
    """What all rows share: the files, the upstream while it runs, and how long a measured part lasts (seconds).

    `exchanges` is how many the rows about records have before them.
    """

    def __init__(self, place: Place, seconds: float, exchanges: int = records.EXCHANGES) -> None:
        self.place = place
        self.folder = place.folder
        self.seconds = seconds
        self.exchanges = exchanges
        self._answers = Answers()
        self._blocks = self._file("answers.blocks", self._answers.blocks())

    def upstream(self, gap: float = GAP) -> Upstream:
        return Upstream(self.place.upstream(PLAIN), gap, self._blocks)

    def direct(self) -> Load:
        """One connection to the upstream, with no proxy between."""
        return Load(self.place.upstream(PLAIN), 1, exact=True)

    def whole(self, size: int, seconds: float) -> Job:
        """Requests of `size` bytes for a whole answer of 2 KB, as fast as they are answered."""
        asked = self._file(f"{size}.request", request(size, stream=False, tokens=420))
        return Job(asked, self._file("whole.answer", self._answers.whole), seconds)

    def stream(self, size: int, tokens: int, seconds: float = 0.0, spread: float = 0.0) -> Job:
        """Requests of `size` bytes for a stream of `tokens` texts."""
        asked = self._file(f"{size}-{tokens}.request", request(size, stream=True, tokens=tokens))
        return Job(asked, self._file(f"{tokens}.answer", self._answers.stream(tokens)), seconds, spread)

    @cached_property
    def archive(self) -> Path:
        """A store full of exchanges, which this run may change."""
        return Path(shutil.copyfile(records.store(BUILD, self.exchanges), self.folder / "archive.db"))

    def _file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


Measure = Callable[[Bench, Make], Sample]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. With `ratio` the bar is in multiples of nginx, else in the row's own unit.

    With `ours` nobody else has what it measures.
    """

    name: str
    title: str
    unit: str
    bar: float
    ratio: bool
    measure: Measure
    ours: bool = False
