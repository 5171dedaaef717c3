"""Masked data show no secret, and come back as what they were."""

import copy
import json
from typing import Any

import pytest

from companion.config.edit import Editor
from companion.config.masked import DOTS, masked, masked_text, unmasked
from companion.config.models import EndpointSettings, Settings
from companion.config.source import Source
from companion.errors import ConfigError
from tests.config.files import SECRET, every_key, written
from tests.config.test_models import EVERYTHING

SECRETS = {
    "api_key": f"{SECRET}-0001",
    "bearer": f"{SECRET}-0002",
    "header": f"{SECRET}-0003",
    "own_header": f"Bearer {SECRET}-0004",
    "proxy": f"{SECRET}-0005",
    "own_proxy": f"{SECRET}-0006",
    "user": f"{SECRET}-0007",
    "body": f"{SECRET}-0008",
    "url": f"{SECRET}-0009",
    "hash": "sha256:" + "ab" * 32,
}


def data() -> dict[str, Any]:
    """A configuration with every secret that there can be."""
    found: dict[str, Any] = Source(EVERYTHING, "x").data
    (endpoint,) = found["endpoints"]
    endpoint |= {key: found["defaults"][key] for key in ("timeouts", "pool")}
    endpoint["auth"]["type"] = "api_key"
    endpoint["auth"]["values"] = [SECRETS["api_key"], "${KEY}", SECRETS["bearer"], "file:/run/key", "keyring:a"]
    endpoint["headers"]["set"] = {
        "x-a": SECRETS["header"],
        "Authorization": SECRETS["own_header"],
        "x-b": "Bearer ${TOKEN}",
        "id": "1",
    }
    endpoint["proxy"] = f"socks5://me:{SECRETS['own_proxy']}@h:1"
    endpoint["body"]["set"]["api_key"] = SECRETS["body"]
    endpoint["url"] = f"https://h/v1?api-version=1&key={SECRETS['url']}&x=1"
    other = copy.deepcopy(endpoint) | {"name": "other", "id": "y", "proxy": f"http://{SECRETS['user']}@h"}
    found["endpoints"].append(other)
    found["defaults"]["proxy"] = f"http://me:{SECRETS['proxy']}@h"
    found["access"]["clients"][0]["token_hash"] = SECRETS["hash"]
    return found


def test_no_secret_is_in_masked_data_and_every_reference_is():
    shown = json.dumps(masked(data()), ensure_ascii=False)
    assert [name for name, secret in SECRETS.items() if secret in shown] == []
    assert SECRET not in shown
    for reference in ("${KEY}", "file:/run/key", "keyring:a", "Bearer ${TOKEN}", "me:", f"{DOTS}0001", f"{DOTS}abab"):
        assert reference in shown


def test_what_is_no_secret_stays():
    found = masked(data())
    (endpoint, _) = found["endpoints"]
    assert endpoint["auth"]["type"] == "api_key"
    assert endpoint["headers"]["set"]["id"] == DOTS
    assert endpoint["headers"]["remove"] == ["x-b"]
    assert found["server"] == data()["server"]
    assert found["defaults"] | {"proxy": 0} == data()["defaults"] | {"proxy": 0}
    assert found["records"] == data()["records"]
    assert masked({"server": {"tls": {"key": "a.pem"}}}) == {"server": {"tls": {"key": "a.pem"}}}


def test_every_field_of_every_endpoint_comes_back_as_it_was(tmp_path):
    current = data()
    sent = json.loads(json.dumps(masked(current)))
    assert unmasked(sent, current) == current
    for endpoint, (key, _) in ((each, key) for each in current["endpoints"] for key in every_key(EndpointSettings)):
        assert key in json.dumps(endpoint)

    path = written(tmp_path, json.dumps({}))
    editor = Editor(path)
    editor.write(current, why="x")
    text = path.read_text()
    editor.write(unmasked(masked(editor.read().data), editor.read().data), why="y")
    assert path.read_text() == text
    assert Settings.model_validate(editor.read().data) == Settings.model_validate(current)


