"""`companion check`: what is wrong with the configuration, or what it amounts to."""

import sys
from collections.abc import Iterator

from companion.cli.settings import base_url, opened
from companion.config.file import Loaded
from companion.config.models import EndpointSettings


def report(explicit: str | None) -> None:
    """Print a summary. Secrets that cannot be resolved are warnings: the proxy serves with what is left."""
    loaded = opened(explicit)
    settings = loaded.settings
    clients = ", ".join(client.name for client in settings.access.clients)
    print(f"{loaded.path} is fine.\n\nProxy    {base_url(settings.server)}")
    print(f"Clients  {clients or 'every program on this machine'}")
    print(f"Records  {settings.records.store or 'none'}")
    endpoints = sorted(settings.endpoints, key=lambda each: each.priority)
    if endpoints:
        print("\nEndpoints, in the order they are tried:")
        _table([_row(each) for each in endpoints])
    else:
        print("\nThere is no endpoint yet: requests get an error that says so.")
    for warning in warnings(loaded):
        print(f"warning: {warning}", file=sys.stderr)


def warnings(loaded: Loaded) -> Iterator[str]:
    """A sentence for each endpoint or key that cannot be used."""
    for endpoint in loaded.settings.endpoints:
        problems = [credential.problem for credential in loaded.credentials[endpoint.id]]
        if not endpoint.enabled:
            continue
        if all(problems):
            yield f"endpoint {endpoint.name} is not used: {problems[0]}"
            continue
        for number, problem in enumerate(problems):
            if problem is not None:
                yield f"endpoint {endpoint.name}, auth.values[{number}] is not used: {problem}"


def _row(endpoint: EndpointSettings) -> tuple[str, str, str, str]:
    keys = len(endpoint.auth.values)
    auth = endpoint.auth.type + (f", {keys} key{'s' if keys > 1 else ''}" if keys else "")
    return (str(endpoint.priority) if endpoint.enabled else "off", endpoint.name, endpoint.shown_url, auth)


def _table(rows: list[tuple[str, str, str, str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
