"""The gate: nothing is sent before the upstream has proved itself, so that every fault until then stays invisible.

The proof is a valid message_start and the first content. Without a verdict the gate opens after `MAX_EVENTS` events or
`MAX_BYTES` bytes: it holds back no more than that. An answer that is complete and empty is a fault, too, but one that
passes when nobody is left to give a better one.
"""

from typing import Final

from companion.errors import Answer, Fault, Kind, Party, Phase, UpstreamError
from companion.net.h1 import Headers
from companion.protocol.anthropic import ErrorEvent, Ping, read
from companion.protocol.errors import classify_error
from companion.protocol.sse import Decoder, Frame
from companion.protocol.validate import Cut, Stream, Violated
from companion.proxy.sniff import Nature, html_fault, json_fault, nature

MAX_EVENTS: Final = 64
MAX_BYTES: Final = 256 * 1024
MAX_JSON: Final = 1024 * 1024


class Gate:
    """Feed it pieces until `open` is True. `held` is what the client gets then; the relay goes on with `stream`."""

    def __init__(self, stream: Stream, status: int, headers: Headers, *, visible: bool) -> None:
        self.stream = stream
        self.decoder = Decoder()
        self.open = False
        self.held: list[bytes] = []
        self._status, self._headers = status, headers
        self._visible = visible
        self._start: bytes | None = b""
        self._events = 0
        self._bytes = 0

    def feed(self, piece: bytes) -> None:
        """Raises UpstreamError."""
        if self._start is not None:
            piece = self._start + piece
            seen = nature(piece)
            if seen is Nature.HTML:
                raise html_fault(self._status, Phase.FIRST_CONTENT)
            if seen is Nature.OTHER:
                self._start = None
            elif len(piece) > MAX_JSON:
                raise self._json(piece)
            else:
                self._start = piece
                return
        self._bytes += len(piece)
        try:
            for frame in self.decoder.feed(piece):
                self._take(frame)
        except Violated as violated:
            kind = Kind.VIOLATION if self.stream.started else Kind.NO_MESSAGE_START
            raise UpstreamError(self._fault(kind, str(violated))) from None
        if self._events > MAX_EVENTS or self._bytes > MAX_BYTES:
            self.open = True

    def end(self) -> None:
        """The upstream has ended the body before the gate opened. Raises UpstreamError, but for an answer."""
        if self._start is not None:
            if not self._start.strip():
                raise UpstreamError(self._fault(Kind.EMPTY_BODY, "an empty body"))
            raise self._json(self._start)
        try:
            self.held.append(self.last())
            self.held.append(self.stream.end())
        except Cut as cut:
            kind = Kind.CUT if self.stream.started else Kind.NO_MESSAGE_START
            raise UpstreamError(self._fault(kind, str(cut))) from None
        self._judge_complete()

    def last(self) -> bytes:
        """What a last event comes to that lacks its blank line. Half an event, or a wrong one, is as good as none."""
        if not self.decoder.rest:
            return b""
        try:
            return self.stream.feed(self.decoder.feed(b"\n\n"), b"")
        except Violated:
            return b""

    def _take(self, frame: Frame) -> None:
        event = read(frame)
        if isinstance(event, ErrorEvent):
            headers = [field for field in self._headers if field[0] != b"content-type"]
            own = Answer(self._status, (*headers, (b"content-type", b"application/json")), frame.data)
            fault = classify_error(event.error.type, event.error.message, answer=own)
            raise UpstreamError(fault.at(Phase.FIRST_CONTENT))
        if frame.data and not isinstance(event, Ping):
            self._events += 1
        self.held.append(self.stream.take_frame(event, frame))
        if self.stream.complete:
            self._judge_complete()
        elif self.stream.visible if self._visible else self.stream.content:
            self.open = True

    def _judge_complete(self) -> None:
        if self.stream.empty:
            whole = Answer(self._status, tuple(self._headers), b"".join(self.held))
            raise UpstreamError(self._fault(Kind.EMPTY_ANSWER, "an answer without content", whole))
        self.open = True

    def _json(self, body: bytes) -> UpstreamError:
        message = "one JSON body instead of a stream"
        return json_fault(Kind.NOT_A_STREAM, message, self._status, self._headers, body, Phase.FIRST_CONTENT)

    def _fault(self, kind: Kind, message: str, answer: Answer | None = None) -> Fault:
        return Fault(Party.UPSTREAM, Phase.FIRST_CONTENT, kind, message, self._status, answer=answer)
