"""What YAML is taken, what is refused, and in which line."""

import time

import pytest

from companion.config.models import Settings
from companion.config.source import MAX_VALUES, Source
from tests.config.files import one, refused, settings


@pytest.mark.parametrize(
    "content", ["", "\n\n", "# only a comment\n", "---\n", "server:\nendpoints:\n", "{}", "\ufeff"]
)
def test_an_empty_file_means_all_defaults(tmp_path, content):
    assert settings(tmp_path, content) == Settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("server:\n\tport: 1\n", "line 2, config.yaml: is not YAML: there is a tab; use spaces to indent"),
        (
            "server: {}\na: b: c\n",
            "line 2, config.yaml: is not YAML: a colon where none can be: look at the indentation",
        ),
        (
            "server:\n  port: 1\n host: a\n",
            "line 3, config.yaml: is not YAML: this line is not indented like those before it",
        ),
        ("a:\n  - @x\n", "line 2, config.yaml: is not YAML: text that begins with @ needs quotes"),
        ("a: [${KEY}]\n", 'line 1, config.yaml: is not YAML: between [ ] or { } a reference needs quotes: "${NAME}"'),
        ("\na: *haiku*\n", "line 2, config.yaml: is not YAML: an * begins an alias, and there is no such anchor"),
        ('a:\n  b: "x\n', "line 3, config.yaml: is not YAML: while scanning a quoted scalar that begins in line 2"),
        ("a: {b: 1\nc: 2\n", "line 2, config.yaml: is not YAML: while parsing a flow mapping that begins in line 1"),
        ("server: {}\n---\nserver: {}\n", "line 2, config.yaml: is not YAML: expected a single document"),
        ("a: 1\nb: \x00\n", "line 2, config.yaml: holds a control character"),
        ("- a\n", "line 1, config.yaml: must hold sections, such as server: and endpoints:, and not a list"),
        ("hello\n", "line 1, config.yaml: must hold sections, such as server: and endpoints:, and not a single value"),
        (b"a: 1\nb: \xe9\n", "line 2, config.yaml: is not UTF-8 text; save it as UTF-8"),
        ("? [a, b]\n: c\n", "line 1, config.yaml: has a key that is no text"),
        ("server: {port: !!int abc}\n", "line 1, server.port: cannot be read as int"),
        ("response_headers: !!bool abc\n", "line 1, response_headers: cannot be read as bool"),
        ("logging: {file: !!binary aGk=}\n", "line 1, logging.file: has the tag tag:yaml.org,2002:binary"),
        ("a: &a {<<: 5}\n", "line 1, a: merges (<<) something that is no mapping"),
    ],
)
def test_broken_yaml_is_told_with_its_line_and_the_way_out(tmp_path, content, said):
    assert refused(tmp_path, content)[0].startswith(said)


def test_a_key_that_is_written_twice_is_told_with_both_lines(tmp_path):
    text = "server: {port: 1}\ngate: {}\nserver: {port: 2}\n"
    assert refused(tmp_path, text) == ["line 3, server: is written twice, first in line 1; keep one of them"]
    text = one("models:", "  rewrite:", "    - from: a", "      to: b", "      from: c")
    assert refused(tmp_path, text) == [
        "line 9, endpoints[0].models.rewrite[0].from: is written twice, first in line 7; keep one of them"
    ]


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    text = "\ufeffserver:\r\n  port: 90\r\n"
    assert settings(tmp_path, text).server.port == 90
    assert refused(tmp_path, text + "gates: {}\r\n")[0].startswith("line 3, gates: ")


def test_anchors_and_merge_keys_work_and_what_stands_here_wins(tmp_path):
    text = "defaults:\n  timeouts: &slow {idle: 7s, connect: 2s}\n" + one("timeouts: {<<: *slow, connect: 1s}")
    found = settings(tmp_path, text)
    timeouts = found.timeouts_of(found.endpoints[0])
    assert (timeouts.idle, timeouts.connect) == (7, 1)


def test_the_first_of_several_merged_mappings_wins(tmp_path):
    text = one("timeouts: {<<: [{idle: 1s}, {idle: 2s, tls: 3s}]}")
    assert settings(tmp_path, text).endpoints[0].timeouts.model_dump(exclude_unset=True) == {"idle": 1, "tls": 3}


def test_a_mistake_in_what_is_merged_has_the_line_where_it_is_written(tmp_path):
    text = "defaults:\n  timeouts: &slow\n    conect: 2s\n" + one("timeouts: {<<: *slow}")
    assert refused(tmp_path, text) == [
        'line 3, defaults.timeouts.conect: unknown key; did you mean "connect"?',
        'line 3, endpoints[0].timeouts.conect: unknown key; did you mean "connect"?',
    ]


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 5000, "a: " + "{b: " * 5000, "a: &a [*a]\n", "a: &a {<<: [{<<: *a}]}\n"]
)
def test_what_has_no_end_is_too_deep(tmp_path, text):
    assert refused(tmp_path, text) == ["config.yaml: is nested too deeply"]


@pytest.mark.parametrize("inner", ["[{}]", "{{<<: [{}]}}"])
def test_a_few_lines_that_stand_for_billions_of_values_are_refused_soon(tmp_path, inner):
    lines = ["a: &a " + ("[1]" if inner[0] == "[" else "{x: 1}")]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{name}: &{name} " + inner.format(",".join([f"*{before}"] * 9)))
    started = time.process_time()
    assert f"holds more than {MAX_VALUES} values" in refused(tmp_path, "\n".join(lines))[0]
    assert time.process_time() - started < 20


def test_an_ipv6_address_needs_no_quotes(tmp_path):
    for text in ("server: {host: ::1, port: 1}\n", "server:\n  host: ::1\n"):
        assert settings(tmp_path, text).server.host == "::1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("1.50", 1.5),
        ("true", True),
        ("~", None),
        ("null", None),
        ("yes", "yes"),
        ("2023-06-01", "2023-06-01"),
        ("1:30", "1:30"),
        ("!!str 12", "12"),
        ("'12'", "12"),
        ("{7: a}", {"7": "a"}),
        ("[a, 1, [b]]", ["a", 1, ["b"]]),
        ("|\n          x\n          y", "x\ny\n"),
    ],
)
def test_values_are_plain_ones_by_the_rules_of_yaml_1_2(tmp_path, text, value):
    found = settings(tmp_path, one("body:", "  set:", f"    t: {text}"))
    given = found.endpoints[0].body.set["t"]
    assert given == value
    assert type(given) is type(value)


def test_an_anchor_may_be_used_again(tmp_path):
    assert (
        settings(tmp_path, "gate: {ping: &x 5s, patience: *x}\nhealth: {open: &x 6s, window: *x}\n").health.window == 6
    )


def test_nothing_of_a_foreign_tag_is_made(tmp_path):
    assert refused(tmp_path, "logging: {file: !!python/object/apply:os.getcwd []}\n")
    assert settings(tmp_path, "response_headers: !!null x\n").response_headers is True


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("yes", True), ("on", True), ("False", False), ("off", False)]
)
def test_a_switch_may_be_written_in_the_usual_words(tmp_path, text, value):
    assert settings(tmp_path, f"response_headers: {text}\n").response_headers is value


def test_any_other_word_is_no_switch(tmp_path):
    assert refused(tmp_path, "response_headers: perhaps\n") == ["line 1, response_headers: must be true or false"]


def test_folded_text_has_no_trace_of_its_folds():
    source = Source("a: >-\n  one\n  two\n\n  three\nb: |\n  one\n  two\n", "x")
    assert source.data == {"a": "one two\nthree", "b": "one\ntwo\n"}
