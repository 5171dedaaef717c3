"""Who should rather not be asked by this session: an endpoint that cut an answer off is last for a while, never out.

The client is back 0.6 s after a cut, and another endpoint should have the answer then. Nobody else's order changes.
"""

from collections import OrderedDict
from typing import Final

from companion.clock import Clock

SHUNNED_FOR: Final = 60.0
SESSIONS: Final = 1024
_NAME: Final = 128  # characters: session names come from clients
_NOBODY: Final[frozenset[str]] = frozenset()


class Shunned:
    """Endpoint ids by session, for SHUNNED_FOR seconds each. Remembers the last SESSIONS sessions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, dict[str, float]] = OrderedDict()

    def add(self, session: str, endpoint: str) -> None:
        """`endpoint` has just cut off an answer for `session`."""
        now = self._clock.monotonic()
        name = session[:_NAME]
        running = {other: until for other, until in self._sessions.get(name, {}).items() if until > now}
        self._sessions[name] = running | {endpoint: now + SHUNNED_FOR}
        self._sessions.move_to_end(name)
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)

    def of(self, session: str | None) -> frozenset[str]:
        """The endpoints to ask last for this session."""
        if not self._sessions or session is None:
            return _NOBODY
        name = session[:_NAME]
        now = self._clock.monotonic()
        shunned = frozenset(endpoint for endpoint, until in self._sessions.get(name, {}).items() if until > now)
        if not shunned:
            self._sessions.pop(name, None)
        return shunned
