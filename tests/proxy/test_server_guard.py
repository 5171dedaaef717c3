"""No web page gets an answer: neither by DNS rebinding (Host) nor from elsewhere (Origin, Sec-Fetch-Site)."""

from typing import Any

import pytest

from companion.config.models import ServerSettings
from companion.proxy.guard import check_host, check_origin
from companion.proxy.refused import Refused
from tests.proxy.client import HOST, serving

GET = "GET /admin/ HTTP/1.1"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "localhost.",
        "app.localhost:1",
        "127.0.0.1:8080",
        "127.8.9.10",
        "[::1]",
        "[::1]:80",
    ],
)
async def test_a_loopback_host_is_ours(host):
    async with serving() as at:
        assert (await at.asks(GET, f"Host: {host}", "", "")).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "128.0.0.1", "[::2]", "2130706433"],
)
async def test_a_foreign_host_is_refused_with_the_way_out(host):
    async with serving() as at:
        answer = await at.asks(GET, f"Host: {host}:8080", "", "")
        type, message = answer.error
        assert (answer.status, type) == (403, "permission_error")
        assert host.strip("[]") in message
        assert "server.trusted_hosts" in message
        assert not at.requests


@pytest.mark.parametrize(
    "host", ["", "local host", "user@localhost", "localhost:port", "[::1", "localhost, evil", "a" * 301]
)
async def test_a_host_that_is_none_is_refused(host):
    async with serving() as at:
        assert (await at.asks(GET, f"Host: {host}", "", "")).status == 400


async def test_without_a_host_there_is_no_request():
    async with serving() as at:
        assert (await at.asks(GET, "", "")).status == 400


async def test_two_hosts_are_refused():
    async with serving() as at:
        assert (await at.asks(GET, HOST, HOST, "", "")).status == 400


async def test_an_absolute_target_is_held_to_the_same_rule():
    async with serving() as at:
        assert (await at.asks("GET http://evil.example/ HTTP/1.1", HOST, "", "")).status == 403
        assert (await at.asks("GET http://localhost/ HTTP/1.1", "Host: evil.example", "", "")).status == 403


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", "HTTP://APP.LOCALHOST"]
)
async def test_a_page_of_this_machine_may_ask(origin):
    async with serving() as at:
        assert (await at.asks(GET, HOST, f"Origin: {origin}", "Sec-Fetch-Site: same-site", "", "")).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "file://",
        "chrome-extension://abcdef",
        "http://localhost.evil.example",
        "http://a b",
    ],
)
async def test_a_foreign_origin_is_refused(origin):
    async with serving() as at:
        answer = await at.asks("POST /v1/messages HTTP/1.1", HOST, f"Origin: {origin}", "Content-Length: 2", "", "{}")
        assert (answer.status, answer.error[0]) == (403, "permission_error")
        assert not at.requests


async def test_two_origins_are_refused():
    async with serving() as at:
        origin = "Origin: http://localhost"
        assert (await at.asks(GET, HOST, origin, origin, "", "")).status == 400


async def test_a_cross_site_request_without_an_origin_is_refused():
    async with serving() as at:
        assert (await at.asks(GET, HOST, "Sec-Fetch-Site: cross-site", "", "")).status == 403
        assert (await at.asks(GET, HOST, "Sec-Fetch-Site: same-origin", "", "")).status == 200
        assert (await at.asks(GET, HOST, "Sec-Fetch-Site: none", "", "")).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/messages", "/admin/"])
async def test_the_rule_holds_for_every_method_on_every_route(method, path):
    async with serving() as at:
        answer = await at.asks(f"{method} {path} HTTP/1.1", HOST, "Origin: https://evil.example", "", "")
        assert answer.status == 403


async def test_a_trusted_host_may_ask_and_be_asked():
    async with serving(trusted_hosts=("Box.Lan",)) as at:
        lines = ("Host: box.lan:8080", "Origin: http://box.lan:8080", "Sec-Fetch-Site: cross-site")
        assert (await at.asks(GET, *lines, "", "")).status == 200
        assert (await at.asks(GET, "Host: other.box.lan", "", "")).status == 403


# === beyond loopback


def refused(authority: str, local: str, **settings: Any) -> int | None:
    """The status of the refusal, None where there is none."""
    made = ServerSettings.model_construct(**{"host": "127.0.0.1", "trusted_hosts": (), **settings})
    try:
        check_host(authority.encode(), made, local)
        check_origin(f"http://{authority}".encode(), None, made, local)
    except Refused as error:
        return error.status
    return None


@pytest.mark.parametrize(
    ("authority", "local"),
    [
        ("192.0.2.7:8080", "192.0.2.7"),
        ("[2001:db8::7]:8080", "2001:db8::7"),
        ("[2001:DB8:0:0::7]", "2001:db8::7"),
        ("[fe80::1]", "fe80::1%eth0"),
        ("localhost", "192.0.2.7"),
    ],
)
def test_the_address_that_a_connection_came_in_on_is_ours(authority, local):
    assert refused(authority, local, host="0.0.0.0") is None


@pytest.mark.parametrize("authority", ["evil.example", "192.0.2.8", "[2001:db8::8]", "0.0.0.0", "[::]", "192.0.2.7.x"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "gateway.lan"])
def test_a_foreign_host_is_refused_on_every_address(authority, host):
    assert refused(authority, "192.0.2.7", host=host) == 403


def test_the_name_that_we_listen_on_is_ours():
    assert refused("Gateway.LAN.:8080", "192.0.2.7", host="gateway.lan") is None
    assert refused("gateway.lan", "192.0.2.7", host="0.0.0.0", trusted_hosts=("gateway.lan",)) is None
    assert refused("[2001:DB8::9]", "192.0.2.7", host="0.0.0.0", trusted_hosts=("2001:db8:0::9",)) is None
