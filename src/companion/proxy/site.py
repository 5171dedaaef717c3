"""What is not the data plane: the page and the API under /admin, for programs and people on this machine only."""

from collections.abc import Callable
from typing import Final

import msgspec

from companion.config.hosts import is_loopback
from companion.net.h1 import Headers, header
from companion.proxy.port import Handler, Port, Request, respond

Page = Callable[[str, str], tuple[int, Headers, bytes]]

_API: Final = "/admin/api"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# A reverse proxy on this machine speaks for somebody who may be anywhere.
_RELAYED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})


class Site:
    """A Handler. `page` answers method and path at once, `api` (if there is one) everything under /admin/api."""

    def __init__(self, page: Page, api: Handler | None = None) -> None:
        self._page = page
        self._api = api

    async def __call__(self, request: Request, port: Port) -> None:
        path = request.path
        if path == "/admin" or path.startswith("/admin/"):
            if not is_loopback(request.peer) or any(name in _RELAYED for name, _ in request.headers):
                _refuse(port, "not_loopback", "/admin answers on the machine itself only (127.0.0.1 and ::1).")
                return
            if request.method not in _SAFE and header(request.headers, b"x-companion-csrf") != b"1":
                _refuse(port, "csrf", "A request that changes something needs the header x-companion-csrf: 1.")
                return
        if self._api is not None and (path == _API or path.startswith(_API + "/")):
            await self._api(request, port)
        else:
            respond(port, *self._page(request.method, path))


def _refuse(port: Port, code: str, sentence: str) -> None:
    problem = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": sentence, "code": code}
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    respond(port, 403, headers, msgspec.json.encode(problem))
