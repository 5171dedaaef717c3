"""`python -m bench`: measure ours beside nginx and tell whether the bars are met.

Exit codes: 0 met (or missed by no more than 25 %), 1 missed or failed, 2 cannot start.
"""

import argparse
import functools
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from bench import peers
from bench.litellm import LITELLM, install, litellm
from bench.litellm import ROWS as FOR_LITELLM
from bench.load import BUILD, HERE, compile_program
from bench.machine import (
    LOAD_CORE,
    BenchError,
    facts,
    first_line_of,
    on_core,
    refuse_busy_port,
    refuse_leftovers,
    usable,
)
from bench.peers import NGINX, OURS, Make, Place, Setting
from bench.records import EXCHANGES
from bench.report import Line, Round, record, table
from bench.row import Bench, Row
from bench.rows import ROWS
from bench.terminator import make_certificates

LATEST = HERE / "results" / "latest.json"


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure what the proxy costs, beside nginx.")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (default: 3)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measured part (default: 3)")
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--proxy", action="append", default=[], metavar="NAME=COMMAND", help="another peer")
    parser.add_argument("--litellm", action="store_true", help="LiteLLM too (installed in build/ once)")
    parser.add_argument("--exchanges", type=int, default=EXCHANGES, help="how many the rows about records have")
    parser.add_argument("--alone", action="store_true", help="only ours: no nginx, no ratios")
    parser.add_argument("--port", type=int, default=18080, help="of the proxy; the upstream has the next two")
    parser.add_argument(
        "--output", type=Path, help="where the JSON goes (default: results/latest.json if all rows run)"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0 or options.exchanges < 1:
        parser.error("--rounds, --seconds and --exchanges must be above 0")
    return options


def _makes(options: argparse.Namespace, place: Place) -> dict[str, Make]:
    """How each peer is made, by its name."""
    made: dict[str, Make] = {} if options.alone else {NGINX: functools.partial(peers.nginx, place)}
    made[OURS] = functools.partial(peers.companion, place)
    if options.litellm:
        made[LITELLM] = functools.partial(litellm, place)
    for word in options.proxy:
        made[word.partition("=")[0]] = functools.partial(peers.other, word, place)
    return made


def _rounds(bench: Bench, row: Row, makes: dict[str, Make], count: int) -> Line:
    """In each round every peer once, the order turned round each time."""
    names = [OURS] if row.ours else [name for name in makes if name != LITELLM or row.name in FOR_LITELLM]
    rounds: list[Round] = []
    for number in range(count):
        order = names if number % 2 == 0 else names[::-1]
        taken = {name: row.measure(bench, makes[name]) for name in order}
        rounds.append({name: taken[name] for name in names})
        figures = ", ".join(f"{name} {sample.value:.3g}" for name, sample in rounds[-1].items())
        print(f"{row.name} {number + 1}/{count}: {figures} ({row.unit})", file=sys.stderr, flush=True)
    return Line(row, rounds)


def _circumstances(options: argparse.Namespace, makes: dict[str, Make]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": first_line_of("git", "-C", str(HERE), "describe", "--always", "--dirty"),
        "machine": facts(),
        "versions": {name: make(Setting()).version for name, make in makes.items()},
        "compiler": first_line_of("cc", "--version"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "exchanges": options.exchanges,
    }


def _save(options: argparse.Namespace, document: dict[str, Any]) -> None:
    complete = len(options.rows) == len(ROWS) and not options.alone and options.exchanges == EXCHANGES
    path: Path | None = options.output or (LATEST if complete else None)
    if path is not None:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _prepare(options: argparse.Namespace) -> None:
    if not usable():
        raise BenchError("Linux and two cores are needed, one for the load and one for the proxy", code=2)
    refuse_leftovers(BUILD)
    for port in range(options.port, options.port + 3):
        refuse_busy_port(port)
    compile_program()
    if options.litellm:
        install()


def _measure(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], list[Line]]:
    place = Place(folder, options.port, folder / "ca.pem")
    make_certificates(folder, place.ca)
    makes = _makes(options, place)
    circumstances = _circumstances(options, makes)
    bench = Bench(place, options.seconds, options.exchanges)
    with on_core(LOAD_CORE):
        return circumstances, [_rounds(bench, row, makes, options.rounds) for row in ROWS if row.name in options.rows]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table; returns the exit code."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _prepare(options)
        with TemporaryDirectory(dir=BUILD, prefix="run-") as folder:
            circumstances, lines = _measure(options, Path(folder))
    except BenchError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return error.code
    print(table(lines))
    _save(options, {**circumstances, "rows": record(lines)})
    return 0 if all(line.done for line in lines) else 1


def _stop(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
