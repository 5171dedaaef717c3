"""The head of a request, read from real captures and from everything that clients get wrong."""

import json

import pytest

from companion.errors import ClientError
from companion.protocol.request import RequestHead, is_compaction
from tests.captures import captured

MINIMAL = {"model": "m", "messages": []}


def read(**changes: object) -> RequestHead:
    return RequestHead.read(json.dumps({**MINIMAL, **changes}).encode())


def refused(body: bytes) -> str:
    with pytest.raises(ClientError) as caught:
        RequestHead.read(body)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value.message


def test_every_captured_request_reads_and_tells_its_session():
    for request in captured():
        if request.target.startswith("/v1/messages") and request.method == "POST":
            head = RequestHead.read(request.body)
            assert head.model
            if "count_tokens" not in request.target:
                assert head.session == dict(request.headers)["X-Claude-Code-Session-Id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b'{"model": "m", "messages": [', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"messages": []}', "model: Field required"),
        (b'{"model": null, "messages": []}', "model: Field required"),
        (b'{"model": 7, "messages": []}', "model: Input should be a non-empty string"),
        (b'{"model": "", "messages": []}', "model: Input should be a non-empty string"),
        (b'{"model": "m"}', "messages: Field required"),
        (b'{"model": "m", "messages": "hi"}', "messages: Input should be a list"),
        (b'{"model": "m", "messages": {"role": "user"}}', "messages: Input should be a list"),
        (b'{"model": "m", "messages": [], "stream": "yes"}', "stream: Input should be true or false"),
        (b'{"model": "m", "messages": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "nested too deeply"),
    ],
)
def test_what_no_upstream_could_answer_is_refused_naming_the_field(body: bytes, field: str):
    assert field in refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "messages": [{"role": "user", "content": "cut \\ud83d emoji"}]}',
        b'{"model": "a", "model": "m", "messages": []}',
        b'{"model": "m", "messages": [' + b"[" * 100 + b"]" * 100 + b"]}",
        b'{"model": "m", "messages": [{"role": "system", "content": []}], "new_thing": {"x": [1]}}',
        b'{"model": "m", "messages": [], "stream": null, "metadata": "odd", "output_config": 3, "tools": "odd"}',
    ],
    ids=["lone surrogate", "duplicate key", "100 deep", "system role", "odd types"],
)
def test_what_is_odd_is_carried(body: bytes):
    head = RequestHead.read(body)

    assert head.model == "m"
    assert head.stream is False


def test_stream_tools_and_structured_output_are_seen():
    head = read(stream=True, tools=[{"name": "a"}], output_config={"format": {"type": "json_schema"}})

    assert (head.stream, head.tools, head.structured) == (True, True, True)
    assert read(output_config={"effort": "low"}).structured is False
    assert read(output_config={"cut \ud83d": 1, "format": {}}).structured
    assert read(tools=[{}]).tools
    assert not any((read(tools=[]).tools, read(tools=None).tools, read(tools="odd").tools))


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        ('{"device_id": "d", "session_id": "s-1"}', "s-1"),
        ("user_abc_account__session_s-2", "s-2"),
        ("somebody", None),
        ("{broken", None),
        ("[1]", None),
        (7, None),
        ("cut \ud83d_session_s-3", "s-3"),
    ],
)
def test_the_session_is_found_where_clients_put_it(user_id: object, session: str | None):
    assert read(metadata={"user_id": user_id}).session == session


def test_a_compaction_is_recognised():
    assert is_compaction(b'{"text": "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools."}')
    assert not is_compaction(b'{"text": "critical"}')
