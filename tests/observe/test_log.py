import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
import structlog

from companion.config.models import LoggingSettings
from companion.errors import Fault, Kind, Party, Phase
from companion.events import (
    OUTCOMES,
    CircuitChanged,
    ConfigChanged,
    ConfigRefused,
    Events,
    ExchangeSettled,
    Probed,
    Switched,
)
from companion.observe import log
from tests.observe.test_writer import named_pipe

FAULT = Fault(Party.UPSTREAM, Phase.HEADERS, Kind.OVERLOADED, "we are full", status=529)


class Log:
    """What is logged while it is open, as it stands in the file."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.events = Events()
        self._path = folder / "test.log"
        self._writer = log.configure(LoggingSettings(file=self._path, **settings))
        log.ExchangeLog(self.events)

    def text(self) -> str:
        self._writer.close()
        return self._path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


def settled(**changes: Any) -> ExchangeSettled:
    fields: dict[str, Any] = {
        "id": "01J",
        "at": 103.25,
        "started": 100.0,
        "method": "POST",
        "path": "/v1/messages",
        "outcome": "complete",
        "status": 200,
        "endpoint": "kimi",
        "attempts": 1,
        "model": "claude-opus-5-5",
        "model_sent": "kimi-k3",
        "input_tokens": 12,
        "output_tokens": 34,
        "violations": (),
        "fault": None,
    }
    return ExchangeSettled(**{**fields, **changes})


def test_an_exchange_is_one_line(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(settled())

    (line,) = written.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "exchange",
        "level": "info",
        "id": "01J",
        "method": "POST",
        "path": "/v1/messages",
        "outcome": "complete",
        "status": 200,
        "endpoint": "kimi",
        "attempts": 1,
        "model": "claude-opus-5-5",
        "sent": "kimi-k3",
        "seconds": 3.25,
        "input_tokens": 12,
        "output_tokens": 34,
    }


def test_every_field_of_an_exchange_is_documented(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(settled(violations=("missing_stop",), fault=FAULT))

    (fields,) = written.lines()
    page = (Path(__file__).parents[2] / "docs/reference/log.md").read_text(encoding="utf-8")
    table = page.partition("An `exchange` has\n\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) | {"event", "level", "timestamp"} == set(fields)


def test_a_model_that_was_sent_as_asked_is_named_once(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(settled(model_sent="claude-opus-5-5"))

    (line,) = written.lines()
    assert "sent" not in line


def test_a_fault_and_violations_are_named(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(settled(outcome="error", fault=FAULT, violations=("missing_stop", "bad_index")))

    (line,) = written.lines()
    assert (line["fault"], line["violations"], line["level"]) == ("overloaded", "missing_stop,bad_index", "warning")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": None, "endpoint": None, "model": None, "input_tokens": None, "output_tokens": None},
        {"outcome": "failed over", "fault": FAULT, "violations": ("a", "b"), "endpoint": "two words", "path": "/\x1b"},
    ],
    ids=["usual", "little is known", "much went wrong"],
)
def test_the_short_way_to_a_line_says_what_the_long_way_says(changes):
    event = settled(**changes)
    text = log.Text(coloured=False)
    long = text(None, "info", {"level": "info", "event": "exchange", **log._fields(event)})

    assert text.exchange("info", event) == long


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_what_hurt_the_client_is_a_warning(tmp_path, outcome):
    written = Log(tmp_path, format="json")
    written.events.publish(settled(outcome=outcome))

    (line,) = written.lines()
    assert (line["level"] == "warning") == (outcome in {"error", "truncated", "rejected"})


def test_a_switch_says_why(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(Switched("01J", 1.0, "a", "b", FAULT))

    (line,) = written.lines()
    assert (line["from"], line["to"], line["fault"], line["said"]) == ("a", "b", "overloaded", "we are full")


def test_a_circuit_that_opens_is_a_warning_and_says_for_how_long(tmp_path):
    written = Log(tmp_path, format="json")
    opened = CircuitChanged(10.0, "kimi", 1, "credential", None, "closed", "open", "401", until=20.0)
    closed = CircuitChanged(30.0, "kimi", 0, "endpoint", None, "half-open", "closed", "2 successes", until=None)
    written.events.publish(opened)
    written.events.publish(closed)

    first, second = written.lines()
    assert (first["level"], first["seconds"], first["credential"]) == ("warning", 10.0, 2)
    assert second["level"] == "info"
    assert "seconds" not in second


def test_a_probe_is_a_line_for_those_who_look_closely(tmp_path):
    written = Log(tmp_path, format="json", level="debug")
    written.events.publish(Probed(10.0, "kimi", 0, "models", 0.25, 529, FAULT))
    written.events.publish(Probed(12.0, "kimi", 0, "connect", 0.05, None, None))

    failed, worked = written.lines()
    assert (failed["level"], failed["how"], failed["fault"], failed["status"]) == ("debug", "models", "overloaded", 529)
    assert (worked["how"], worked["seconds"]) == ("connect", 0.05)
    assert "fault" not in worked


def test_a_refused_configuration_shows_every_problem(tmp_path):
    written = Log(tmp_path, format="json")
    written.events.publish(ConfigRefused(1.0, "/c.yaml", ("line 1, a: wrong", "line 2, b: wrong too")))
    written.events.publish(ConfigChanged(2.0, "/c.yaml"))

    told = [(line["event"], line.get("problem"), line["level"]) for line in written.lines()]
    assert told == [
        ("config_refused", None, "error"),
        ("config_problem", "line 1, a: wrong", "error"),
        ("config_problem", "line 2, b: wrong too", "error"),
        ("config_changed", None, "info"),
    ]


def test_text_is_for_people(tmp_path):
    written = Log(tmp_path, format="text")
    written.events.publish(settled())

    text = written.text()
    assert "[info" in text
    assert " exchange " in text
    assert "endpoint=kimi" in text
    assert "\x1b" not in text


def test_names_from_outside_cannot_move_the_cursor(tmp_path):
    written = Log(tmp_path, format="text")
    written.events.publish(settled(model="\x1b[2Jevil\nforged line"))

    text = written.text()
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1
    assert "evil" in text


def test_what_libraries_and_exceptions_say_cannot_move_the_cursor_either(tmp_path):
    written = Log(tmp_path, format="text")
    logging.getLogger("asyncio").error("two\nlines \x1b[2J")
    said = "\x1b[2J"
    try:
        raise ValueError(said)
    except ValueError:
        structlog.get_logger().exception("failed")

    text = written.text()
    assert "\x1b" not in text
    assert text.count("\\x1b[2J") == 2
    assert "two\nlines" in text


def test_the_level_is_obeyed_and_can_change(tmp_path):
    written = Log(tmp_path, format="json", level="warning")
    written.events.publish(settled(id="quiet"))
    written.events.publish(settled(id="loud", outcome="error"))
    log.set_level("info")
    written.events.publish(settled(id="now"))

    assert [line["id"] for line in written.lines()] == ["loud", "now"]


def test_libraries_log_into_the_same_place(tmp_path):
    written = Log(tmp_path, format="json")
    logging.getLogger("asyncio").error("Task %s was never retrieved", "x")
    logging.getLogger("asyncio").info("not worth a line")

    (line,) = written.lines()
    assert (line["event"], line["level"]) == ("Task x was never retrieved", "error")


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_comes_with_its_traceback(tmp_path, format):
    written = Log(tmp_path, format=format)
    try:
        raise ValueError("as it was")
    except ValueError:
        structlog.get_logger().exception("failed")

    text = written.text()
    assert "Traceback" in text
    assert "ValueError: as it was" in text


def test_dropped_lines_are_told(tmp_path):
    reader = named_pipe(tmp_path / "test.log")
    written = Log(tmp_path, format="json")
    for _ in range(12_000):
        structlog.get_logger().info("x" * 100)

    received, missing = b"", 0
    while missing < 1000:
        try:
            received += os.read(reader, 1 << 20)
        except BlockingIOError:
            continue
        *lines, received = received.split(b"\n")
        missing += sum(told["lines"] for told in map(json.loads, lines) if told["event"] == "log_lines_dropped")
    os.close(reader)
    written._writer.close()

    assert written._writer.dropped >= missing


def test_silence_is_silent(capfd):
    log.silence()
    structlog.get_logger().error("nobody hears")
    logging.getLogger("asyncio").error("nobody hears")

    assert capfd.readouterr() == ("", "")
