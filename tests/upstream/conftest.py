"""The client runs under uvloop and under plain asyncio; the other rooms do not care."""

import asyncio
from collections.abc import Callable

import pytest

from tests.upstream.wire import loops


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    networked = item.path.stem.startswith(("test_transport", "test_pool"))
    return loops() if networked else {"asyncio": asyncio.new_event_loop}
