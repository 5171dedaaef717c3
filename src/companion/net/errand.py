"""What a proxy is sent for, and the sentences about how that ended: they name the proxy and the upstream."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from companion.errors import Fault, Kind, Party, Phase, UpstreamError
from companion.net.origin import Origin
from companion.net.proxies import Proxy
from companion.net.reach import Stop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Errand:
    """A proxy is to connect to an origin, within `limit` seconds for everything but TLS."""

    proxy: Proxy
    origin: Origin
    limit: float

    @property
    def stop(self) -> Stop:
        """The proxy itself, to connect to."""
        return Stop(self.proxy.host, self.proxy.port, f"the proxy {self.proxy}", f" on the way to {self.origin}")

    def fault(self, kind: Kind, said: str) -> UpstreamError:
        """The proxy did what is `said`."""
        return UpstreamError(Fault(Party.UPSTREAM, Phase.CONNECT, kind, f"the proxy {self.proxy} {said}"))

    def late(self) -> UpstreamError:
        """Its time is over."""
        return self.fault(Kind.CONNECT_TIMEOUT, f"did not connect to {self.origin} within {self.limit:g} s")

    async def answered(self, answer: Awaitable[T], left: float) -> T:
        """What the proxy answers within the seconds that are left. Raises UpstreamError when it does not."""
        try:
            async with asyncio.timeout(left):
                return await answer
        except TimeoutError:
            raise self.late() from None
        except ConnectionAbortedError:
            said = f"closed the connection when asked to connect to {self.origin}"
            raise self.fault(Kind.CLOSED, said) from None
        except OSError as error:
            said = f"broke the connection when asked to connect to {self.origin}: {error.strerror or error}"
            raise self.fault(Kind.RESET, said) from None
