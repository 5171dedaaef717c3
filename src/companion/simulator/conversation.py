"""What comes next in a conversation, told from nothing but the request: any endpoint can go on with any conversation.

marker      [[script:NAME key=value …]] in the first user text that has one; `from` skips turns: a compaction puts it
            into its summary, because the history that would show them is gone
done        a turn is done when each of its tool calls stands in the history with a result; a refusal is done when
            there is a `from`
said        after a cut the client keeps finished blocks and asks to go on: what the running turn has already brought is
            left out, so that the rest of the text and the missing calls remain. The last turn is said again in full,
            because clients take the last text for the conversation's result

A conversation without a marker whose request must use a tool (`tool_choice`) gets a call of it.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from companion.simulator.messages import Message, Refusal, Text, Thinking, ToolUse, dumps
from companion.simulator.scripts import SCRIPTS, Part, Script, Turn, Words
from companion.simulator.words import seconds

COMPACT: Final = "CRITICAL: Respond with TEXT ONLY"
RESUME: Final = ("Your response above was cut off mid-stream", "Output token limit hit. Resume directly")

_MARKER: Final = re.compile(r"\[\[script:([^\[\]]{1,2000})\]\]")
_RESULT_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Marker:
    """What `[[script:…]]` asks for; `start` is the turn to begin with, None before any compaction."""

    script: Script
    name: str
    given: Mapping[str, str]
    start: int | None = None

    @property
    def parameters(self) -> dict[str, str]:
        return {**self.script.defaults, **self.given}

    def pace(self, usual: float) -> float:
        """Seconds an event, as the parameter `pace` says."""
        return seconds(self.given["pace"]) if "pace" in self.given else usual

    def at(self, turn: int) -> str:
        """The marker that makes another conversation start with this turn."""
        words = [self.name, *(f"{key}={value}" for key, value in self.given.items()), f"from={turn}"]
        return f"[[script:{shlex.join(words)}]]"


def parse_marker(text: str) -> Marker | None:
    """Find the first marker of a known script in a text."""
    for found in _MARKER.finditer(text):
        try:
            name, *rest = shlex.split(found[1])
        except ValueError:
            continue
        given = dict(word.split("=", 1) for word in rest if "=" in word)
        start = given.pop("from", "")
        if name in SCRIPTS:
            return Marker(SCRIPTS[name], name, given, int(start) if start.isdecimal() else None)
    return None


def answer(request: Mapping[str, Any], default: str) -> tuple[Message | Refusal, Marker | None]:
    """What to answer, and the marker that said so; `default` is the marker of a conversation that has none."""
    form = _form(request)
    if form is not None:
        return Message((Text(dumps(_instance(form)).decode()),)), None
    messages = [message for message in request.get("messages", ()) if isinstance(message, dict)]
    at, marker = _find(messages)
    if marker is None and (tool := _forced(request)) is not None:
        return Message((tool,)), None
    state = _State(messages[at:], marker or parse_marker(default) or Marker(SCRIPTS["hi"], "hi", {}))
    if any(text.startswith(COMPACT) for text in _last_user_texts(messages)):
        return Message((Text(state.summary()),)), state.marker
    return state.next(), marker


@dataclass(frozen=True, slots=True)
class _Done:
    """A tool call of the history, and what the tool said."""

    name: str
    input: Mapping[str, Any]
    result: str

    def answers(self, call: ToolUse) -> bool:
        """Clients may add to a tool's input, so what was asked for need only be in it."""
        return self.name == call.name and call.input.items() <= self.input.items()


