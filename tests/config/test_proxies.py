"""The proxy of an endpoint: `env`, `none` or a URL whose secrets come from elsewhere and are shown nowhere."""

from pathlib import Path

import pytest

from companion.config.file import Loaded, load
from tests.config.files import SECRET, one, refused, written


def resolved(folder: Path, proxy: str) -> Loaded:
    return load(written(folder, one(f"proxy: {proxy}")))


@pytest.mark.parametrize(
    "proxy",
    [
        "http://127.0.0.1:3128",
        "https://proxy.example",
        "socks5://[::1]:1080",
        "socks5h://u:p@proxy.example:1080/",
        "HTTP://proxy.example:1",
    ],
)
def test_a_url_is_taken_as_it_is(tmp_path, proxy):
    assert resolved(tmp_path, f"'{proxy}'").proxies["a"].value == proxy


@pytest.mark.parametrize(("proxy", "word"), [("env", "env"), ("NONE", "none"), ("null", "env")])
def test_words_stay_words(tmp_path, proxy, word):
    assert resolved(tmp_path, proxy).proxies["a"].value == word


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("proxy.example:3128", "must be env, none, or a URL that begins with one of http, https, socks5, socks5h"),
        (f"ftp://u:{SECRET}@x", "must be env, none, or a URL that begins with"),
        (f"http://u:{SECRET}@x:y", "is not a URL such as"),
        (f"http://u:{SECRET}@", "must be a host, with port and user where needed"),
        ("http://x:0", "must be a host"),
        ("http://x/path", "must be a host"),
        ("http://x?a=b", "must be a host"),
        ("'http://x y'", "must be env, none or a URL in plain ASCII"),
        ("''", "must not be empty"),
        ("5", "must be text"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, proxy, said):
    (problem,) = refused(tmp_path, one(f"proxy: {proxy}"))
    assert problem.startswith(f"line 5, endpoints[0].proxy: {said}")
    (problem,) = refused(tmp_path, f"defaults:\n  proxy: {proxy}\n")
    assert problem.startswith(f"line 2, defaults.proxy: {said}")


def test_references_are_filled_in_and_a_password_may_hold_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXY_USER", "me")
    monkeypatch.setenv("PROXY_PASSWORD", "p@ss:/w%rd")
    monkeypatch.setenv("PROXY_HOST", "[::1]:99")
    found = resolved(tmp_path, '"http://${PROXY_USER}:${PROXY_PASSWORD}@${PROXY_HOST}"').proxies["a"]
    assert found.value == "http://me:p%40ss%3A%2Fw%25rd@[::1]:99"


def test_the_whole_url_may_come_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXY_URL", "socks5://u:p%40@h:1")
    (tmp_path / "proxy").write_text("http://u:p@h:2\n")
    assert resolved(tmp_path, '"${PROXY_URL}"').proxies["a"].value == "socks5://u:p%40@h:1"
    loaded = resolved(tmp_path, "file:proxy")
    assert loaded.proxies["a"].value == "http://u:p@h:2"
    assert tmp_path / "proxy" in loaded.seen


@pytest.mark.parametrize(
    ("proxy", "value", "said"),
    [
        ("http://u:${PROXY_X}@h", None, "the environment variable PROXY_X is not set"),
        ("${PROXY_X}", None, "the environment variable PROXY_X is not set"),
        ("${PROXY_X}", SECRET, "must be env, none, or a URL that begins with"),
        ("http://${PROXY_X}", f"u:{SECRET}@h/path", "must be a host"),
        ("http://${PROXY_X}", f"{SECRET}/path", "must be a host"),
    ],
)
def test_a_secret_that_cannot_be_had_takes_the_endpoint_out(tmp_path, monkeypatch, proxy, value, said):
    monkeypatch.delenv("PROXY_X", raising=False)
    if value is not None:
        monkeypatch.setenv("PROXY_X", value)
    loaded = load(written(tmp_path, f'defaults: {{proxy: "{proxy}"}}\n' + one()))
    (credential,) = loaded.credentials["a"]
    assert credential.value is None
    assert credential.problem is not None
    assert credential.problem.startswith(f"proxy: {said}")
    assert SECRET not in repr(loaded)


def test_a_proxys_url_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PROXY_X", SECRET)
    for proxy in (f"http://u:{SECRET}@h", '"http://u:${PROXY_X}@h"'):
        loaded = load(written(tmp_path, f"defaults: {{proxy: {proxy}}}\n" + one(f"proxy: {proxy}")))
        assert SECRET in (loaded.proxies["a"].value or "")
        assert SECRET not in repr(loaded) + repr(loaded.settings) + str(loaded.proxies)
