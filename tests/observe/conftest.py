import logging

import pytest
import structlog

from companion.observe import log


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """Logging is a matter of the whole process: each test leaves it as it found it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    log.silence()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
