"""Which path is whose: `/v1/…` is the pipeline's, a few probes are answered on the spot, the rest is the site's."""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from companion.errors import ClientError
from companion.net.h1 import Headers
from companion.proxy.exchange import Exchange
from companion.proxy.models import ModelsSurface
from companion.proxy.other import OtherSurface
from companion.proxy.pipeline import Pipeline
from companion.proxy.port import Handler, Port, Request, respond
from companion.proxy.relay import StreamSurface
from companion.proxy.whole import CountSurface, WholeSurface

_SLASHES: Final = re.compile(r"[/\\]")
_PROBES: Final = frozenset({"/", "/api/hello"})


class Routes:
    """What the server calls for every request. `site` answers what is not ours, `ready` is asked by /readyz."""

    def __init__(self, pipeline: Pipeline, site: Handler, ready: Callable[[], bool]) -> None:
        self._pipeline = pipeline
        self._site = site
        self._ready = ready

    async def __call__(self, request: Request, port: Port) -> None:
        path = "/" + request.path.strip("/")
        if path == "/v1/messages":
            _only(request, "POST")
            await self._pipeline.serve(request, port, path=path, messages=True, surface_of=_messages)
        elif path == "/v1/messages/count_tokens":
            _only(request, "POST")
            await self._pipeline.serve(request, port, path=path, messages=True, surface_of=CountSurface)
        elif path.startswith("/v1/") and _climbs(path):
            raise ClientError(400, "invalid_request_error", "a path with . or .. in it may mean another one")
        elif (path == "/v1/models" or path.startswith("/v1/models/")) and request.method == "GET":
            await self._pipeline.serve(request, port, path=path, messages=False, surface_of=ModelsSurface)
        elif path.startswith("/v1/"):
            if request.method == "TRACE":
                raise ClientError(405, "invalid_request_error", "TRACE would send back the key of an endpoint")
            path = "/" + request.path.lstrip("/")
            await self._pipeline.serve(request, port, path=path, messages=False, surface_of=OtherSurface)
        elif path in _PROBES:
            _only(request, "GET", "HEAD")
            respond(port, 200, _TEXT, b"" if path != "/" else _HELLO)
        elif path == "/healthz":
            respond(port, 200, _JSON, b'{"status":"ok"}')
        elif path == "/readyz":
            ready = self._ready()
            body = b'{"status":"ready"}' if ready else b'{"status":"no endpoint can be used"}'
            respond(port, 200 if ready else 503, _JSON, body)
        else:
            await self._site(request, port)


_TEXT: Final[Headers] = [(b"content-type", b"text/plain; charset=utf-8")]
_JSON: Final[Headers] = [(b"content-type", b"application/json")]
_HELLO: Final = b"Claude Code Companion is running. See /admin/ for what it does.\n"


def _messages(exchange: Exchange) -> StreamSurface | WholeSurface:
    return StreamSurface(exchange) if exchange.facts.stream else WholeSurface(exchange)


def _climbs(path: str) -> bool:
    """Whether it leads out of /v1/ once somebody resolves it: what is there is not for those who have a token here."""
    return any(part in {".", ".."} for part in _SLASHES.split(unquote(path)))


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        ways = " or ".join(methods)
        raise ClientError(405, "invalid_request_error", f"{request.method} {request.path}: this path takes {ways} only")
