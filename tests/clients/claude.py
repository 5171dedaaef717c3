"""The real Claude Code CLI as a child process: where it is found, how it is started, and what a run came to."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest

NEWER: Final = "2.1.330"
OLDER: Final = "2.1.197"
# No run takes a tenth of it; a client that backs off for minutes must not hold the tests up.
_PATIENCE: Final = 60
_FINDER: Final = Path(__file__).parents[2] / "scripts" / "_claude"


@dataclass(frozen=True)
class Run:
    """How a run ended. `text` is its result, `lines` are the events of its stream-json, `said` is its stderr."""

    code: int | None
    text: str | None
    lines: list[dict[str, Any]]
    said: str

    @property
    def retries(self) -> int:
        """How often the user was told that the client tries again."""
        return sum(line.get("subtype") == "api_retry" for line in self.lines)


@lru_cache
def binary(version: str) -> str:
    """Where scripts/test or scripts/_claude say that this version is. Without it a test is skipped, and fails in CI."""
    told = os.environ.get("CLAUDE_" + version.replace(".", "_"))
    if told:
        return told
    reason = "its tests drive it on Linux only"
    if sys.platform == "linux":
        found = subprocess.run([_FINDER, version], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
        reason = found.stderr.strip()
    if os.environ.get("CI"):
        pytest.fail(f"Claude Code {version} is missing: {reason}")
    pytest.skip(f"Claude Code {version} is missing: {reason}")


class Claude:
    """One installation with a home and an empty project of its own below `folder`; `project` is where it works."""

    def __init__(self, version: str, folder: Path) -> None:
        self._binary = binary(version)
        self._home = folder / "home"
        self.project = folder / "project"
        self._home.mkdir(parents=True)
        self.project.mkdir()

    async def run(self, url: str, script: str, **environment: str) -> Run:
        """Play a script of the simulator to its end; `dir` is filled in with the project."""
        async with self.started(url, script, **environment) as process:
            try:
                async with asyncio.timeout(_PATIENCE):
                    out, said = await process.communicate()
            except TimeoutError:
                pytest.fail(f"the client was still at it after {_PATIENCE} s")
        lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
        result = next((line.get("result") for line in lines if line["type"] == "result"), None)
        return Run(process.returncode, result, lines, said.decode())

    @asynccontextmanager
    async def started(self, url: str, script: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A run under way; it is killed on leaving if it has not ended by itself."""
        process = await asyncio.create_subprocess_exec(
            self._binary,
            "-p",
            f"do it [[script:{script} dir={self.project}]]",
            "--output-format=stream-json",
            "--verbose",
            "--include-partial-messages",
            "--dangerously-skip-permissions",
            cwd=self.project,
            env=self._environment(url) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    def _environment(self, url: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self._home),
            "IS_SANDBOX": "1",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": "the-clients-own",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
