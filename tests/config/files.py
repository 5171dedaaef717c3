"""Configuration files as tests write them."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from companion.config import schema
from companion.config.file import load
from companion.config.models import Settings
from companion.errors import ConfigError

SECRET = "sk-ant-never-to-be-seen"


def one(*lines: str, url: str = "https://x.example", auth: str = "{type: none}") -> str:
    """A file with one endpoint; further `lines` of it begin in line 5."""
    keys = ("name: a", f"url: {url}", f"auth: {auth}", *lines)
    return "endpoints:\n  - " + "\n    ".join(keys) + "\n"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def settings(folder: Path, content: str | bytes) -> Settings:
    return load(written(folder, content)).settings


def refused(folder: Path, content: str | bytes) -> list[str]:
    """Every problem with the file, as people see it."""
    with pytest.raises(ConfigError) as caught:
        load(written(folder, content))
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    return [str(problem) for problem in caught.value.problems]


def every_key(model: type[BaseModel] = Settings) -> Iterator[tuple[str, str]]:
    """Every key that the file can hold, with what it means."""
    for key, info in schema.keys(model).items():
        yield key, info.description or ""
        if (inner := schema.section(info)) is not None:
            yield from every_key(inner)
