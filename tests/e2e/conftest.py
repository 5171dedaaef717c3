"""The whole program as it runs: under the loop that the command line takes, and without a line of log to print."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from companion.net.posix import new_event_loop
from companion.observe import log


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"as served": new_event_loop}


@pytest.fixture(autouse=True)
def _silent():
    log.silence()
    yield
    structlog.reset_defaults()
