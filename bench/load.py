"""The C program from here: compile it, start it as the upstream, let it put load on a port."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from bench.machine import LOAD_CORE, BenchError, on_core

HERE: Final = Path(__file__).parent
BUILD: Final = HERE / "build"
PROGRAM: Final = BUILD / "load"


def compile_program() -> None:
    """Make build/load from load.c, unless it is newer already. Needs `cc`."""
    source = HERE / "load.c"
    BUILD.mkdir(exist_ok=True)
    if PROGRAM.exists() and PROGRAM.stat().st_mtime > source.stat().st_mtime:
        return
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("a C compiler is needed (`cc` is not on PATH)", code=2)
    fresh = BUILD / f"load.{os.getpid()}"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{source.name} does not compile: {done.stderr}")
    fresh.replace(PROGRAM)


class Outcome(msgspec.Struct, frozen=True):
    """What the load generator saw in one run; times in milliseconds unless named."""

    seconds: float
    answers: int
    errors: int
    error: str
    first_p50_ms: float
    last_p50_ms: float
    last_p99_ms: float


class Program:
    """One process of load.c on the load's core."""

    def __init__(self, *arguments: str) -> None:
        with on_core(LOAD_CORE):
            self._process = subprocess.Popen(
                [PROGRAM, *arguments],
                cwd=BUILD,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


class Upstream(Program):
    """Answers on a port for as long as it is entered; one event per `gap` seconds in a stream."""

    def __init__(self, port: int, gap: float, blocks: Path) -> None:
        super().__init__("upstream", str(port), str(round(gap * 1e6)), str(blocks))


@dataclass(frozen=True, slots=True)
class Job:
    """What to ask and what the answer's body must be (files), and for how long to ask again.

    With `seconds` 0 every connection asks once. The connections start one after the other within `spread` seconds.
    """

    request: Path
    answer: Path
    seconds: float
    spread: float = 0.0


class Load(Program):
    """Keeps `connections` connections to a port. Every answer is checked; the first wrong one ends the benchmark."""

    def __init__(self, port: int, connections: int, *, exact: bool) -> None:
        super().__init__("load", str(port), str(connections))
        self._exact = exact

    def run(self, job: Job, limit: float) -> Outcome:
        """Do it once. `limit` is the time in seconds after which an answer is missing. Raises BenchError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer = job.answer if self._exact else "-"
        order = f"run {job.seconds} {round(job.spread * 1e6)} {limit} {job.request} {answer}\n"
        try:
            self._process.stdin.write(order)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        outcome = msgspec.json.decode(line, type=Outcome)
        if outcome.errors:
            raise BenchError(f"{outcome.errors} answers were wrong, {outcome.answers} came; the first: {outcome.error}")
        return outcome

    def _failed(self) -> BenchError:
        assert self._process.stderr is not None
        return BenchError(f"the load generator gave up: {self._process.stderr.read().strip()}")
