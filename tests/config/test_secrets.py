"""A secret is found where the file says, or takes its endpoint out with the reason; it is never shown."""

import copy
import sys
from pathlib import Path

import pytest

from companion.config.secrets import SERVICE, resolve
from tests.config.files import SECRET


def why(reference: str, folder: Path) -> str:
    found = resolve(reference, folder)
    assert found.value is None
    assert found.problem is not None
    return found.problem


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in {"KEY": "k", "OTHER": " o ", "EMPTY": " ", "NESTED": "${KEY}", "BREAK": "a\nb"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GONE", raising=False)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("plain", "plain"),
        ("${KEY}", "k"),
        ("a-${KEY}-${OTHER}-b", "a-k-o-b"),
        ("${ KEY }", "k"),
        ("${NESTED}", "${KEY}"),
        ("a$b", "a$b"),
        ("$1", "$1"),
        ("{KEY}", "{KEY}"),
        ("${KEY", "${KEY"),
    ],
)
def test_a_variable_is_found_anywhere_in_a_text(tmp_path, reference, value):
    found = resolve(reference, tmp_path)
    assert (found.value, found.problem) == (value, None)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${GONE}", "the environment variable GONE is not set"),
        ("a${KEY}${GONE}", "the environment variable GONE is not set"),
        ("${EMPTY}", "the environment variable EMPTY is empty"),
        ("${}", "what stands in ${…} is not the name of an environment variable"),
        ("${A-B}", "what stands in ${…} is not the name of an environment variable"),
        ("$KEY", "an environment variable is written with braces: ${KEY}"),
        ("${BREAK}", "its value holds a line break or another character that no header can hold"),
    ],
)
def test_a_variable_that_gives_nothing_says_why(tmp_path, reference, said):
    assert why(reference, tmp_path) == said


@pytest.mark.parametrize("content", [b"k", b"k\n", b"k\r\n", b"\xef\xbb\xbfk\n", b"\n  k  \nsecond line\n"])
def test_a_file_gives_its_first_line(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    for reference in (f"file:{tmp_path}/key", "file:key", "file: ./key", "file:~/key"):
        assert resolve(reference, tmp_path).value == "k"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "{}/gone cannot be read: no such file or directory"),
        ("", "{} cannot be read: is a directory"),
        ("empty", "{}/empty is empty"),
        ("latin", "{}/latin is not UTF-8 text"),
        ("empty/x", "{}/empty/x cannot be read"),
        ("~no-such-user/x", "{}/~no-such-user/x cannot be read"),
    ],
)
def test_a_file_that_gives_nothing_says_why(tmp_path, name, said):
    (tmp_path / "empty").write_text(" \n\n")
    (tmp_path / "latin").write_bytes(b"\xe9")
    assert why(f"file:{name}", tmp_path).startswith(f"the file {said.format(tmp_path)}")


def test_without_its_package_the_keyring_is_named_as_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert why("keyring:name", tmp_path) == "keyring: needs the package keyring, which is not installed"


KEYRING = """
def get_password(service, name):
    if name == "locked":
        raise RuntimeError("the secret is sk-ant-never-to-be-seen")
    return {"mine": f" of {service} "}.get(name)
"""


def test_the_keyring_is_asked_and_what_it_says_of_a_secret_is_not_repeated(tmp_path, monkeypatch):
    (tmp_path / "keyring.py").write_text(KEYRING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    assert resolve("keyring: mine", tmp_path).value == f"of {SERVICE}"
    assert why("keyring:other", tmp_path) == f"the keyring has no password for other of the service {SERVICE}"
    assert why("keyring:locked", tmp_path) == "the keyring cannot be asked for locked: RuntimeError"
    monkeypatch.delitem(sys.modules, "keyring")


def test_a_credential_never_shows_its_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY", SECRET)
    (tmp_path / "key").write_text(SECRET)
    for reference in (SECRET, "${KEY}", "file:key"):
        found = resolve(reference, tmp_path)
        assert found.value == SECRET
        assert SECRET not in f"{found!r} {found} {copy.copy(found)!r} {(found,)}"
    assert SECRET not in repr(resolve(f"{SECRET}${{GONE}}", tmp_path))


def test_a_credential_cannot_be_changed(tmp_path):
    with pytest.raises(AttributeError):
        setattr(resolve("x", tmp_path), "value", "y")  # noqa: B010 - mypy knows that it cannot be set