def test_masked_secrets_follow_their_endpoint_and_their_place_in_the_list():
    current = data()
    sent = masked(current)
    sent["endpoints"].reverse()
    sent["endpoints"][1]["auth"]["values"].reverse()
    sent["endpoints"][1]["auth"]["values"].insert(0, "new")
    back = unmasked(sent, current)
    assert back["endpoints"][0] == current["endpoints"][1]
    assert back["endpoints"][1]["auth"]["values"] == ["new", *reversed(current["endpoints"][0]["auth"]["values"])]


def test_an_endpoint_that_is_renamed_keeps_its_secrets():
    current = {"endpoints": [{"name": "a", "auth": {"type": "api_key", "values": [SECRETS["api_key"]]}}]}
    sent = masked(current)
    sent["endpoints"][0]["name"] = "b"
    assert unmasked(sent, current)["endpoints"][0]["auth"] == current["endpoints"][0]["auth"]


def test_a_short_secret_shows_nothing_and_is_found_at_its_place():
    current = {"endpoints": [{"name": "a", "auth": {"values": ["one", "two", 12345]}}]}
    sent = masked(current)
    assert sent["endpoints"][0]["auth"]["values"] == [DOTS, DOTS, DOTS]
    assert unmasked(sent, current) == current


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda sent: sent["endpoints"][0]["auth"]["values"].append(f"{DOTS}9999"), "endpoints[0].auth.values[5]"),
        (lambda sent: sent["endpoints"].append(sent["endpoints"][0] | {"id": "z"}), "endpoints[2].auth.values[0]"),
        (lambda sent: sent["endpoints"][1].update(proxy=f"http://{DOTS}0001@evil"), "endpoints[1].proxy"),
        (lambda sent: sent["endpoints"].insert(0, sent["endpoints"][0] | {"id": "z"}), "endpoints[0].auth.values[0]"),
        (lambda sent: sent["endpoints"][1].update(region=DOTS), "endpoints[1].region"),
        (
            lambda sent: sent["access"]["clients"].append({"name": "b", "token_hash": DOTS}),
            "access.clients[1].token_hash",
        ),
    ],
)
def test_a_mask_that_stands_for_nothing_is_told_with_its_place(change, place):
    current = data()
    sent = masked(current)
    change(sent)
    with pytest.raises(ConfigError) as caught:
        unmasked(sent, current)
    assert place in [problem.place for problem in caught.value.problems]
    assert caught.value.problems[0].message.startswith("is a masked secret that is not known here")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "broken",
    [
        {"endpoints": [{"name": "a", "auth": SECRET}]},
        {"endpoints": [{"name": "a", "auth": {"type": "api_key", "value": SECRET}}]},
        {"endpoints": [{"name": "a", "auth": {"type": "api_key", "values": SECRET}}]},
        {"endpoints": [{"name": "a", "auth": [[SECRET]]}]},
        {"endpoints": [{"name": "a", "proxy": "http://u:${PW}@x", "auth": {"values": [True, None, 1.5]}}]},
        {"endpoints": [{"name": "a", "proxy": "env", "auth": SECRET}]},
        {"endpoints": [{"name": "a", "headers": {"Authorization": SECRET}}]},
        {"endpoints": [{"name": "a", "headers": [SECRET]}]},
        {"endpoints": [{"name": "a", "api_key": SECRET, "x-token": [SECRET], "password": {"x": SECRET}}]},
        {"endpoints": {"a": {"auth": {"values": [SECRET]}, "apiKey": SECRET}}},
        {"defaults": {"proxy": f"http://{SECRET}@x"}},
        {"access": {"clients": {"ann": {"token": SECRET}}}},
    ],
)
def test_data_that_are_wrong_show_no_secret_either(broken):
    assert SECRET not in json.dumps(masked(broken))
    assert unmasked(masked(broken), broken) == broken


def test_a_text_shows_no_secret_in_whatever_quotes_or_comment():
    secret = f"{SECRET}\"'\\1234"
    text = (
        "endpoints:\n  - name: a  # once sk-old-0123456789abcdefghij\n    auth:\n      values:\n"
        f"        - {json.dumps(secret)}\n        - '{secret.replace(chr(39), chr(39) * 2)}x'  # {SECRET}-9\n"
        f"        - {SECRET}\n"
    )
    shown = masked_text(text, Source(text, "x").data)
    assert SECRET not in shown
    assert "0123456789abcdefghij" not in shown
    assert shown.count(DOTS) == 5
    assert shown.startswith("endpoints:\n  - name: a  # once ")
