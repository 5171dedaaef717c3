"""Any other path under /v1/: carried to the first endpoint that can be reached, and its answer back, as it is."""

from math import inf

from companion.errors import UpstreamError
from companion.protocol.errors import redact
from companion.proxy.attempt import Attempt
from companion.proxy.exchange import Exchange, Outcome
from companion.proxy.failed import Refusal
from companion.proxy.flow import Flow
from companion.proxy.headers import passed
from companion.upstream.transport import Response


class OtherSurface:
    """Nothing is known about these answers, so nothing is checked; whatever status comes is the answer."""

    slot = False
    reconnects = False
    streams = True
    count_tokens = False
    any_status = True
    patience = inf

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._response: Response
        self.repeatable = exchange.request.method in {"GET", "HEAD"}

    async def open(self, attempt: Attempt, response: Response) -> None:
        self._response = response

    async def relay(self, attempt: Attempt) -> None:
        exchange, response = self._exchange, self._response
        exchange.release()
        exchange.status = response.status
        failed = response.status >= 400
        if failed:
            # Nothing that the endpoint's health could be told by.
            attempt.tried.settle(None, count=False)
        # An error may hold the key that it complains about.
        secrets = (attempt.candidate.credential or "",) if failed else ()
        headers = [(name, redact(value, secrets)) for name, value in passed(response.headers, limits=attempt.limits)]
        exchange.port.start(response.status, [*headers, *exchange.own_headers()])
        flow = Flow(exchange.port, response)
        try:
            await response.pipe(lambda piece: flow.write(redact(piece, secrets)), idle=attempt.candidate.timeouts.idle)
        except UpstreamError as error:
            exchange.fault, exchange.outcome = error.fault, Outcome.TRUNCATED
            exchange.port.abort()
        else:
            exchange.port.finish()
        finally:
            flow.close()
            response.close()

    def instead(self) -> Refusal | None:
        return None

    def close(self) -> None:
        """Nothing outlives the answer."""
