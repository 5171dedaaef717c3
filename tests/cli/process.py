"""The real command in a process of its own, in a home of its own."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

COMMAND = (sys.executable, "-m", "companion")


def home(folder: Path, **environ: str) -> dict[str, str]:
    """An environment in which `folder` is home, and nothing is set that the command looks at."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTHROPIC_", "XDG_")) and name.lower() != "no_proxy" and name != "COMPANION_CONFIG"
    }
    return {**ours, "HOME": str(folder), "USERPROFILE": str(folder), **environ}


@dataclass
class Ended:
    code: int
    out: str
    err: str


async def companion(*arguments: str, cwd: Path, stdin: bytes = b"", **environ: str) -> Ended:
    """Run it to its end."""
    return await command(*COMMAND, *arguments, cwd=cwd, stdin=stdin, **environ)


async def command(*words: str, cwd: Path, stdin: bytes = b"", **environ: str) -> Ended:
    """Run any command to its end, in that home."""
    async with started(*words, cwd=cwd, **environ) as process:
        return await ended(process, stdin)


@asynccontextmanager
async def started(*words: str, cwd: Path, **environ: str) -> AsyncIterator[Process]:
    """Start any command, in that home; in the end it is told to stop if it still runs, and killed if it does not."""
    process = await asyncio.create_subprocess_exec(
        *words, cwd=cwd, env=home(cwd, **environ), stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        await stopped(process)


async def stopped(process: Process) -> None:
    try:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(b""), 20)
    except TimeoutError:
        process.kill()
        await process.wait()


async def ended(process: Process, stdin: bytes = b"") -> Ended:
    """Wait for its end, within reason."""
    async with asyncio.timeout(60):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def told(process: Process) -> str:
    """The next line on its stdout, within reason."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return (await process.stdout.readline()).decode().strip()


class Serving:
    """A `companion serve` that runs: what it said, its address, and what it logs from now on."""

    def __init__(self, process: Process, greeting: str) -> None:
        self.process = process
        self.greeting = greeting
        self.url = next(
            line.split()[1].rstrip(",") for line in greeting.splitlines() if line.strip().startswith("Proxy")
        )
        self.host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def signal(self, number: Signals) -> None:
        self.process.send_signal(number)

    async def logged(self, word: str) -> str:
        """Read the log until a line has this word in it."""
        assert self.process.stderr is not None
        async with asyncio.timeout(60):
            while line := (await self.process.stderr.readline()).decode():
                if word in line:
                    return line
        raise AssertionError(f"{word!r} was never logged")

    async def ended(self) -> Ended:
        return await ended(self.process)


@asynccontextmanager
async def serving(folder: Path, *arguments: str, **environ: str) -> AsyncIterator[Serving]:
    """Start the proxy and wait for its greeting."""
    async with started(*COMMAND, "serve", *arguments, cwd=folder, **environ) as process:
        greeting = ""
        while "Ctrl-C stops the proxy" not in greeting:
            line = await told(process)
            if not line and process.stdout is not None and process.stdout.at_eof():
                raise AssertionError(f"it did not start: {greeting}{(await ended(process)).err}")
            greeting += line + "\n"
        yield Serving(process, greeting)


def write_config(folder: Path, *endpoints: dict[str, Any], **sections: Any) -> Path:
    """A config.yaml with these endpoints, on a free port."""
    path = folder / "config.yaml"
    settings = {"server": {"port": 0, **sections.pop("server", {})}, "endpoints": list(endpoints), **sections}
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


def endpoint(name: str, url: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "auth": {"type": "api_key", "values": [f"sk-{name}"]}, **changes}
