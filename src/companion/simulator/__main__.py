"""The simulator alone: `python -m companion.simulator --port 8090 --fault status:529 --times 2`."""

import argparse
import asyncio
import json
import signal
import ssl
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from companion.simulator import faults
from companion.simulator.exchange import Reply
from companion.simulator.received import Received
from companion.simulator.scripts import SCRIPTS
from companion.simulator.server import Simulator
from companion.simulator.words import seconds

_LINES_WAITING: Final = 10_000
_KEEP: Final = 500


class Ledger:
    """Writes one JSON line a request, in a thread; when it cannot follow, the oldest lines are dropped."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: deque[str] = deque(maxlen=_LINES_WAITING)
        self._news = asyncio.Event()

    def add(self, received: Received) -> None:
        self._lines.append(json.dumps(received.as_json()) + "\n")
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            await self.flush()

    async def flush(self) -> None:
        self._news.clear()
        lines = "".join(self._lines)
        self._lines.clear()
        await asyncio.to_thread(_write, self._out, lines)


def _write(out: TextIO, text: str) -> None:
    out.write(text)
    out.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C. Exit code 2 when it cannot start."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        print(listing())
        return 0
    try:
        with _opened(arguments.ledger) as out:
            asyncio.run(_run(arguments, out))
    except OSError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    return 0


def listing() -> str:
    """All faults and scripts, one line each."""
    lines = ["faults (--fault):"]
    lines += [f"  {faults.usage(name):<64} {faults.about(name)}" for name in sorted(faults.FAULTS)]
    lines += ["", "scripts ([[script:NAME key=value]] in a prompt, or --script; pace=20ms goes with each):"]
    for name, script in SCRIPTS.items():
        words = " ".join([name, *(f"{key}={value}" for key, value in script.defaults.items())])
        lines.append(f"  {words:<64} {script.about}")
    return "\n".join(lines)


async def _run(arguments: argparse.Namespace, out: TextIO) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    ledger = Ledger(out)
    tls = await asyncio.to_thread(_tls, arguments.tls_cert, arguments.tls_key)
    simulator = Simulator(
        port=arguments.port,
        tls=tls,
        script=arguments.script,
        pace=arguments.pace,
        keep=_KEEP,
        settled=ledger.add,
    )
    simulator.queue(*arguments.fault, times=arguments.times)
    async with simulator:
        print(f"simulator listening on {simulator.url}", flush=True)
        writing = asyncio.create_task(ledger.run())
        await stop.wait()
    writing.cancel()
    await ledger.flush()


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def _opened(path: Path | None) -> TextIO:
    if path is None:
        return open(sys.stdout.fileno(), "w", encoding="utf-8", closefd=False)
    return path.open("a", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m companion.simulator", description="A scripted upstream.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--fault", type=_fault, action="append", default=[], metavar="NAME[:ARGUMENT…]")
    parser.add_argument("--times", type=int, default=None, help="how often each fault is given (default: for ever)")
    parser.add_argument("--script", default="hi", help="of conversations that name none: NAME key=value …")
    parser.add_argument("--pace", type=seconds, default=0.0, help="time an event, such as 20ms")
    parser.add_argument("--tls-cert", type=Path, help="a PEM file; the key is in it or in --tls-key")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--ledger", type=Path, help="write the ledger's JSON lines here (default: stdout)")
    parser.add_argument("--list", action="store_true", help="list all faults and scripts")
    return parser


def _fault(text: str) -> Reply:
    try:
        return faults.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
