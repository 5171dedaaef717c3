"""Every row of our tables is needed: with the row taken out, the test that it names fails.

A table is run in one subprocess, row after row, each in a pytest session of its own (`python -m tests.rows TABLE`).
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rows import TABLES, rows

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("table", "part"), [(table, part) for table, parts in TABLES.items() for part in range(parts)])
def test_no_row_can_go_unnoticed(table: str, part: int):
    done = subprocess.run(
        [sys.executable, "-m", "tests.rows", table, str(part)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    results: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    unnoticed = [row for row, exit_code in results.items() if exit_code != pytest.ExitCode.TESTS_FAILED]
    assert results
    assert unnoticed == []


@pytest.mark.parametrize("table", TABLES)
def test_every_row_names_a_test_that_exists(table: str):
    for row in rows(table).values():
        path, _, name = row.partition("::")
        text = (ROOT / path).read_text("utf-8")
        assert f"def {name.partition('[')[0]}(" in text, row


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_test_of_its_own(table: str):
    named = list(rows(table).values())
    assert len(named) == len(set(named))
