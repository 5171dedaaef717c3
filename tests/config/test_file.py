"""The file is found, read whole, and written once."""

import re
import stat
from pathlib import Path

import pytest

from companion.config.file import FOLDER, MAX_FILE, NAME, VARIABLE, find, load, user_folder, write, write_default
from companion.config.models import EndpointSettings, Settings
from companion.errors import ConfigError
from tests.config.files import every_key, one, refused, written


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Somebody's home and working folder, both empty."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    for name in (VARIABLE, "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return here, home


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_the_file_that_is_named_is_taken_there_or_not(places, monkeypatch):
    here, home = places
    monkeypatch.setenv(VARIABLE, "elsewhere.yaml")
    put(here / NAME)
    assert find("told.yaml") == here / "told.yaml"
    assert find("~/told.yaml") == home / "told.yaml"


def test_a_file_in_nobodys_home_is_a_problem(places):
    with pytest.raises(ConfigError, match=r"~no-such-user/x\.yaml is in the home of a user who is not there"):
        find("~no-such-user/x.yaml")


def test_the_variable_comes_before_the_file_that_is_here(places, monkeypatch):
    here, _ = places
    put(here / NAME)
    monkeypatch.setenv(VARIABLE, "elsewhere.yaml")
    assert find(None) == here / "elsewhere.yaml"
    monkeypatch.setenv(VARIABLE, "")
    assert find(None) == here / NAME


def test_the_file_that_is_here_comes_before_the_users(places, monkeypatch):
    here, home = places
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    users = put(home / "xdg" / FOLDER / NAME)
    assert find() == users
    put(here / NAME)
    assert find() == here / NAME


def test_where_there_is_none_one_is_to_be_made_here(places):
    assert find() == places[0] / NAME


def test_a_link_that_leads_nowhere_is_not_passed_over(places):
    here, home = places
    put(home / ".config" / FOLDER / NAME)
    (here / NAME).symlink_to(home / "gone")
    assert find() == here / NAME


def test_the_home_of_nobody_is_a_sentence(places):
    with pytest.raises(ConfigError, match="is in the home of a user who is not there"):
        find("~nobody-of-this-name/config.yaml")


def test_each_system_keeps_the_users_file_where_it_is_usual(places, tmp_path):
    _, home = places
    assert user_folder("linux", {}) == home / ".config" / FOLDER
    assert user_folder("linux", {"XDG_CONFIG_HOME": "relative"}) == home / ".config" / FOLDER
    assert user_folder("darwin", {}) == home / "Library/Application Support" / FOLDER
    assert user_folder("win32", {"APPDATA": str(tmp_path)}) == tmp_path / FOLDER
    assert user_folder("win32", {}) == home / "AppData/Roaming" / FOLDER


def test_the_default_file_means_exactly_the_defaults(tmp_path):
    write_default(tmp_path / NAME)
    loaded = load(tmp_path / NAME)
    assert loaded.settings == Settings()
    assert dict(loaded.credentials) == {}


def test_the_default_file_holds_every_key_with_its_comment(tmp_path):
    write_default(tmp_path / NAME)
    lines = (tmp_path / NAME).read_text().splitlines()

    for key, comment in every_key():
        if key == "token_hash":  # of a client, which a command makes
            continue
        in_a_rule = key in {"from", "to"}  # these stand in the comment of models.rewrite
        of_a_client = key == "name" and comment.endswith("the client.")
        assert any(f"{key}:" in line and (in_a_rule or of_a_client or comment in line) for line in lines), key


def test_the_endpoint_in_the_default_file_is_one_once_it_is_no_comment(tmp_path):
    write_default(tmp_path / NAME)
    text = re.sub(r"^# (?=  )", "", (tmp_path / NAME).read_text(), flags=re.MULTILINE)
    (endpoint,) = load(written(tmp_path, text)).settings.endpoints
    auth = {"type": "api_key", "values": ["${ANTHROPIC_API_KEY}"]}
    given = {"name": "anthropic", "url": "https://api.anthropic.com", "auth": auth}
    assert endpoint.model_dump() == EndpointSettings.model_validate(given).model_dump()


