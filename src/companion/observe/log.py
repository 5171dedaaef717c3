"""The log: one line per exchange, and one for whatever changes how exchanges go.

Lines are made where they happen and written elsewhere (writer.py), so that a slow disk or terminal never holds up an
answer. They carry names, numbers and codes; neither prompts nor credentials are given to them.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple

import structlog
from structlog.typing import EventDict, WrappedLogger

from companion.config.models import LoggingSettings
from companion.events import CircuitChanged, ConfigChanged, ConfigRefused, Events, ExchangeSettled, Probed, Switched
from companion.observe.writer import Writer

_log = structlog.get_logger("companion")

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ALL: Final = ("debug", "info", "warning", "error", "critical")
_COLOURS: Final = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31m",
}
_KNOWN: Final = ("status", "endpoint", "model", "input_tokens", "output_tokens")
_WELL: Final = frozenset({"complete", "repaired", "failed over", "cancelled by client"})


def configure(settings: LoggingSettings) -> Writer:
    """Send all log lines of this process to `logging.file` or to stderr.

    Returns the writer, to be closed at the end. Raises OSError when the file cannot be opened.
    """
    writer = Writer(settings.file)
    coloured = settings.file is None and sys.platform != "win32" and "NO_COLOR" not in os.environ and os.isatty(2)
    structlog.configure(
        processors=_processors(settings.format, coloured=coloured),
        logger_factory=lambda *_: _Line(writer.put),
        cache_logger_on_first_use=False,
    )
    plain = settings.format == "text" and not coloured
    _State.direct = _Direct(Text(coloured=False), writer.put) if plain else None
    set_level(settings.level)
    logging.basicConfig(handlers=[_FromLibraries()], level=logging.WARNING, force=True)
    return writer


def silence() -> None:
    """Log nothing at all."""
    _State.direct = None
    structlog.configure(processors=[_drop])
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def set_level(level: str) -> None:
    """From now on lines below this level are not even made."""
    _State.threshold = _LEVELS[level]
    structlog.configure(**{**structlog.get_config(), "wrapper_class": _bound(level)})


def _bound(level: str) -> Any:
    return structlog.make_filtering_bound_logger(_LEVELS[level])


def _processors(format: str, *, coloured: bool) -> list[Any]:
    level = structlog.processors.add_log_level
    if format == "json":
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        return [level, stamp, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [level, structlog.processors.format_exc_info, Text(coloured=coloured)]


class Text:
    """Renders `time [level] event key=value …`. structlog's own renderer takes 0.1 ms a line: half of an exchange.

    Names from outside (a path, a model) may hold what moves a terminal's cursor: that is shown, never sent.
    """

    def __init__(self, *, coloured: bool) -> None:
        self._levels = {
            level: f"[{_COLOURS.get(level, '')}{level}\x1b[0m]" if coloured else f"[{level}]" for level in _ALL
        }
        self._key = "\x1b[2m{}=\x1b[0m".format if coloured else "{}=".format
        self._keys: dict[str, str] = {}
        self._second = 0
        self._stamp = ""

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        level, name = event.pop("level"), event.pop("event")
        trace = event.pop("exception", None)
        keys = self._keys
        words = [self._time(), self._levels[level], name]
        words += [(keys.get(key) or self._named(key)) + _word(value) for key, value in event.items()]
        line = " ".join(words)
        return line if trace is None else f"{line}\n{_tame(trace)}"

    def exchange(self, level: str, event: ExchangeSettled) -> str:
        """The one line that there are many of, without what structlog does for any line: `_fields`, written out."""
        seconds = round(event.at - event.started, 3)
        line = (
            f"{self._time()} [{level}] exchange id={event.id} method={event.method} path={_usual(event.path)}"
            f" outcome={_usual(event.outcome)} attempts={event.attempts} seconds={seconds}"
        )
        if event.status is not None:
            line += f" status={event.status}"
        if event.endpoint is not None:
            line += f" endpoint={_usual(event.endpoint)}"
        if event.model is not None:
            line += f" model={_usual(event.model)}"
        if event.input_tokens is not None:
            line += f" input_tokens={event.input_tokens}"
        if event.output_tokens is not None:
            line += f" output_tokens={event.output_tokens}"
        if event.fault is not None or event.violations or event.model_sent != event.model:
            line += "".join(f" {key}={_word(value)}" for key, value in _rarely(event))
        return line

    def _time(self) -> str:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        return self._stamp

    def _named(self, key: str) -> str:
        """Keys are few, and our own."""
        found = self._keys[key] = self._key(key)
        return found


def _tame(text: str) -> str:
    """Text of several lines, without what moves a cursor."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def _drop(_logger: WrappedLogger, _method: str, _event: EventDict) -> EventDict:
    raise structlog.DropEvent


