"""The program changes its file: judged first, kept in the history, replaced as a whole, and nobody's edit is lost."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import pytest

from companion.config import edit
from companion.config.edit import Conflict, Editor
from companion.config.file import MAX_FILE, load, write_default
from companion.config.history import FOLDER, KEPT
from companion.errors import ConfigError
from companion.net.posix import hold_alone
from tests.config.files import SECRET, one, written

NEW: dict[str, Any] = {"name": "b", "url": "https://b.example", "auth": {"type": "none"}}


def add_endpoint(name: str, data: dict[str, Any]) -> None:
    data["endpoints"].append(NEW | {"name": name})


def test_what_is_read_is_the_file_with_its_etag(tmp_path):
    path = written(tmp_path, one("weight: 2  # more"))
    document = Editor(path).read()
    assert document.text == path.read_text()
    assert document.data["endpoints"] == [
        {"name": "a", "url": "https://x.example", "auth": {"type": "none"}, "weight": 2}
    ]
    assert document.settings == load(path).settings
    assert document.etag == Editor(path).read().etag
    path.write_text(document.text + "\n")
    assert document.etag != Editor(path).read().etag


def test_a_file_that_cannot_be_used_is_read_with_its_problems(tmp_path):
    document = Editor(written(tmp_path, "server: {port: x}\n")).read()
    assert (document.data, document.settings) == ({"server": {"port": "x"}}, None)
    assert [str(each) for each in document.problems] == ["line 1, server.port: must be a whole number, not text"]
    document = Editor(written(tmp_path, "a: [")).read()
    assert (document.text, document.data, document.settings) == ("a: [", {}, None)
    assert document.problems


def test_an_edit_is_in_the_file_and_loaded(tmp_path):
    path = written(tmp_path, one("weight: 2  # more"))
    editor = Editor(path)
    document = editor.read()
    document.data["endpoints"].append(NEW)
    loaded = editor.write(document.data, if_match=document.etag, why="b added")
    assert [each.name for each in loaded.settings.endpoints] == ["a", "b"]
    assert path.read_text() == one("weight: 2  # more") + (
        "  - name: b\n    url: https://b.example\n    auth: {type: none}\n"
    )
    assert loaded == load(path)
    assert loaded.seen == load(path).seen


def test_the_first_file_takes_its_first_client_and_endpoint_and_keeps_every_comment(tmp_path):
    path = tmp_path / "config.yaml"
    write_default(path)
    before = path.read_text().splitlines()
    editor = Editor(path)
    editor.change(
        lambda data: data["access"]["clients"].append({"name": "ann", "token_hash": "sha256:" + "0" * 64}), why="x"
    )
    editor.change(lambda data: data.update(endpoints=[NEW]), why="y")
    loaded = load(path)
    assert [each.name for each in loaded.settings.access.clients] == ["ann"]
    assert [each.name for each in loaded.settings.endpoints] == ["b"]
    after = path.read_text().splitlines()
    assert [line for line in before if line not in after] == [next(line for line in before if "clients: []" in line)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"endpoints": [{"name": "a"}]}, "endpoints[0].url: is missing"),
        ({"x": 1}, "x: unknown key"),
        ({"server": {"host": "0.0.0.0"}}, "server.host: can be reached from other machines"),
        ({"logging": {"file": "\ud800"}}, "logging.file: must be"),
    ],
)
def test_what_would_not_be_right_is_refused_and_nothing_is_written(tmp_path, change, said):
    path = written(tmp_path, one())
    with pytest.raises(ConfigError) as caught:
        Editor(path).write(change, why="x")
    assert said in str(caught.value)
    assert path.read_text() == one()
    assert Editor(path).history() == ()
    assert {each.name for each in tmp_path.iterdir()} == {"config.yaml", FOLDER}


def test_a_file_that_is_no_yaml_is_not_changed(tmp_path):
    path = written(tmp_path, "a: [\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        Editor(path).write({}, why="x")
    with pytest.raises(ConfigError, match="is written twice"):
        Editor(written(tmp_path, "validation: strict\nvalidation: strict\n")).write({}, why="x")


def test_an_edit_may_mend_what_was_wrong(tmp_path):
    path = written(tmp_path, "server: {host: 0.0.0.0}  # everywhere\n")
    client = {"name": "ann", "token_hash": "sha256:" + "0" * 64}
    loaded = Editor(path).change(lambda data: data.update(access={"clients": [client]}), why="ann added")
    assert loaded.settings.server.host == "0.0.0.0"
    assert path.read_text().startswith("server: {host: 0.0.0.0}  # everywhere\naccess:\n  clients:\n    - name: ann\n")


def test_an_edit_of_what_has_changed_meanwhile_is_refused(tmp_path):
    path = written(tmp_path, one())
    editor = Editor(path)
    document = editor.read()
    path.write_text(one("weight: 3"))
    with pytest.raises(Conflict, match=r"config\.yaml was changed in the meantime"):
        editor.write(document.data, if_match=document.etag, why="x")
    with pytest.raises(Conflict, match=r"config\.yaml was changed in the meantime"):
        editor.write_text("", if_match=document.etag, why="x")
    with pytest.raises(Conflict, match=r"config\.yaml was changed in the meantime"):
        editor.change(dict.clear, if_match=document.etag, why="x")
    assert path.read_text() == one("weight: 3")


def test_an_edit_that_changes_nothing_writes_nothing(tmp_path):
    path = written(tmp_path, one())
    before = path.stat()
    editor = Editor(path)
    loaded = editor.write(editor.read().data, why="x")
    assert (path.stat(), editor.history()) == (before, ())
    assert loaded == load(path)


def test_an_edit_goes_where_a_link_leads_and_is_for_the_owner_only(tmp_path):
    (tmp_path / "real").mkdir()
    real = written(tmp_path / "real", one())
    real.chmod(0o644)
    link = tmp_path / "link.yaml"
    link.symlink_to(real)
    Editor(link).change(lambda data: data.update(validation="strict"), why="x")
    assert link.is_symlink()
    assert real.read_text() == one() + "validation: strict\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert [each.name for each in real.parent.iterdir()] == ["config.yaml"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_the_file_still_belongs_to_whom_it_belonged(tmp_path):
    path = written(tmp_path, one())
    shutil.chown(path, 1234, 4321)
    Editor(path).write_text("", why="x")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)


def test_every_byte_that_is_not_changed_stays(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbf# \xc3\xa4\r\nvalidation: 'strict'   # t\t\r\n\r\ngate: {ping: 1s}")
    Editor(path).change(lambda data: data["gate"].update(ping="2s"), why="x")
    assert path.read_bytes() == b"\xef\xbb\xbf# \xc3\xa4\r\nvalidation: 'strict'   # t\t\r\n\r\ngate: {ping: 2s}"
    Editor(path).change(lambda data: data.update(response_headers=False), why="x")
    assert path.read_bytes().endswith(b"gate: {ping: 2s}\r\n\r\nresponse_headers: false\r\n")


def test_a_version_is_kept_of_what_was_before_and_can_be_restored(tmp_path):
    path = written(tmp_path, one("weight: 1"))
    editor = Editor(path)
    for weight in (2, 3):
        editor.write_text(one(f"weight: {weight}"), why=f"weight: {weight}/ä")
    newest, oldest = editor.history()
    assert (newest.why, oldest.why) == ("weight: 3/ä", "weight: 2/ä")
    assert newest.at >= oldest.at > 1e9
    assert (editor.version(newest.id), editor.version(oldest.id)) == (one("weight: 2"), one("weight: 1"))
    assert oldest.size == len(one("weight: 1"))
    loaded = editor.restore(oldest.id)
    assert loaded.settings.endpoints[0].weight == 1
    assert path.read_text() == one("weight: 1")
    assert editor.history()[0].why == f"restored {oldest.id}"
    with pytest.raises(KeyError):
        editor.restore("x")


def test_the_history_is_for_the_owner_only_and_does_not_grow_for_ever(tmp_path):
    path = written(tmp_path, one())
    editor = Editor(path)
    for number in range(KEPT + 5):
        editor.write_text(one(f"priority: {number}"), why="y" * 300)
    versions = editor.history()
    assert [editor.version(each.id) for each in versions] == [
        one(f"priority: {number}") for number in reversed(range(4, KEPT + 4))
    ]
    folder = tmp_path / FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_files_of_one_folder_have_histories_of_their_own(tmp_path):
    one_file, other = tmp_path / "a.yaml", tmp_path / "a.yaml.b.yaml"
    for path in (one_file, other):
        path.write_text("validation: strict\n")
        Editor(path).write_text("", why=path.name)
    assert [each.why for each in Editor(one_file).history()] == ["a.yaml"]
    assert [each.why for each in Editor(other).history()] == ["a.yaml.b.yaml"]


def test_a_preview_shows_what_would_change_and_no_secret(tmp_path):
    path = written(tmp_path, one(f"weight: 1  # once {SECRET}1", auth=f"{{type: api_key, values: [{SECRET}]}}"))
    editor = Editor(path)
    data = editor.read().data
    data["endpoints"][0]["weight"] = 2
    data["endpoints"][0]["auth"]["values"].append(SECRET + "-new")
    shown = editor.preview(data)
    assert shown.startswith("--- config.yaml\n+++ config.yaml\n@@")
    assert "-    weight: 1" in shown
    assert "+    weight: 2" in shown
    assert SECRET not in shown
    assert path.read_text().count(SECRET) == 2
    data["endpoints"][0]["weight"] = -1
    with pytest.raises(ConfigError, match="must be greater than 0"):
        editor.preview(data)


def test_edits_at_once_are_all_there(tmp_path):
    path = written(tmp_path, "endpoints: []\n")

    def add(first: int) -> None:
        for number in range(first, first + 5):
            Editor(path).change(partial(add_endpoint, f"e{number}"), why="x")

    threads = [threading.Thread(target=add, args=(10 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in load(path).settings.endpoints} == {
        f"e{10 * each + number}" for each in range(4) for number in range(5)
    }


def test_another_process_that_edits_is_waited_for(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    code = """
import sys
from pathlib import Path
from companion.config.edit import Editor
def edit(data):
    print("in", flush=True)
    sys.stdin.readline()
    data["response_headers"] = False
