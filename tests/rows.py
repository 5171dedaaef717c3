"""Runs the tests that a table's rows name, each with its row taken out; prints the exit codes as JSON."""

import importlib
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import pytest

# Each table with the number of parts that its rows are run in.
TABLES = {
    "companion.errors:FAULTS": 4,
    "companion.proxy.aftergate:AFTER_GATE": 2,
    "companion.protocol.grammar:GRAMMAR": 1,
    "companion.protocol.shapes:SHAPES": 1,
}


def _table(name: str) -> dict[Any, Any]:
    module, _, attribute = name.partition(":")
    found: dict[Any, Any] = getattr(importlib.import_module(module), attribute)
    return found


def _shown(key: Any) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def rows(table: str) -> dict[str, str]:
    """The test that each row names."""
    return {_shown(key): row.test for key, row in _table(table).items()}


@contextmanager
def without(table: str, key: Any) -> Iterator[None]:
    """The table without one row."""
    found = _table(table)
    order = list(found.items())
    del found[key]
    try:
        yield
    finally:
        found.clear()
        found.update(order)


def run(table: str, part: int) -> dict[str, int]:
    """Exit codes by row, for every n-th row of the table."""
    results = {}
    for number, (key, row) in enumerate(list(_table(table).items())):
        if number % TABLES[table] != part:
            continue
        with without(table, key), redirect_stdout(io.StringIO()):
            code = pytest.main(["-x", "-q", "--no-cov", "-p", "no:xdist", "--tb=no", "--timeout=30", row.test])
        results[_shown(key)] = int(code)
    return results


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))
