"""The benchmark itself: that it measures, checks what it measures, and refuses what would make its figures lies.

No test here looks at a time.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from bench import litellm
from bench.archive import FILTERS
from bench.machine import BenchError, cpu_seconds, family, refuse_busy_port, resident_megabytes, usable
from bench.records import Generator, store
from bench.report import Line, Round, table
from bench.row import Sample
from bench.rows import ROWS
from bench.traffic import Answers, request

from companion.records.queries import Records
from companion.records.schema import attempts, exchanges
from companion.records.views import Filters

SO_REUSEPORT = 15  # on Linux; `socket` has it only there
ROOT = Path(__file__).parent.parent

needs_linux = pytest.mark.skipif(not usable(), reason="the benchmark needs Linux and two cores")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator is compiled by cc")


def free_ports() -> int:
    """A port that is free together with the next two."""
    while True:
        with closing(socket.socket()) as first, closing(socket.socket()) as second, closing(socket.socket()) as third:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                third.bind(("127.0.0.1", port + 2))
            except (OSError, OverflowError):
                continue
            return port


def bench(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", "--alone", "--rounds", "1", "--seconds", "0.2", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def line(row_name: str, *rounds: dict[str, float]) -> Line:
    row = next(row for row in ROWS if row.name == row_name)
    taken: list[Round] = [{peer: Sample(value) for peer, value in one.items()} for one in rounds]
    return Line(row, taken)


@needs_linux
@needs_compiler
def test_a_tiny_round_gives_rows_and_no_errors(tmp_path):
    output = tmp_path / "result.json"
    done = bench("--rows", "paced", "small", "large", "--port", free_ports(), "--output", output)
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())["rows"]
    assert set(rows) == {"paced", "small", "large"}
    for row in rows.values():
        assert row["rounds"][0]["companion"]["proxy_cpu_s"] > 0
        assert row["rounds"][0]["companion"]["answers"] > 0


@needs_linux
@needs_compiler
def test_pages_and_filters_are_measured_on_a_store_of_any_size(tmp_path):
    output = tmp_path / "result.json"
    rows = ("insert", "list", "filter")
    done = bench("--rows", *rows, "--exchanges", 500, "--port", free_ports(), "--output", output)
    assert json.loads(output.read_text())["exchanges"] == 500, done.stderr
    seen = {name: row["rounds"][0]["companion"] for name, row in json.loads(output.read_text())["rows"].items()}
    assert set(seen) == set(rows)
    assert seen["insert"]["exchanges"] == 500
    assert {"first_p50_ms", "deep_p50_ms", "deep_cpu_ms"} <= set(seen["list"])
    assert {f"{name}_p50_ms" for name in FILTERS} <= set(seen["filter"])


def test_a_store_is_made_once_and_read_like_any_other(tmp_path):
    path = store(tmp_path, 2_000)
    made = path.stat().st_mtime_ns
    assert store(tmp_path, 2_000).stat().st_mtime_ns == made
    records = Records(path)
    newest = records.list_exchanges(Filters(failed=True), limit=1000).items
    assert 20 < len(newest) < 120
    assert {each.outcome for each in newest} == {"error", "truncated", "rejected"}
    detail = records.exchange(records.list_exchanges(Filters(outcomes=("failed over",))).items[0].id)
    assert detail is not None
    assert [each.number for each in detail.attempts] == list(range(1, 1 + (detail.exchange.attempts or 0)))
    assert detail.attempts[-1].endpoint == detail.exchange.endpoint
    assert integrity(path) == [("ok",)]
    records.close()


def integrity(path: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall()


def test_the_exchanges_are_the_mixture_that_is_promised():
    made = list(Generator(20_000).exchanges())
    ids = [row["id"] for row, _ in made]
    assert ids == sorted(set(ids))
    assert 1.05 < sum(len(tries) for _, tries in made) / len(made) < 1.15
    failed = sum(row["outcome"] in {"error", "truncated", "rejected"} for row, _ in made) / len(made)
    assert 0.025 < failed < 0.035
    for name, count in (("endpoint", 8), ("model", 12), ("client", 20)):
        assert len({row[name] for row, _ in made}) == count
    assert 700 < len({row["session"] for row, _ in made}) < 900
    assert all(row.keys() <= set(exchanges.c.keys()) for row, _ in made)
    assert all(each.keys() <= set(attempts.c.keys()) for _, tries in made for each in tries)


def test_no_exchanges_are_too_few():
    done = bench("--rows", "list", "--exchanges", 0)
    assert done.returncode == 2
    assert "--exchanges must be above 0" in done.stderr


def test_litellm_is_asked_where_the_rows_are_about_it():
    assert set(litellm.ROWS) <= {row.name for row in ROWS if not row.ours}


@needs_linux
def test_a_busy_port_is_refused_and_its_holder_named():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        done = bench("--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr


@needs_linux
def test_a_port_shared_by_reuseport_is_busy_too():
    with closing(socket.socket()) as taken:
        taken.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BenchError) as refused:
            refuse_busy_port(taken.getsockname()[1])
    assert refused.value.code == 2


@needs_linux
def test_the_time_and_memory_of_children_count():
    child = "sum(range(10**6)); print(flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first, second = family(process.pid)
        assert first == process.pid
        assert cpu_seconds(first) > cpu_seconds(second) > 0
        assert resident_megabytes(first) > resident_megabytes(second) > 0
        process.communicate(b"\n")


def test_a_ratio_is_the_median_of_the_rounds_own_ratios():
    rounds = {"nginx": 10.0, "companion": 15.0}, {"nginx": 40.0, "companion": 64.0}, {"nginx": 10.0, "companion": 30.0}
    assert line("paced", *rounds).ratio("companion") == 1.6


@pytest.mark.parametrize(
    ("ours", "verdict", "done"), [(17.0, "OK", True), (21.6, "MISS by 20%", True), (24.0, "MISS by 33%", False)]
)
def test_only_a_miss_of_more_than_a_quarter_fails(ours, verdict, done):
    judged = line("paced", {"nginx": 10.0, "companion": ours})
    assert (judged.verdict, judged.done) == (verdict, done)


def test_an_absolute_bar_needs_no_nginx():
    assert line("start", {"companion": 0.5}).verdict == "OK"
    assert line("paced", {"companion": 0.5}).verdict == ""


def test_the_table_has_a_line_for_each_row():
    drawn = table([line("paced", {"nginx": 10.0, "companion": 15.0}), line("start", {"nginx": 0.01, "companion": 2.0})])
    assert "15 (1.50 x)" in drawn
    assert "MISS by 186%" in drawn
    assert len({len(row) for row in drawn.splitlines()}) == 1


@pytest.mark.parametrize("size", [2048, 153_600])
def test_a_request_is_valid_and_exactly_as_long_as_asked(size):
    head, _, body = request(size, stream=True, tokens=7).partition(b"\r\n\r\n")
    assert len(body) == size
    assert f"content-length: {size}".encode() in head
    question = json.loads(body)
    assert (question["stream"], question["max_tokens"]) == (True, 7)


def test_the_streams_events_are_those_that_are_expected():
    answers = Answers()
    assert answers.stream(9).count(b"event: content_block_delta") == 9
    assert answers.stream(9).count(b"\n\n") == 15
    assert json.loads(answers.whole)["stop_reason"] == "end_turn"