Editor(Path(sys.argv[1])).change(edit, why="theirs")
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        ours = threading.Thread(
            target=Editor(path).change, args=(lambda data: data.update(validation="observe"),), kwargs={"why": "ours"}
        )
        ours.start()
        other.stdin.write("\n")
        other.stdin.close()
        ours.join()
        assert other.wait() == 0
    assert path.read_text() == "validation: observe\nresponse_headers: false\n"


def test_an_editor_that_does_not_come_to_an_end_is_not_waited_for(tmp_path, monkeypatch):
    path = written(tmp_path, "validation: strict\n")
    monkeypatch.setattr(edit, "_PATIENCE", 0.05)
    Editor(path).history()
    (tmp_path / FOLDER).mkdir()
    held = hold_alone(tmp_path / FOLDER / "config.yaml.lock")
    assert held is not None
    with pytest.raises(Conflict, match=r"somebody else is changing config\.yaml; try again"):
        Editor(path).write_text("", why="x")
    os.close(held)
    Editor(path).write_text("", why="x")


def test_a_file_that_would_be_too_large_is_not_written(tmp_path):
    path = written(tmp_path, "")
    with pytest.raises(ConfigError, match="would be larger than 1024 KiB"):
        Editor(path).write_text("#" * (MAX_FILE + 1), why="x")
    assert path.read_text() == ""


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path, monkeypatch):
    path = written(tmp_path, one())
    editor = Editor(path)
    editor.history()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        editor.write_text("", why="x")
    assert path.read_text() == one()
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".config")] == []
