"""What holds for all tests: the tracebacks of a log that nobody configured are plain.

Those that structlog makes with rich show every local variable, which takes seconds where an App is among them.
"""

import pytest
import structlog
from structlog.dev import ConsoleRenderer, plain_traceback


@pytest.fixture(autouse=True)
def _plain_tracebacks():
    if not structlog.is_configured():
        processors = structlog.get_config()["processors"][:-1]
        plain = ConsoleRenderer(colors=False, exception_formatter=plain_traceback)
        structlog.configure(processors=[*processors, plain])