class _State:
    """How far a conversation has come, read from its messages."""

    def __init__(self, messages: Sequence[Mapping[str, Any]], marker: Marker) -> None:
        self.marker = marker
        blocks = [block for message in messages for block in content(message)]
        results = {block.get("tool_use_id"): _told(block) for block in blocks if block.get("type") == "tool_result"}
        self._done = [
            _Done(str(block.get("name")), block["input"], results[block["id"]])
            for block in blocks
            if block.get("id") in results and isinstance(block.get("input"), dict)
        ]
        self._said = _said(messages)
        self._parameters = {**marker.parameters}
        self._turn = next((turn for turn in self._turns() if not self._is_done(turn)), len(marker.script.turns) - 1)
        self._parameters["result"] = ", ".join(self._results())

    def next(self) -> Message | Refusal:
        """The running turn, without what it has already brought."""
        turn = self.marker.script.turns[self._turn]
        if turn.refusal is not None:
            return turn.refusal
        parts = [self._fill(part) for part in turn.parts]
        usage = {key: int(self._fill_text(value)) for key, value in turn.usage.items()}
        return Message(tuple(self._rest(parts)), usage=usage, piece=turn.piece)

    def summary(self) -> str:
        """What a compaction gets; the newest turns may stay in the history besides."""
        return f"<summary>\nThe simulator was asked to go on with {self.marker.at(self._turn)}.\n</summary>"

    def _turns(self) -> range:
        return range(self.marker.start or 0, len(self.marker.script.turns) - 1)

    def _is_done(self, index: int) -> bool:
        turn = self.marker.script.turns[index]
        if turn.refusal is not None:
            return self.marker.start is not None
        calls = self._calls(turn)
        return bool(calls) and all(map(self._done_of, calls))

    def _results(self) -> list[str]:
        """What the tools of the turn before this one said, in the order of its calls."""
        before = [turn for turn in self.marker.script.turns[: self._turn] if turn.refusal is None]
        return [done.result for call in self._calls(*before[-1:]) if (done := self._done_of(call))]

    def _calls(self, *turns: Turn) -> list[ToolUse]:
        return [part for turn in turns for part in map(self._fill, turn.parts) if isinstance(part, ToolUse)]

    def _done_of(self, call: ToolUse) -> _Done | None:
        return next((done for done in self._done if done.answers(call)), None)

    def _rest(self, parts: Sequence[Thinking | Text | ToolUse]) -> Iterator[Thinking | Text | ToolUse]:
        if not any(isinstance(part, ToolUse) for part in parts):
            yield from parts
            return
        begun = any(self._done_of(part) for part in parts if isinstance(part, ToolUse))
        said = "".join(part.text for part in parts if isinstance(part, Text)) if begun else self._said
        for part in parts:
            if isinstance(part, Text) and said:
                rest = part.text.removeprefix(said[: len(part.text)])
                said = said[len(part.text) - len(rest) :]
                if rest:
                    yield Text(rest)
            elif isinstance(part, ToolUse):
                if self._done_of(part) is None:
                    yield part
            elif not said:
                yield part

    def _fill(self, part: Part) -> Thinking | Text | ToolUse:
        match part:
            case Thinking(text):
                return replace(part, text=self._fill_text(text))
            case Text(text):
                return Text(self._fill_text(text))
            case Words(count):
                return Text(" ".join(f"w{number:04}" for number in range(int(self._fill_text(count)))))
            case ToolUse(name, given):
                return ToolUse(name, {key: self._fill_value(value) for key, value in given.items()})

    def _fill_value(self, value: Any) -> Any:
        return self._fill_text(value) if isinstance(value, str) else value

    def _fill_text(self, text: str) -> str:
        for key, value in self._parameters.items():
            text = text.replace(f"{{{key}}}", value)
        return text


def content(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A message's blocks; a plain string is one text block."""
    blocks = message.get("content")
    if isinstance(blocks, str):
        return [{"type": "text", "text": blocks}]
    return [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []


def _texts(message: Mapping[str, Any]) -> list[str]:
    return [str(block.get("text", "")) for block in content(message) if block.get("type") == "text"]


def _find(messages: Sequence[Mapping[str, Any]]) -> tuple[int, Marker | None]:
    for at, message in enumerate(messages):
        for text in _texts(message) if message.get("role") == "user" else ():
            if marker := parse_marker(text):
                return at, marker
    return 0, None


def _last_user_texts(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return next((_texts(message) for message in reversed(messages) if message.get("role") == "user"), [])


def _said(messages: Sequence[Mapping[str, Any]]) -> str:
    said = ""
    for message in reversed(messages):
        if message.get("role") == "assistant":
            said = "".join(_texts(message)) + said
        elif message.get("role") == "user" and not any(text.startswith(RESUME) for text in _texts(message)):
            break
    return said


def _told(result: Mapping[str, Any]) -> str:
    lines = [line.strip() for text in _texts(result) for line in text.splitlines() if line.strip()]
    ends = [line for line in lines if line.startswith("DONE ")]
    others = [str(block.get("type")) for block in content(result)]
    return [*ends, *lines, *others, ""][0][:_RESULT_LENGTH]


def _form(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    config = request.get("output_config")
    form = config.get("format") if isinstance(config, dict) else None
    schema = form.get("schema") if isinstance(form, dict) else None
    return schema if isinstance(schema, dict) else None


def _forced(request: Mapping[str, Any]) -> ToolUse | None:
    """The tool that the request leaves no choice but to call: the named one, or the first."""
    choice, tools = request.get("tool_choice"), request.get("tools")
    if not isinstance(choice, dict) or choice.get("type") not in {"any", "tool"} or not isinstance(tools, list):
        return None
    offered = {str(tool["name"]): tool for tool in tools if isinstance(tool, dict) and "name" in tool}
    name = choice.get("name", next(iter(offered), None))
    return ToolUse(name, _instance(offered[name].get("input_schema")) or {}) if name in offered else None


def _instance(schema: Any) -> Any:
    """The simplest value that a JSON schema allows, for the schemas that clients send."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(schema, dict) and schema.get("enum"):
        return schema["enum"][0]
    if kind == "object":
        return {key: _instance(value) for key, value in schema.get("properties", {}).items()}
    return {"string": "A simulated conversation", "array": [], "boolean": True, "integer": 1, "number": 1}.get(
        str(kind)
    )
