"""Every mistake is told at once, in the order of the file, each with its place, its line and the way out."""

import pytest

from tests.config.files import SECRET, one, refused

TOP = "server, logging, access, defaults, endpoints, health, gate, validation, response_headers, records"


def test_many_mistakes_come_in_the_order_of_the_file(tmp_path):
    text = "validation: foo\ngate:\n  patience: x\nserver:\n  max_body: 3XB\n  port: ab\n" + one("weight: -1", "nam: b")
    assert refused(tmp_path, text) == [
        "line 1, validation: must be one of strict, repair, observe",
        'line 3, gate.patience: "x" is not a duration such as 500ms, 30s, 10m, 1.5h or 30d',
        'line 5, server.max_body: "3XB" is not a size such as 64KiB, 32MiB or 5GiB',
        "line 6, server.port: must be a whole number, not text",
        "line 11, endpoints[0].weight: must be greater than 0",
        'line 12, endpoints[0].nam: unknown key; did you mean "name"?',
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sever: {}\n", 'line 1, sever: unknown key; did you mean "server"?'),
        ("server: {prot: 1}\n", 'line 1, server.prot: unknown key; did you mean "port"?'),
        ("server: {Port: 1}\n", 'line 1, server.Port: unknown key; did you mean "port"?'),
        ("port: 1\n", 'line 1, port: unknown key; did you mean "server.port"?'),
        ("1: 2\n", f"line 1, 1: unknown key; here can be {TOP}"),
        ("x y: 2\n", f'line 1, "x y": unknown key; here can be {TOP}'),
        (one("prioritty: 1"), 'line 5, endpoints[0].prioritty: unknown key; did you mean "priority"?'),
        (one("limits: {rpm: 3}"), "line 5, endpoints[0].limits.rpm: unknown key; here can be concurrency"),
        (one("headers:", "  add: {}"), "line 6, endpoints[0].headers.add: unknown key; here can be set, remove"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(tmp_path, text, said):
    assert refused(tmp_path, text) == [said]


def test_an_unknown_key_in_a_rule_is_told_with_its_entry(tmp_path):
    text = one("models:", "  rewrite:", "    - {from: a, to: b}", "    - {form: c, to: d}")
    assert refused(tmp_path, text) == [
        "line 8, endpoints[0].models.rewrite[1].from: is missing; write for example from: claude-*haiku*",
        'line 8, endpoints[0].models.rewrite[1].form: unknown key; did you mean "from"?',
    ]


@pytest.mark.parametrize(
    "key",
    ["alerts", "cache", "cluster", "labels", "profiles", "routing"],
)
def test_a_section_of_a_later_version_is_an_unknown_key(tmp_path, key):
    (said,) = refused(tmp_path, f"{key}: {{}}\n")
    assert said.startswith(f"line 1, {key}: unknown key; ")


@pytest.mark.parametrize("key", ["workers", "base_path", "trusted_proxies"])
def test_a_server_key_of_a_later_version_is_an_unknown_key(tmp_path, key):
    (said,) = refused(tmp_path, f"server:\n  {key}: 1\n")
    assert said.startswith(f"line 2, server.{key}: unknown key; ")


@pytest.mark.parametrize("key", ["region", "profile"])
def test_an_endpoint_key_of_a_later_version_is_an_unknown_key(tmp_path, key):
    (said,) = refused(tmp_path, one(f"{key}: x"))
    assert said.startswith(f"line 5, endpoints[0].{key}: unknown key; ")


@pytest.mark.parametrize("type", ["openai", "openai-responses"])
def test_a_protocol_of_a_later_version_is_refused_with_those_known(tmp_path, type):
    assert refused(tmp_path, one(f"type: {type}")) == ["line 5, endpoints[0].type: must be anthropic"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: []\n", "server: must be a section: lines of key: value, not a list"),
        ("server: x\n", "server: must be a section: lines of key: value, not text"),
        ("endpoints: {name: a}\n", "endpoints: must be a list, such as [one, another], not a mapping"),
        ("endpoints: [x]\n", "endpoints[0]: must be a section: lines of key: value, not text"),
        ("endpoints: [~]\n", "endpoints[0]: must be a section: lines of key: value, not nothing"),
        ("server: {port: '8080'}\n", "server.port: must be a whole number; leave out the quotes"),
        ("server: {port: 1.5}\n", "server.port: must be a whole number, not a number"),
        ("server: {port: true}\n", "server.port: must be a whole number, not true or false"),
        ("server: {port: [1]}\n", "server.port: must be a whole number, not a list"),
        ("server: {port: -1}\n", "server.port: must be 0 or more"),
        ("server: {port: 65536}\n", "server.port: must be 65535 or less"),
        ("server: {max_connections: 0}\n", "server.max_connections: must be 1 or more"),
        ("server: {max_body: 0}\n", "server.max_body: must be greater than 0"),
        ("server: {max_body: [1]}\n", "server.max_body: must be a size such as 64KiB, 32MiB or 5GiB"),
        ("server: {min_body_rate: {}}\n", "server.min_body_rate: must be a rate such as 1KB/s or 64KiB/s"),
        ("server: {trusted_hosts: a}\n", "server.trusted_hosts: must be a list, such as [one, another], not text"),
        (
            "server: {trusted_hosts: ['*.b']}\n",
            'server.trusted_hosts[0]: "*.b" is not a host name; leave out http://, the port and wildcards',
        ),
        ("gate: {ping: 0s}\n", "gate.ping: must be greater than 0"),
        ("gate: {ping: true}\n", "gate.ping: must be a duration such as 500ms, 30s, 10m, 1.5h or 30d"),
        ("gate: {hold: Contents}\n", 'gate.hold: must be content or visible; did you mean "content"?'),
        ("response_headers: []\n", "response_headers: must be true or false, not a list"),
        ("logging: {level: loud}\n", "logging.level: must be one of debug, info, warning, error"),
        ("logging: {file: 5}\n", "logging.file: must be the path of a file, not a number"),
        ("health: {open: 10m, open_max: 5s}\n", "health.open_max: must not be shorter than health.open"),
        (
            "defaults: {timeouts: {idle: none}}\n",
            'defaults.timeouts.idle: "none" is not a duration such as 500ms, 30s, 10m, 1.5h or 30d',
        ),
    ],
)
def test_each_kind_of_value_says_what_it_must_be(tmp_path, text, said):
    assert refused(tmp_path, text) == [f"line 1, {said}"]


def test_a_missing_key_is_told_where_its_section_begins(tmp_path):
    example = '{type: api_key, values: ["${ANTHROPIC_API_KEY}"]}'
    assert refused(tmp_path, "endpoints:\n\n  - {}\n") == [
        "line 3, endpoints[0].name: is missing; write for example name: anthropic",
        "line 3, endpoints[0].url: is missing; write for example url: https://api.anthropic.com",
        "line 3, endpoints[0].auth: is missing; write for example auth: " + example,
    ]


def test_two_endpoints_of_one_name_are_told_with_both_lines(tmp_path):
    text = one() + one(url="ftp://y").removeprefix("endpoints:\n")
    assert refused(tmp_path, text) == [
        'line 5, endpoints[1].name: "a" is the name of endpoints[0] in line 2; give each its own',
        "line 6, endpoints[1].url: must begin with https:// or http://, such as https://api.anthropic.com",
    ]


def test_an_id_that_another_has_is_told_with_both_lines(tmp_path):
    two = one("id: a").removeprefix("endpoints:\n").replace("name: a", "name: b")
    said = "is the {} of endpoints[0] in line {}; give each its own"
    assert refused(tmp_path, one() + two) == [f'line 8, endpoints[1].id: "a" {said.format("name", 2)}']
    assert refused(tmp_path, one("id: a") + two) == [f'line 9, endpoints[1].id: "a" {said.format("id", 5)}']


def test_a_name_that_is_anothers_id_is_told(tmp_path):
    text = one("id: b") + one().removeprefix("endpoints:\n").replace("name: a", "name: b")
    assert refused(tmp_path, text) == [
        'line 6, endpoints[1].name: "b" is the id of endpoints[0] in line 5; give each its own'
    ]


@pytest.mark.parametrize(
    "auth",
    [
        f"{{type: api_key, values: {SECRET}}}",
        f"{{type: {SECRET}, values: [a]}}",
        SECRET,
        f"[{SECRET}]",
        f"{{type: api_key, values: [[{SECRET}]]}}",
        f"{{type: api_key, values: [{{{SECRET}: 1}}]}}",
        f"{{type: api_key, values: [{SECRET}, {SECRET}]}}",
        f"{{type: none, values: [{SECRET}]}}",
        f'{{type: api_key, values: ["{SECRET}\\nx"]}}',
        f"{{type: bearer, values: [{SECRET}]}}",
        f"{{type: api_key, values: [{SECRET}], valeus: [{SECRET}]}}",
        f"{{type: api_key, values: [{SECRET}}}",
        f'{{type: api_key, values: ["{SECRET}]}}',
        f"{{type: api_key, values: [{SECRET}], values: [{SECRET}]}}",
        f"{{type: api_key, values: [@{SECRET}]}}",
        f"{{type: api_key, values: [*{SECRET}]}}",
    ],
)
def test_no_mistake_repeats_a_secret(tmp_path, auth):
    assert SECRET not in "".join(refused(tmp_path, one(auth=auth)))


@pytest.mark.parametrize("line", [f"url: https://u:{SECRET}@x", f"headers: {{set: {{x-a: [{SECRET}]}}}}"])
def test_no_mistake_repeats_what_is_in_a_url_or_a_header(tmp_path, line):
    text = one(url=line.removeprefix("url: ")) if line.startswith("url") else one(line)
    assert SECRET not in "".join(refused(tmp_path, text))


def test_a_very_long_key_is_not_repeated_whole(tmp_path):
    (said,) = refused(tmp_path, "? " + "k" * 100_000 + "\n: 1\n")
    assert len(said) < 500
