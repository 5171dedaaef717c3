"""The page of repairs is what the table makes."""

from pathlib import Path

from companion.protocol.repairs import NAMES
from companion.protocol.repairs.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "repairs.md"


def test_the_page_of_repairs_is_the_table():
    assert PAGE.read_text("utf-8") == reference()
    assert all(f"\n| `{name}` |" in reference() for name in NAMES)