def test_the_default_file_fits_on_a_screen_and_every_line_of_it_says_something(tmp_path):
    write_default(tmp_path / NAME)
    lines = (tmp_path / NAME).read_text().splitlines()
    assert max(map(len, lines)) <= 120
    assert all(" # " in line or line.startswith("#") for line in lines if line)


def test_the_default_file_is_for_its_owner_only_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "folder" / NAME
    write_default(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [NAME]


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    with pytest.raises(FileExistsError):
        write_default(path)
    assert path.read_text() == "validation: strict\n"


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        write_default(tmp_path / "file" / NAME)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path / "folder", "")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]


def test_what_is_written_goes_where_a_link_leads(tmp_path):
    target = written(tmp_path, "old")
    link = tmp_path / "link.yaml"
    link.symlink_to(target)
    write(link, "gate: {}\n")
    assert link.is_symlink()
    assert target.read_text() == "gate: {}\n"


def test_a_file_that_is_too_large_is_refused(tmp_path):
    assert refused(tmp_path, b"#" * (MAX_FILE + 1)) == [
        "config.yaml: is larger than 1024 KiB, too large for a configuration"
    ]
    assert load(written(tmp_path, b"#" * MAX_FILE)).settings == Settings()


@pytest.mark.parametrize(
    ("name", "said"),
    [("", "is a directory"), ("gone.yaml", "no such file or directory"), ("file/config.yaml", "not a directory")],
)
def test_what_is_no_file_that_can_be_read_is_told_with_its_path(tmp_path, name, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: cannot be read: {said}"


def test_credentials_are_found_by_the_endpoints_id(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_A", "one")
    monkeypatch.delenv("KEY_B", raising=False)
    text = one("id: x", auth='{type: api_key, values: ["${KEY_A}", "${KEY_B}", three]}')
    found = load(written(tmp_path, text)).credentials
    assert list(found) == ["x"]
    assert [(each.value, each.problem) for each in found["x"]] == [
        ("one", None),
        (None, "the environment variable KEY_B is not set"),
        ("three", None),
    ]


@pytest.mark.parametrize("type", ["none", "passthrough"])
def test_an_endpoint_without_keys_has_one_empty_credential(tmp_path, type):
    (credential,) = load(written(tmp_path, one(auth=f"{{type: {type}}}"))).credentials["a"]
    assert (credential.value, credential.problem) == (None, None)


def test_headers_get_their_secrets_and_one_that_is_missing_takes_the_endpoint_out(tmp_path, monkeypatch):
    monkeypatch.setenv("KEY_A", "one")
    monkeypatch.delenv("KEY_B", raising=False)
    loaded = load(written(tmp_path, one('headers: {set: {x-a: "Bearer ${KEY_A}"}, remove: [x-b]}')))
    (endpoint,) = loaded.settings.endpoints
    assert (dict(endpoint.headers.set), endpoint.headers.remove) == ({"x-a": "Bearer one"}, ("x-b",))
    loaded = load(written(tmp_path, one('headers: {set: {x-a: "${KEY_B}"}}')))
    (credential,) = loaded.credentials["a"]
    assert credential.problem == "headers.set.x-a: the environment variable KEY_B is not set"


def test_a_key_in_the_query_of_a_url_is_a_secret(tmp_path):
    url = "https://h/v1?version=2&api_key=a%2Fkey-0123456789"
    loaded = load(written(tmp_path, one(url=url)))
    assert {"a%2Fkey-0123456789", "a/key-0123456789"} <= loaded.secrets
    assert "2" not in loaded.secrets
    (endpoint,) = loaded.settings.endpoints
    assert endpoint.url == url
    assert endpoint.shown_url == "https://h/v1?version=2&api_key=•••"


def test_the_files_that_secrets_are_in_are_known(tmp_path):
    (tmp_path / "key").write_text("k")
    path = written(tmp_path, one(auth="{type: api_key, values: ['file:key', 'file:gone']}"))
    seen = load(path).seen
    assert set(seen) == {path, tmp_path / "key", tmp_path / "gone"}
    assert seen[tmp_path / "gone"] is None
