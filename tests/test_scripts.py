"""The scripts say what is missing, in a sentence, before they do anything."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci/run"] if path.is_file())

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for a POSIX shell")


def tools(folder: Path, *names: str) -> Path:
    """A folder with these programs and no others."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def run(script: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "VIRTUAL_ENV"}}
    return subprocess.run(
        ["/bin/sh", script, *arguments], env={**ours, **environ}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def clone(tmp_path):
    """The scripts, in a checkout that was never set up."""
    shutil.copytree(ROOT / "scripts", tmp_path / "clone" / "scripts")
    return tmp_path / "clone"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_valid_and_stops_at_its_first_error(script):
    first, *_ = script.read_text().splitlines()
    shell = "bash" if "bash" in first else "sh"
    assert subprocess.run([shell, "-n", script], check=False).returncode == 0
    assert script.name == "_env" or "\nset -eu" in script.read_text()


@pytest.mark.parametrize("script", ["run", "test", "check", "bench"])
def test_without_python_they_ask_for_it(clone, tmp_path, script):
    path = tools(tmp_path / "bin", "sh", "dirname")
    done = run(clone / "scripts" / script, PATH=str(path))

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Python 3.11 or newer is needed" in done.stderr


def test_a_python_that_is_too_old_does_not_count(clone, tmp_path):
    path = tools(tmp_path / "bin", "sh", "dirname")
    (path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (path / "python3").chmod(0o755)

    assert run(clone / "scripts/run", PATH=str(path)).returncode == 2


def test_without_ensurepip_the_package_to_install_is_named(clone, tmp_path):
    path = tools(tmp_path / "bin", "sh", "dirname")
    python = path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = run(clone / "scripts/run", PATH=str(path))

    assert done.returncode == 2
    assert "sudo apt install python3-venv" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_claude_code_that_is_not_pinned_is_not_fetched(tmp_path):
    done = run(ROOT / "scripts/_claude", "0.0.1", COMPANION_CACHE=str(tmp_path))

    assert done.returncode == 1
    assert done.stdout == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="its tests are for Linux")
def test_without_npm_claude_code_cannot_be_fetched(tmp_path):
    path = tools(tmp_path / "bin", "sh", "uname", "mkdir")
    done = run(ROOT / "scripts/_claude", "2.1.330", PATH=str(path), COMPANION_CACHE=str(tmp_path / "cache"))

    assert done.returncode == 1
    assert "npm is needed" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="its tests are for Linux")
def test_a_claude_code_of_another_version_is_not_taken(tmp_path):
    machine = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    fake = tmp_path / f"claude-2.1.330-{machine}" / "claude"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 2.1.331\n")
    fake.chmod(0o755)
    done = run(ROOT / "scripts/_claude", "2.1.330", COMPANION_CACHE=str(tmp_path))

    assert done.returncode == 1
    assert "is not version 2.1.330" in done.stderr
