"""The rows of the table: what is measured, in which unit, and the bar that ours has to meet."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from bench.archive import filtered, paged
from bench.inserting import inserted
from bench.load import Job, Load, Outcome, Program
from bench.machine import cpu_seconds, resident_megabytes
from bench.peers import Make, Peer, Setting, running
from bench.row import GAP, LIMIT, PLAIN, RECORDED, TLS, Bench, Measure, Row, Sample
from bench.terminator import terminator

STREAMS: Final = 300  # fewer leave the core idle between two events, and waking it up is what would be measured
CONNECTIONS: Final = 32
SLOW_STREAMS: Final = 500
SLOW_GAP: Final = 0.5


def _loaded(
    bench: Bench, peer: Peer, connections: int, warm: Job, job: Job, *, tls: bool = False
) -> tuple[Outcome, dict[str, float]]:
    """Run a job after a warm-up: what came back, and the processor seconds that each side used for it."""
    with ExitStack() as stack:
        upstream = stack.enter_context(bench.upstream())
        if tls:
            stack.enter_context(terminator(bench.place))
        pid, _ = stack.enter_context(running(peer, bench.folder))
        load = stack.enter_context(Load(peer.port, connections, exact=peer.exact))
        load.run(warm, warm.seconds + LIMIT)
        before = _spent(pid, upstream, load)
        outcome = load.run(job, bench.seconds + LIMIT)
        after = _spent(pid, upstream, load)
    proxy, ends = (late - early for late, early in zip(after, before, strict=True))
    return outcome, {"proxy_cpu_s": proxy, "load_cpu_s": ends, "seconds": outcome.seconds, "answers": outcome.answers}


def _spent(pid: int, *ends: Program) -> tuple[float, float]:
    return cpu_seconds(pid), sum(cpu_seconds(end.pid) for end in ends)


def _paced(setting: Setting) -> Measure:
    def measure(bench: Bench, make: Make) -> Sample:
        tokens = max(1, round(bench.seconds / GAP))
        warm = bench.stream(2048, max(1, tokens // 5), spread=GAP)
        job = bench.stream(2048, tokens, spread=GAP)
        outcome, seen = _loaded(bench, make(setting), STREAMS, warm, job, tls=setting.tls)
        events = outcome.answers * job.answer.read_bytes().count(b"\n\n")
        return Sample(seen["proxy_cpu_s"] / events * 1e6, {**seen, "events": events})

    return measure


def _per_request(size: int, setting: Setting) -> Measure:
    def measure(bench: Bench, make: Make) -> Sample:
        warm, job = bench.whole(size, bench.seconds / 4), bench.whole(size, bench.seconds)
        outcome, seen = _loaded(bench, make(setting), CONNECTIONS, warm, job)
        rate = outcome.answers / outcome.seconds
        value = seen["proxy_cpu_s"] / outcome.answers * 1e3
        return Sample(value, {**seen, "per_second": rate, "p50_ms": outcome.last_p50_ms, "p99_ms": outcome.last_p99_ms})

    return measure


def _recording(bench: Bench, make: Make) -> Sample:
    """What recording adds to a request of a conversation that goes on: with it less without it."""
    size = 153_600
    plain, recorded = (_per_request(size, setting)(bench, make) for setting in (PLAIN, RECORDED))
    return Sample(recorded.value - plain.value, {"plain_ms": plain.value, "recorded_ms": recorded.value})


def _slow_streams(bench: Bench, make: Make) -> Sample:
    """The most memory that many slow streams with long conversations take."""
    peer = make(RECORDED)
    tokens = max(2, round(bench.seconds / SLOW_GAP))
    job = bench.stream(153_600, tokens, spread=bench.seconds / 2)
    with ExitStack() as stack:
        stack.enter_context(bench.upstream(SLOW_GAP))
        pid, _ = stack.enter_context(running(peer, bench.folder))
        load = stack.enter_context(Load(peer.port, SLOW_STREAMS, exact=peer.exact))
        peak = stack.enter_context(_watched_memory(pid))
        load.run(job, bench.seconds * 2 + LIMIT)
        return Sample(max(peak), {"answers": SLOW_STREAMS})


@contextmanager
def _watched_memory(pid: int) -> Iterator[list[float]]:
    """A list that gets the resident megabytes of a process, again and again."""
    seen, done = [resident_megabytes(pid)], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(resident_megabytes(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def _first_token(bench: Bench, make: Make) -> Sample:
    """Through the proxy and direct, in three turns each, so that both see the same machine."""
    peer = make(PLAIN)
    job = bench.stream(2048, 1, bench.seconds / 3)
    through: list[float] = []
    direct: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(bench.upstream())
        stack.enter_context(running(peer, bench.folder))
        loads = stack.enter_context(Load(peer.port, 1, exact=peer.exact)), stack.enter_context(bench.direct())
        for load in loads:
            load.run(bench.stream(2048, 1, bench.seconds / 10), LIMIT)
        for _ in range(3):
            for load, times in zip(loads, (through, direct), strict=True):
                times.append(load.run(job, bench.seconds + LIMIT).first_p50_ms)
    added = sorted(late - early for late, early in zip(through, direct, strict=True))[1]
    return Sample(added, {"through_ms": sorted(through)[1], "direct_ms": sorted(direct)[1]})


def _start(bench: Bench, make: Make) -> Sample:
    """The median of three starts."""
    times, peer = [], make(RECORDED)
    with bench.upstream():
        for _ in range(3):
            with running(peer, bench.folder) as (_, seconds):
                times.append(seconds)
    return Sample(sorted(times)[1])


def _idle_memory(bench: Bench, make: Make) -> Sample:
    with bench.upstream(), running(make(RECORDED), bench.folder) as (pid, _):
        time.sleep(min(1.0, bench.seconds))
        return Sample(resident_megabytes(pid))


def _memory_after_a_visit(bench: Bench, make: Make) -> Sample:
    """The first visit to the admin API brings what it is made of into the process."""
    peer = make(RECORDED)
    with bench.upstream(), running(peer, bench.folder) as (pid, _):
        started = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{peer.port}/admin/api/status", timeout=30) as answer:
            json.load(answer)
        first = time.perf_counter() - started
        time.sleep(min(1.0, bench.seconds))
        return Sample(resident_megabytes(pid), {"first_visit_s": first})


ROWS: Final = (
    Row("paced", f"{STREAMS} streams, an event every 20 ms", "CPU-s per M events", 1.8, True, _paced(PLAIN)),
    Row("tls", "the same from an upstream with TLS", "CPU-s per M events", 2.0, True, _paced(TLS)),
    Row("small", "2 KB request, whole answer", "CPU ms per request", 6.0, True, _per_request(2048, PLAIN)),
    Row("large", "150 KB request, not recorded", "CPU ms per request", 4.0, True, _per_request(153_600, PLAIN)),
    Row("recording", "150 KB request, what recording adds", "CPU ms per request", 0.8, False, _recording, ours=True),
    # 0.6 ms where nginx adds 0.13 ms; a machine that is slower is slower for both.
    Row("first", "added time to the first token, p50", "ms", 4.6, True, _first_token),
    Row("streams", f"{SLOW_STREAMS} slow streams with 150 KB bodies, peak", "MB", 200.0, False, _slow_streams),
    Row("start", "start to first answer", "s", 0.7, False, _start),
    Row("memory", "resident memory after the first answer", "MB", 65.0, False, _idle_memory),
    Row("admin", "the same after a visit to /admin", "MB", 110.0, False, _memory_after_a_visit, ours=True),
    # Half of what recording may add to a large request.
    Row("insert", "one more recorded exchange among 1 M", "CPU µs", 400.0, False, inserted, ours=True),
    Row("list", "50 of 1 M recorded exchanges, the slower page", "ms", 3.0, False, paged, ours=True),
    Row("filter", "the same by a filter, the slowest one", "ms", 3.0, False, filtered, ours=True),
)
