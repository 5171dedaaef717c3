"""docs/reference/api.md is what the program makes, and every operation is on it."""

from pathlib import Path

from companion.admin import reference
from tests.admin.client import Admin
from tests.support.proxy import running

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def test_the_page_of_the_api_is_what_the_program_makes():
    assert PAGE.read_text("utf-8") == reference.page()


async def test_every_operation_is_on_the_page(tmp_path):
    page = PAGE.read_text("utf-8")
    async with running(tmp_path) as proxy:
        document = (await Admin(proxy.url).get("/openapi.json")).json
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"| `{method.upper()} {path}` |" in page
