"""What one candidate is sent: URL, headers, credential, model and body edits, as a pure function."""

import json
from typing import Any

import pytest

from companion.config.models import EndpointSettings
from companion.net.h1 import header
from companion.upstream.prepare import Question, base_of, model_for, prepare

BODY = b'{ "model" : "claude-opus-5-5",\n "stream":true, "messages":[{"model":"inner"}], "x": "\\ud83d" }'


def settings(**fields: Any) -> EndpointSettings:
    given = {"name": "e", "url": "https://api.example.com/anthropic", "auth": {"type": "none"}, **fields}
    return EndpointSettings.model_validate(given)


def question(*headers: tuple[str, str], body: bytes = BODY, query: bytes = b"") -> Question:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Question("POST", "/v1/messages", query, fields, body, "claude-opus-5-5", stream=True)


def sent(endpoint: EndpointSettings, asked: Question | None = None, credential: str | None = None) -> dict[str, str]:
    outgoing, _ = prepare(asked or question(), endpoint, credential)
    return {name.decode(): value.decode() for name, value in outgoing.headers}


def body_of(endpoint: EndpointSettings, body: bytes = BODY) -> bytes:
    return b"".join(prepare(question(body=body), endpoint, None)[0].body)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/", "/v1/messages", "/v1/messages/"])
@pytest.mark.parametrize("path", ["", "/anthropic", "/api/v1beta", "/a/messages"])
def test_a_base_url_means_the_same_with_and_without_its_tail(path: str, tail: str):
    assert base_of(f"https://api.example.com{path}{tail}") == (path, b"")


def test_the_query_of_both_sides_is_kept():
    endpoint = settings(url="https://x.example/base?api-version=3")
    outgoing, _ = prepare(question(query=b"beta=true"), endpoint, None)

    assert outgoing.target == b"/base/v1/messages?api-version=3&beta=true"


def test_without_a_rule_the_body_is_the_clients_own_object():
    outgoing, model = prepare(question(), settings(), None)

    assert outgoing.body[0] is BODY
    assert model == "claude-opus-5-5"


def test_a_rewritten_model_changes_its_own_bytes_and_no_other():
    endpoint = settings(models={"rewrite": [{"from": "claude-*", "to": "vendor/größer"}]})

    assert body_of(endpoint) == BODY.replace(b'"claude-opus-5-5"', '"vendor/größer"'.encode())


def test_body_fields_are_set_and_removed_in_place():
    endpoint = settings(body={"set": {"top_k": 5, "temperature": 0.5}, "remove": ["x", "absent"]})
    edited = body_of(endpoint)

    assert json.loads(edited) == {
        "model": "claude-opus-5-5",
        "stream": True,
        "messages": [{"model": "inner"}],
        "top_k": 5,
        "temperature": 0.5,
    }
    assert edited.startswith(b'{ "model" : "claude-opus-5-5",\n "stream":true')


@pytest.mark.parametrize(
    ("models", "asked", "heard"),
    [
        ({}, "openai/gpt-5", "openai/gpt-5"),
        ({"default": "d"}, "anything", "d"),
        ({"rewrite": [{"from": "*", "to": "t"}]}, "openai/gpt-5", "t"),
        ({"rewrite": [{"from": "*haiku*", "to": "small"}], "default": "big"}, "claude-haiku-5-5", "small"),
        ({"rewrite": [{"from": "*haiku*", "to": "small"}], "default": "big"}, "claude-opus-5-5", "big"),
        ({"rewrite": [{"from": "claude-?", "to": "a"}, {"from": "claude-[ab]*", "to": "b"}]}, "claude-ab", "b"),
        ({"rewrite": [{"from": "Claude", "to": "t"}]}, "claude", "claude"),
    ],
)
def test_which_model_an_endpoint_hears(models: Any, asked: str, heard: str):
    assert model_for(settings(models=models).models, asked) == heard


@pytest.mark.parametrize(
    ("type", "expected"),
    [
        ("api_key", {"x-api-key": "the-key"}),
        ("auth_token", {"authorization": "Bearer the-key"}),
        ("passthrough", {"authorization": "Bearer users", "x-api-key": "users-too"}),
        ("none", {}),
    ],
)
def test_the_four_ways_to_authenticate(type: str, expected: dict[str, str]):
    values = ["the-key"] if type in {"api_key", "auth_token"} else []
    headers = sent(
        settings(auth={"type": type, "values": values}),
        question(("Authorization", "Bearer users"), ("X-Api-Key", "users-too"), ("Cookie", "c=1")),
        "the-key" if values else None,
    )

    found = {name: value for name, value in headers.items() if name in {"authorization", "x-api-key", "cookie"}}
    assert found == expected


def test_what_the_client_says_arrives_and_what_concerns_our_connection_does_not():
    headers = sent(
        settings(),
        question(
            ("Host", "127.0.0.1:8080"),
            ("User-Agent", "claude-cli/2.1.330 (external, cli)"),
            ("anthropic-version", "2026-10-21"),
            ("anthropic-beta", "a,b"),
            ("anthropic-workspace-id", "w"),
            ("X-Claude-Code-Session-Id", "s"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Accept-Encoding", "gzip, br"),
            ("Expect", "100-continue"),
        ),
    )

    assert headers == {
        "host": "api.example.com",
        "user-agent": "claude-cli/2.1.330 (external, cli)",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "a,b",
        "anthropic-workspace-id": "w",
        "x-claude-code-session-id": "s",
        "accept-encoding": "identity",
    }


def test_header_edits_win_whatever_their_case():
    endpoint = settings(headers={"set": {"Anthropic-Beta": "only-this", "X-New": "1"}, "remove": ["User-Agent"]})
    headers = sent(endpoint, question(("anthropic-beta", "a"), ("User-Agent", "u"), ("Other", "o")))

    assert headers["anthropic-beta"] == "only-this"
    assert "user-agent" not in headers
    assert (headers["x-new"], headers["other"]) == ("1", "o")


def test_a_missing_version_is_added_and_a_given_one_kept():
    outgoing, _ = prepare(question(), settings(), None)

    assert header(outgoing.headers, b"anthropic-version") == b"2023-06-01"
