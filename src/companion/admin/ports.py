"""What the API needs from the rest of the program: made in app.py, and nothing else is reached for."""

from collections.abc import Callable
from dataclasses import dataclass

from companion.admin.live import Live
from companion.clock import Clock
from companion.config.edit import Editor
from companion.config.file import Loaded
from companion.records.recorder import RecorderStats
from companion.upstream.endpoint import Endpoints
from companion.upstream.learned import Learned


@dataclass(frozen=True, slots=True)
class Ports:
    """`apply` takes a configuration over on the event loop, at once; whatever it raises, the one before it stays.

    `started` is when the program began (seconds since the epoch), `store` what it records into since then.
    """

    loaded: Callable[[], Loaded]
    apply: Callable[[Loaded], None]
    editor: Editor
    endpoints: Endpoints
    live: Live
    learned: Learned
    clock: Clock
    addresses: Callable[[], list[str]]
    started: float
    store: str | None
    recorder: Callable[[], RecorderStats]
