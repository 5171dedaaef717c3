"""The clients under test, each by a fixture."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.claude import Claude


@pytest.fixture
def claude(tmp_path: Path) -> Callable[..., Claude]:
    """Makes a Claude Code of the given version, each with a home and a project of its own."""

    def make(version: str, name: str = "claude") -> Claude:
        return Claude(version, tmp_path / name)

    return make
