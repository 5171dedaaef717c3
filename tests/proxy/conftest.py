"""The server runs under uvloop and under plain asyncio; the other rooms do not care."""

import asyncio
from collections.abc import Callable

import pytest

from companion.net.posix import new_event_loop


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem.startswith("test_server"):
        loops["fastest"] = new_event_loop
    return loops
