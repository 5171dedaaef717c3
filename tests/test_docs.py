"""What is written must be so: every command, option, file, link, setting and sentence in the documentation exists."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from companion import __version__
from companion.cli import app
from companion.cli.client import line, variables
from companion.config.file import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
COMMANDS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^([ ]*)```{language}\n(.*?)^\1```", text(page), re.MULTILINE | re.DOTALL)
    return ["\n".join(row.removeprefix(indent) for row in block.splitlines()) for indent, block in found]


def options(command: str) -> set[str]:
    return {
        word for each in COMMANDS[command].params for word in each.opts if word.startswith("--") and not each.hidden
    }


def typed(page: Path) -> Iterator[list[str]]:
    """The arguments of every `companion` that a reader could type, in blocks and in running text."""
    lines = [row for block in blocks(page, "(?:sh|ini|fish)") for row in block.splitlines()]
    for row in lines + re.findall(r"`([^`\n]+)`", text(page)):
        for words in re.findall(r"(?:^|[\s/(=])(?:companion|scripts/run)((?: [^|)\"`#\n]+)?)", row):
            yield words.split()


def links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text(page)) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]

    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_that_is_written_can_be_typed(page):
    for words in typed(page):
        command = words[0] if words and not words[0].startswith("-") else "serve"
        if command.isupper() or words[:1] == ["--version"]:
            continue
        assert command in COMMANDS, words
        given = words[: words.index("--")] if "--" in words else words
        assert {word for word in given if word.startswith("--")} <= options(command), words


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_and_option_is_documented(command):
    reference = text(ROOT / "docs/reference/commands.md")
    section = reference.partition(f"\n## {command}\n")[2].partition("\n## ")[0]

    assert section
    assert f"`companion {command}" in text(ROOT / "README.md")
    assert set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE)) == options(command)


def test_the_variables_in_the_readme_are_those_that_are_printed():
    shown = [
        row for block in blocks(ROOT / "README.md", "sh") for row in block.splitlines() if row.startswith("export ")
    ]

    chosen = variables("http://127.0.0.1:8080", own_credential=False)
    assert shown == [line(key, value, "sh") for key, value in chosen.items()]


def test_every_variable_is_explained():
    reference = text(ROOT / "docs/reference/commands.md")

    for key in [*variables("", own_credential=False), "NO_PROXY"]:
        assert f"| `{key}` |" in reference


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_configuration_that_is_shown_can_be_used(page, tmp_path):
    for block in blocks(page, "yaml"):
        if block[0] != " ":
            path = tmp_path / "config.yaml"
            path.write_text(block, encoding="utf-8")
            load(path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_is_named_is_there(page):
    named = re.findall(r"`((?:scripts|docs|src|tests|bench|\.ci)/[\w./-]+)`", text(page))

    for path in named:
        assert (ROOT / path).exists(), path


def test_every_script_is_documented_and_can_be_run():
    contributing = text(ROOT / "CONTRIBUTING.md")
    for script in (ROOT / "scripts").iterdir():
        assert f"`scripts/{script.name}" in contributing or script.name == "_env"
        assert os.access(script, os.X_OK) or script.name == "_env"


def test_make_and_ci_only_call_the_scripts():
    called = set(re.findall(r"^\t(scripts/\w+)", text(ROOT / "Makefile"), re.MULTILINE))

    assert called == {f"scripts/{script}" for script in ("run", "test", "check", "bench")}
    assert [shlex.split(row) for row in text(ROOT / ".ci/run").splitlines()[-2:]] == [
        ["scripts/check"],
        ["scripts/test"],
    ]


def test_every_message_in_troubleshooting_is_one_of_the_programs():
    page = text(ROOT / "docs/how-to/troubleshooting.md")
    messages = re.findall(r"^### (.+)$", page, re.MULTILINE)

    assert messages
    for message in messages:
        for part in message.split("…"):
            assert part.strip() in SOURCE, message


def test_every_event_of_the_log_is_documented():
    events = set(re.findall(r"(?:_log\.\w+|\btold)\(\s*\"([a-z_ ]+)\"", SOURCE))

    assert {"circuit", "stopping"} <= events
    documented = set(re.findall(r"`([a-z_ ]+)`", text(ROOT / "docs/reference/log.md")))
    assert events <= documented


def test_the_changelog_is_kept():
    changelog = text(ROOT / "CHANGELOG.md")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)

    assert "## [Unreleased]" in changelog
    assert released == sorted(released, key=lambda each: [*map(int, each.split("."))], reverse=True)
    assert not released or released[0] == __version__
