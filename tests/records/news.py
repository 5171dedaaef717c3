"""News of exchanges as the data plane tells them, a recorder that hears them, and conversations that grow."""

import json
import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from companion.clock import SystemClock
from companion.config.models import RecordsSettings
from companion.errors import Fault
from companion.events import (
    AttemptEnded,
    AttemptStarted,
    Consideration,
    Events,
    ExchangePlanned,
    ExchangeSettled,
    ExchangeStarted,
    Timings,
)
from companion.net import ulid
from companion.records.queries import Records
from companion.records.recorder import Recorder
from companion.records.views import Detail, Part

CLOCK = SystemClock()
SESSION = "11111111-2222-4333-8444-555555555500"
HEADERS = (
    (b"host", b"127.0.0.1:8080"),
    (b"authorization", b"Bearer companion"),
    (b"user-agent", b"claude-cli/2.1.330 (external, sdk-cli)"),
    (b"content-length", b"151234"),
    (b"x-claude-code-session-id", SESSION.encode()),
    (b"content-type", b"application/json"),
)
ANSWER = (
    (b"content-type", b"text/event-stream"),
    (b"request-id", b"req_1"),
    (b"date", b"Wed, 25 Nov 2026 16:00:00 GMT"),
)


class Conversation:
    """A Messages request that grows by a tool result and an answer with each turn; the cache marker moves on."""

    def __init__(self, size: int = 2000, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._size = size
        self.messages: list[dict[str, Any]] = []
        self._rest = {
            "system": [{"type": "text", "text": self._words(7000), "cache_control": {"type": "ephemeral"}}],
            "tools": [{"name": f"T{n}", "description": self._words(2000), "input_schema": {}} for n in range(10)],
            "max_tokens": 32000,
            "stream": True,
        }

    def turn(self) -> bytes:
        for block in (block for message in self.messages for block in message["content"]):
            block.pop("cache_control", None)
        if self.messages:
            use = {"type": "tool_use", "id": "t", "name": "T1", "input": {"path": self._words(30)}}
            text = {"type": "text", "text": self._words(300)}
            self.messages.append({"role": "assistant", "content": [text, use]})
        result = {"tool_use_id": "t", "type": "tool_result", "content": self._words(self._size)}
        self.messages.append({"role": "user", "content": [result | {"cache_control": {"type": "ephemeral"}}]})
        body = {"model": "claude-opus-5-5", "messages": self.messages, **self._rest}
        return json.dumps(body, separators=(",", ":")).encode()

    def _words(self, size: int) -> str:
        letters = 'abcdefghijklmnopqrstuvwxyz  \n{}[]",'
        return "".join(self._random.choices(letters, k=size))


def exchange(
    events: Events,
    body: bytes = b"{}",
    *,
    recorder: Recorder | None = None,
    answer: Collection[bytes] = (),
    sent: tuple[bytes, ...] | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = HEADERS,
    answer_headers: tuple[tuple[bytes, bytes], ...] = ANSWER,
    outcome: str = "complete",
    status: int = 200,
    endpoint: str = "kimi",
    model: str = "claude-opus-5-5",
    session: str | None = SESSION,
    client: str | None = None,
    fault: Fault | None = None,
    settle: bool = True,
    id: str | None = None,
) -> str:
    """Tell one exchange with one try, from its start to its end; returns its id."""
    id = id or ulid.new(CLOCK)
    now, path = CLOCK.monotonic, "/v1/messages"
    started = now()
    events.publish(
        ExchangeStarted(
            id, started, "POST", path, model, True, session, b"beta=true", headers, body, "127.0.0.1:5", client
        )
    )
    events.publish(ExchangePlanned(id, now(), (Consideration(endpoint, 0, True, "first"),)))
    url = "https://upstream.example/v1/messages"
    events.publish(AttemptStarted(id, 1, now(), endpoint, 0, model, url, headers, (body,) if sent is None else sent))
    tapes = [tape for tape in (recorder.tape(id, 1), recorder.tape(id, None)) if tape] if recorder else []
    for piece in answer:
        for tape in tapes:
            tape.add(piece)
    for tape in tapes:
        tape.end()
    first = now()
    timings = Timings(reused=False, dns=0.001, connect=0.002, write=0.003)
    events.publish(
        AttemptEnded(id, 1, now(), endpoint, 0, status, fault, first, first, timings, answer_headers, (), "req_1")
    )
    if settle:
        events.publish(
            ExchangeSettled(
                id, now(), started, "POST", path, outcome, status, endpoint, 1, model, model, 10, 20, (), fault,
                credential=0, cache_read_tokens=5, stop_reason="end_turn", session=session, client=client,
                headers=answer_headers,
            )
        )  # fmt: skip
    return id


class Read(Records):
    """Reads what must be there."""

    def there(self, id: str) -> Detail:
        found = self.exchange(id)
        assert found is not None
        return found

    def bytes_of(self, id: str, part: Part, attempt: int = 0) -> bytes:
        found = self.body(id, part, attempt)
        return b"" if found is None else found.data


class Recording:
    """A recorder, what it hears, and what it has written, which can be read once it is closed."""

    def __init__(self, folder: Path, settings: dict[str, Any], secrets: Collection[str]) -> None:
        self.folder = folder
        self.path = folder / "companion.db"
        self.events = Events()
        self.recorder = Recorder(RecordsSettings(**settings), folder, self.events, CLOCK, lambda: secrets)
        self.recorder.start()

    def tell(self, body: bytes = b"{}", **changes: Any) -> str:
        return exchange(self.events, body, recorder=self.recorder, **changes)

    def read(self) -> Read:
        """End the recording and read what there is."""
        self.recorder.close()
        return Read(self.path)

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.name.startswith("companion.db"))


@contextmanager
def recording(folder: Path, *, secrets: Collection[str] = (), **settings: Any) -> Iterator[Recording]:
    made = Recording(folder, settings, secrets)
    try:
        yield made
    finally:
        made.recorder.close()


def until(happened: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for it, or fail."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
