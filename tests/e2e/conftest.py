"""The whole program in this process: under the loop that the command line takes, and without lines of log to print."""

import asyncio
from collections.abc import Callable

import pytest
import structlog

from companion.net.posix import new_event_loop
from companion.observe import log


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    alone = item.path.stem in {
        "test_canary",
        "test_killed",
        "test_full",
        "test_retention",
    }  # there the program is another process
    return {"asyncio": asyncio.new_event_loop} if alone else {"as served": new_event_loop}


@pytest.fixture(autouse=True)
def _silent():
    log.silence()
    yield
    structlog.reset_defaults()
