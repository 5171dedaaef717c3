"""What the server itself says no to, before any handler hears of it."""

from companion.clock import Clock
from companion.net import ulid
from companion.net.h1 import FramingError, HeadTooLarge
from companion.protocol.errors import envelope, error_type
from companion.proxy.port import Port, respond


class Refused(FramingError):
    """A request gets `status` and an error envelope; after it the connection closes.

    `headers` are extra ones for the answer. It is a FramingError because it stops the parser just as one does.
    """

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers

    @classmethod
    def of(cls, error: FramingError) -> "Refused":
        """The answer to bytes that are not HTTP as we speak it."""
        if isinstance(error, cls):
            return error
        if isinstance(error, HeadTooLarge):
            return cls(431, f"The request's headers are too large: {error}.")
        return malformed(str(error))


def malformed(what: str) -> Refused:
    """400 for a request that cannot be read in one way only."""
    return Refused(400, f"The request is not valid HTTP/1.1: {what}.")


def overloaded(what: str) -> Refused:
    """529 for what will be possible again in a moment."""
    return Refused(529, what, (b"retry-after", b"1"))


def tell(port: Port, clock: Clock, refused: Refused, *, type: str | None = None) -> str:
    """Answer with an error envelope, of the `type` that goes with the status unless given. Returns the id in it."""
    id = ulid.new(clock)
    headers = [(b"content-type", b"application/json"), (b"x-request-id", id.encode()), *refused.headers]
    respond(port, refused.status, headers, envelope(type or error_type(refused.status), refused.message, id))
    return id
