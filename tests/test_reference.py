"""Reference pages that are made from the program are what the program makes."""

from pathlib import Path

from companion.errors import FAULTS, reference

DOCS = Path(__file__).parent.parent / "docs" / "reference"


def test_the_page_of_faults_is_the_table():
    assert (DOCS / "faults.md").read_text("utf-8") == reference()
    assert all(f"| `{kind}` |" in reference() for kind in FAULTS)
