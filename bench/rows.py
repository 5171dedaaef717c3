"""The rows of the table: what is measured, in which unit, and the bar that ours has to meet."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.load import Job, Load, Outcome, Program, Upstream
from bench.machine import cpu_seconds, resident_megabytes
from bench.peers import Peer, running
from bench.traffic import Answers, request

GAP: Final = 0.020
STREAMS: Final = 300  # fewer leave the core idle between two events, and waking it up is what would be measured
CONNECTIONS: Final = 32
_LIMIT: Final = 30.0  # seconds, over what a run is meant to take


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure, and what else was seen while it was taken."""

    value: float
    seen: dict[str, float] = field(default_factory=dict)


class Bench:
    """What all rows share: the files, the upstream while it runs, and how long a measured part lasts (seconds)."""

    def __init__(self, folder: Path, upstream_port: int, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self._port = upstream_port
        self._answers = Answers()
        self._blocks = self._file("answers.blocks", self._answers.blocks())

    def upstream(self) -> Upstream:
        return Upstream(self._port, GAP, self._blocks)

    def direct(self) -> Load:
        """One connection to the upstream, with no proxy between."""
        return Load(self._port, 1, exact=True)

    def whole(self, size: int, seconds: float) -> Job:
        """Requests of `size` bytes for a whole answer of 2 KB, as fast as they are answered."""
        asked = self._file(f"{size}.request", request(size, stream=False, tokens=420))
        return Job(asked, self._file("whole.answer", self._answers.whole), seconds)

    def stream(self, size: int, tokens: int, seconds: float = 0.0, spread: float = 0.0) -> Job:
        """Requests of `size` bytes for a stream of `tokens` texts."""
        asked = self._file(f"{size}-{tokens}.request", request(size, stream=True, tokens=tokens))
        return Job(asked, self._file(f"{tokens}.answer", self._answers.stream(tokens)), seconds, spread)

    def _file(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


Measure = Callable[[Bench, Peer], Sample]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. With `ratio` the bar is in multiples of nginx, else in the row's own unit."""

    name: str
    title: str
    unit: str
    bar: float
    ratio: bool
    measure: Measure


def _loaded(bench: Bench, peer: Peer, connections: int, warm: Job, job: Job) -> tuple[Outcome, dict[str, float]]:
    """Run a job after a warm-up: what came back, and the processor seconds that each side used for it."""
    with ExitStack() as stack:
        upstream = stack.enter_context(bench.upstream())
        pid, _ = stack.enter_context(running(peer, bench.folder))
        load = stack.enter_context(Load(peer.port, connections, exact=peer.exact))
        load.run(warm, warm.seconds + _LIMIT)
        before = _spent(pid, upstream, load)
        outcome = load.run(job, bench.seconds + _LIMIT)
        after = _spent(pid, upstream, load)
    proxy, ends = (late - early for late, early in zip(after, before, strict=True))
    return outcome, {"proxy_cpu_s": proxy, "load_cpu_s": ends, "seconds": outcome.seconds, "answers": outcome.answers}


def _spent(pid: int, *ends: Program) -> tuple[float, float]:
    return cpu_seconds(pid), sum(cpu_seconds(end.pid) for end in ends)


def _paced(bench: Bench, peer: Peer) -> Sample:
    tokens = max(1, round(bench.seconds / GAP))
    warm = bench.stream(2048, max(1, tokens // 5), spread=GAP)
    job = bench.stream(2048, tokens, spread=GAP)
    outcome, seen = _loaded(bench, peer, STREAMS, warm, job)
    events = outcome.answers * job.answer.read_bytes().count(b"\n\n")
    return Sample(seen["proxy_cpu_s"] / events * 1e6, {**seen, "events": events})


def _per_request(size: int) -> Measure:
    def measure(bench: Bench, peer: Peer) -> Sample:
        warm, job = bench.whole(size, bench.seconds / 4), bench.whole(size, bench.seconds)
        outcome, seen = _loaded(bench, peer, CONNECTIONS, warm, job)
        rate = outcome.answers / outcome.seconds
        value = seen["proxy_cpu_s"] / outcome.answers * 1e3
        return Sample(value, {**seen, "per_second": rate, "p50_ms": outcome.last_p50_ms, "p99_ms": outcome.last_p99_ms})

    return measure


def _first_token(bench: Bench, peer: Peer) -> Sample:
    """Through the proxy and direct, in three turns each, so that both see the same machine."""
    job = bench.stream(2048, 1, bench.seconds / 3)
    through: list[float] = []
    direct: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(bench.upstream())
        stack.enter_context(running(peer, bench.folder))
        loads = stack.enter_context(Load(peer.port, 1, exact=peer.exact)), stack.enter_context(bench.direct())
        for load in loads:
            load.run(bench.stream(2048, 1, bench.seconds / 10), _LIMIT)
        for _ in range(3):
            for load, times in zip(loads, (through, direct), strict=True):
                times.append(load.run(job, bench.seconds + _LIMIT).first_p50_ms)
    added = sorted(late - early for late, early in zip(through, direct, strict=True))[1]
    return Sample(added, {"through_ms": sorted(through)[1], "direct_ms": sorted(direct)[1]})


def _start(bench: Bench, peer: Peer) -> Sample:
    """The median of three starts."""
    times = []
    with bench.upstream():
        for _ in range(3):
            with running(peer, bench.folder) as (_, seconds):
                times.append(seconds)
    return Sample(sorted(times)[1])


def _idle_memory(bench: Bench, peer: Peer) -> Sample:
    with bench.upstream(), running(peer, bench.folder) as (pid, _):
        time.sleep(min(1.0, bench.seconds))
        return Sample(resident_megabytes(pid))


ROWS: Final = (
    Row("paced", f"{STREAMS} streams, an event every 20 ms", "CPU-s per M events", 1.8, ratio=True, measure=_paced),
    Row("small", "2 KB request, whole answer", "CPU ms per request", 6.0, ratio=True, measure=_per_request(2048)),
    Row("large", "150 KB request, not recorded", "CPU ms per request", 4.0, ratio=True, measure=_per_request(153_600)),
    # 0.6 ms where nginx adds 0.13 ms; a machine that is slower is slower for both.
    Row("first", "added time to the first token, p50", "ms", 4.6, ratio=True, measure=_first_token),
    Row("start", "start to first answer", "s", 0.7, ratio=False, measure=_start),
    Row("memory", "resident memory after the first answer", "MB", 65.0, ratio=False, measure=_idle_memory),
)