class _Line:
    """What structlog calls with a finished line."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = put


class _FromLibraries(logging.Handler):
    """asyncio and other libraries log by the standard library; their lines join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        said = _tame(record.getMessage())
        structlog.get_logger(record.name).log(record.levelno, said, exc_info=record.exc_info or None)


def _word(value: Any) -> str:
    text = value if value.__class__ is str else str(value)
    return text if text.isalnum() or (text.isprintable() and " " not in text) else repr(text)


# For the words that come again with every exchange.
_usual: Final = lru_cache(maxsize=256)(_word)


class _Direct(NamedTuple):
    """Where exchange lines go past structlog, whose way costs as much as the rest of the line: plain text only."""

    text: Text
    put: Callable[[str], None]


class _State:
    """Of the process, as structlog's own configuration is."""

    direct: ClassVar[_Direct | None] = None
    threshold: ClassVar[int] = logging.INFO


class ExchangeLog:
    """Listens to the news and writes the lines."""

    def __init__(self, events: Events) -> None:
        events.subscribe(ExchangeSettled, _settled)
        events.subscribe(Switched, _switched)
        events.subscribe(CircuitChanged, _circuit)
        events.subscribe(Probed, _probed)
        events.subscribe(ConfigChanged, _changed)
        events.subscribe(ConfigRefused, _refused)


def _settled(event: ExchangeSettled) -> None:
    level = "info" if event.outcome in _WELL else "warning"
    direct = _State.direct
    if direct is None:
        _log.log(_LEVELS[level], "exchange", **_fields(event))
    elif _LEVELS[level] >= _State.threshold:
        direct.put(direct.text.exchange(level, event))


def _fields(event: ExchangeSettled) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": event.id,
        "method": event.method,
        "path": event.path,
        "outcome": str(event.outcome),
        "attempts": event.attempts,
        "seconds": round(event.at - event.started, 3),
    }
    for name in _KNOWN:
        value = getattr(event, name)
        if value is not None:
            fields[name] = value
    fields.update(_rarely(event))
    return fields


def _rarely(event: ExchangeSettled) -> Iterator[tuple[str, str]]:
    """What most exchanges have not got."""
    if event.model_sent is not None and event.model_sent != event.model:
        yield "sent", event.model_sent
    if event.violations:
        yield "violations", ",".join(event.violations)
    if event.fault is not None:
        yield "fault", str(event.fault.kind)


def _switched(event: Switched) -> None:
    _log.info(
        "switched",
        exchange=event.exchange,
        **{"from": event.from_endpoint, "to": event.to_endpoint},
        fault=str(event.fault.kind),
        said=event.fault.message,
    )


def _circuit(event: CircuitChanged) -> None:
    told = _log.warning if event.after == "open" else _log.info
    left = None if event.until is None else round(event.until - event.at, 1)
    told(
        "circuit",
        **_given(
            endpoint=event.endpoint,
            credential=event.credential + 1,
            scope=event.scope,
            model=event.model,
            before=event.before,
            after=event.after,
            reason=event.reason,
            seconds=left,
        ),
    )


def _probed(event: Probed) -> None:
    _log.debug(
        "probed",
        **_given(
            endpoint=event.endpoint,
            credential=event.credential + 1,
            how=event.how,
            seconds=round(event.seconds, 3),
            status=event.status,
            fault=None if event.fault is None else str(event.fault.kind),
        ),
    )


def _changed(event: ConfigChanged) -> None:
    _log.info("config_changed", path=event.path)


def _refused(event: ConfigRefused) -> None:
    _log.error("config_refused", path=event.path, problems=len(event.problems), kept="the settings before it")
    for problem in event.problems:
        _log.error("config_problem", problem=problem)


def _given(**fields: Any) -> dict[str, Any]:
    """Only what is known."""
    return {name: value for name, value in fields.items() if value is not None}
