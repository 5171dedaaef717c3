"""Whatever is wanted of whatever file: the new text means just that, and what needs no change has none."""

import pytest

from companion.config.editing.matching import same
from companion.config.editing.rewriting import rewritten
from companion.config.source import Source
from tests.config.editing.documents import Documents


def meaning(text: str) -> object:
    source = Source(text, "x")
    assert source.problems == []
    return source.data or {}


@pytest.mark.parametrize("seed", range(50))
def test_any_file_can_be_made_to_mean_anything(seed):
    documents = Documents(seed)
    text, content = documents.file()
    assert same(meaning(text), content), "the test writes what it means"
    assert rewritten(text, content, "x") == text
    for want in (documents.changed(content), documents.sections(5), {}):
        assert same(meaning(rewritten(text, want, "x")), want)
