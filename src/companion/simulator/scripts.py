"""Conversations as tables. A script is a list of turns; a turn is what one answer says and which tools it calls.

A conversation asks for a script by `[[script:NAME key=value …]]` in a user's text. In every text and tool input
`{key}` stands for the parameter, and `{result}` for what the tools of the turn before said. The last turn has no tool
call: its text ends the conversation. Within a script every tool call differs from the others, for it is by their calls
that turns are recognised as done. A turn with a refusal is passed once the conversation has been compacted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from companion.simulator.messages import Refusal, Text, Thinking, ToolUse


@dataclass(frozen=True, slots=True)
class Words:
    """A text of numbered words, as many as the parameter says, so that no two deltas are equal."""

    count: str


Part = Thinking | Text | ToolUse | Words


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: its parts in order, or a refusal; `usage` overrides the token counts, with {key} filled in."""

    parts: tuple[Part, ...] = ()
    refusal: Refusal | None = None
    usage: Mapping[str, str] = field(default_factory=dict)
    piece: int = 12


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation; `defaults` are its parameters, `about` is its line in `--list`."""

    about: str
    turns: tuple[Turn, ...]
    defaults: Mapping[str, str] = field(default_factory=dict)


def _bash(command: str, description: str) -> ToolUse:
    return ToolUse("Bash", {"command": command, "description": description})


# 8 x 8 pixels, red.
_PICTURE: Final = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"

_TOO_LONG: Final = Refusal(400, "invalid_request_error", "prompt is too long: 1000500 tokens > 1000000 maximum")

_TOOLS: Final = (
    Turn((Text("I write a note."), _bash("printf 'alpha\\n' > {dir}/note.txt", "Write a note"))),
    Turn((ToolUse("Read", {"file_path": "{dir}/note.txt"}),)),
    Turn(
        (
            Text("Now I change it."),
            ToolUse("Edit", {"file_path": "{dir}/note.txt", "old_string": "alpha", "new_string": "beta"}),
        )
    ),
    Turn((_bash("cat {dir}/note.txt", "Show the note"),)),
)
_PARALLEL: Final = (Turn((Text("Two at once."), _bash("echo one", "Say one"), _bash("echo two", "Say two"))),)
_IMAGE: Final = (
    Turn((_bash(f"printf %s {_PICTURE} | base64 -d > {{dir}}/picture.png", "Paint a picture"),)),
    Turn((Text("I look at it."), ToolUse("Read", {"file_path": "{dir}/picture.png"}))),
)
_AGENT: Final = (
    Turn(
        (
            Text("I ask somebody."),
            ToolUse(
                "Agent",
                {
                    "description": "Say two things",
                    "prompt": "Do what the script says. [[script:{agent}]]",
                    "subagent_type": "general-purpose",
                    "run_in_background": False,
                },
            ),
        )
    ),
)
_COMPACTION: Final = (Turn(refusal=_TOO_LONG),)

SCRIPTS: Final[Mapping[str, Script]] = {
    "hi": Script("a plain text", (Turn((Text("Hello from the simulator."),)),)),
    "tools": Script(
        "Bash, Read, Edit and Bash on {dir}/note.txt",
        (*_TOOLS, Turn((Text("DONE tools: {result}"),))),
        {"dir": "."},
    ),
    "parallel": Script(
        "two Bash calls in one answer",
        (*_PARALLEL, Turn((Text("DONE parallel: {result}"),))),
    ),
    "image": Script(
        "paints {dir}/picture.png and reads it",
        (*_IMAGE, Turn((Text("DONE image: {result}"),))),
        {"dir": "."},
    ),
    "agent": Script(
        "a sub-agent that follows the script {agent}",
        (*_AGENT, Turn((Text("DONE agent: {result}"),))),
        {"agent": "parallel"},
    ),
    "thinking": Script(
        "thinking with a signature, before a tool and before the end",
        (
            Turn((Thinking("Let me think about it first."), Text("I run it."), _bash("echo thought", "Say thought"))),
            Turn((Thinking("That went well."), Text("DONE thinking: {result}"))),
        ),
    ),
    "compact": Script(
        "a prompt that is too long: the client compacts, then the conversation goes on",
        (
            *_PARALLEL,
            Turn((_bash("echo full", "Say full"),)),
            *_COMPACTION,
            Turn((_bash("echo three", "Say three"),)),
            Turn((Text("DONE compact: {result}"),)),
        ),
    ),
    "full": Script(
        "an answer that reports {tokens} input tokens: the client compacts by itself, then the conversation goes on",
        (
            *_PARALLEL,
            Turn((_bash("echo full", "Say full"),), usage={"input_tokens": "{tokens}"}),
            Turn((_bash("echo three", "Say three"),)),
            Turn((Text("DONE full: {result}"),)),
        ),
        {"tokens": "990000"},
    ),
    "mistake": Script(
        "reads a file that is not there",
        (Turn((ToolUse("Read", {"file_path": "{dir}/missing.txt"}),)), Turn((Text("DONE mistake"),))),
        {"dir": "."},
    ),
    "long": Script(
        "{deltas} deltas; together with pace=20ms a slow answer",
        (Turn((Words("{deltas}"),), piece=6),),
        {"deltas": "200"},
    ),
    "everything": Script(
        "tools, parallel calls, an image, a sub-agent and a compaction in one conversation in {dir}",
        (
            *_TOOLS,
            *_PARALLEL,
            *_IMAGE,
            *_AGENT,
            *_COMPACTION,
            Turn((_bash("cat {dir}/note.txt {dir}/note.txt", "Show the note twice"),)),
            Turn((Text("DONE everything: {result}"),)),
        ),
        {"dir": ".", "agent": "thinking"},
    ),
}
