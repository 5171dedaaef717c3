"""The reference page is made from the models, and is as it was made."""

import subprocess
import sys
from pathlib import Path

from companion.config import reference
from tests.config.files import every_key

PAGE = Path(__file__).parents[2] / "docs/reference/configuration.md"


def test_the_page_is_what_the_models_say():
    assert PAGE.read_text(encoding="utf-8") == reference.page()


def test_the_module_prints_the_page():
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "companion.config.reference"], capture_output=True, check=True
    )
    assert done.stdout.decode() == reference.page()


def test_every_key_has_a_meaning_and_stands_on_the_page():
    page = reference.page()
    for key, meaning in every_key():
        assert meaning, key
        assert f"`{key}`" in page


def test_reading_settings_needs_no_yaml_before_there_is_a_file():
    code = (
        "import sys, companion.config.file; "
        "print(sorted({'ruamel.yaml', 'ssl', 'httptools', 'keyring', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
