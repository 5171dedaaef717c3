"""A running proxy for tests: the real App, on a free port, from a real file."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from companion.app import App
from companion.config.file import load
from companion.events import AttemptEnded, CircuitChanged, ExchangeSettled, Switched

KEY = "sk-secret-of-the-first"


def endpoint(name: str, url: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "auth": {"type": "api_key", "values": [f"{KEY}-{name}"]}, **changes}


class Proxy:
    """The App, its address, and all news since it began."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.url = app.addresses[0]
        self.news: list[Any] = []
        for kind in (ExchangeSettled, AttemptEnded, Switched, CircuitChanged):
            app.events.subscribe(kind, self.news.append)

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.news if isinstance(event, kind)]


@asynccontextmanager
async def running(folder: Path, *endpoints: Mapping[str, Any], **config: Any) -> AsyncIterator[Proxy]:
    """Serve with these endpoints (tried in this order); other keyword arguments are sections of the configuration."""
    path = folder / "config.yaml"
    listed = [{"priority": number, **each} for number, each in enumerate(endpoints, 1)]
    server = {"port": 0, **config.pop("server", {})}
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump({"server": server, "endpoints": listed, **config}, file)
    app = App(load(path))
    await app.start()
    try:
        yield Proxy(app)
    finally:
        await app.close()
