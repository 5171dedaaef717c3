"""From samples to figures: medians, ratios, what the bars say of them, the table and the JSON."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from bench.peers import NGINX, OURS
from bench.row import Row, Sample

TOLERANCE: Final = 1.25  # above the bar by more than this is not done

Round = dict[str, Sample]  # one sample of each peer, taken one after the other


@dataclass(frozen=True, slots=True)
class Line:
    """A row with all its rounds."""

    row: Row
    rounds: list[Round]

    @property
    def peers(self) -> list[str]:
        return list(self.rounds[0])

    def figure(self, peer: str) -> float:
        return median(sample[peer].value for sample in self.rounds)

    def ratio(self, peer: str) -> float | None:
        """To nginx: the median of the rounds' own ratios, so that a slow minute counts for both."""
        if NGINX not in self.rounds[0]:
            return None
        return median(sample[peer].value / sample[NGINX].value for sample in self.rounds)

    @property
    def excess(self) -> float | None:
        """Ours in multiples of its bar, or nothing where there is no nginx to compare with."""
        figure = self.ratio(OURS) if self.row.ratio else self.figure(OURS)
        return None if figure is None else figure / self.row.bar

    @property
    def verdict(self) -> str:
        if self.excess is None:
            return ""
        return "OK" if self.excess <= 1 else f"MISS by {self.excess - 1:.0%}"

    @property
    def done(self) -> bool:
        return self.excess is None or self.excess <= TOLERANCE


def table(lines: list[Line]) -> str:
    """For people: the figure of each peer, the ratio to nginx behind it, the bar and the verdict."""
    peers = list(dict.fromkeys(peer for line in lines for peer in line.peers))
    cells = [["what", "unit", *peers, "bar", ""]]
    cells += [[line.row.title, line.row.unit, *(_cell(line, peer) for peer in peers), *_judged(line)] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def _cell(line: Line, peer: str) -> str:
    if peer not in line.peers:
        return ""
    ratio = line.ratio(peer) if line.row.ratio else None
    figure = f"{line.figure(peer):.3g}"
    return figure if ratio is None or peer == NGINX else f"{figure} ({ratio:.2f} x)"


def _judged(line: Line) -> list[str]:
    return [f"≤ {line.row.bar:g} {'x nginx' if line.row.ratio else line.row.unit}", line.verdict]


def record(lines: list[Line]) -> dict[str, Any]:
    """For programs: every figure with all its rounds."""
    return {line.row.name: _record_of(line) for line in lines}


def _record_of(line: Line) -> dict[str, Any]:
    return {
        "title": line.row.title,
        "unit": line.row.unit,
        "bar": line.row.bar,
        "bar_in": "nginx" if line.row.ratio else line.row.unit,
        "medians": {peer: _rounded(line.figure(peer)) for peer in line.peers},
        "ratios": {peer: _rounded(ratio) for peer in line.peers if (ratio := line.ratio(peer)) is not None},
        "verdict": line.verdict,
        "rounds": [{peer: _sample(sample) for peer, sample in one.items()} for one in line.rounds],
    }


def _sample(sample: Sample) -> dict[str, float]:
    return {"value": _rounded(sample.value), **{name: _rounded(value) for name, value in sample.seen.items()}}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
