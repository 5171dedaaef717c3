"""Who may come to /admin."""

import pytest

from companion.proxy.http_port import HttpPort
from companion.proxy.port import Request, respond
from companion.proxy.site import Site
from tests.proxy.client import HOST, serving


async def api(request, port):
    respond(port, 200, [], b"api")


site = Site(lambda method, path: (200, [], f"page {path}".encode()), api)


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/admin/api", b"api"),
        ("/admin/api/endpoints?x", b"api"),
        ("/admin/", b"page /admin/"),
        ("/admin/apis", b"page /admin/apis"),
        ("/elsewhere", b"page /elsewhere"),
    ],
)
async def test_the_api_has_its_paths_and_the_page_the_rest(path, who):
    async with serving(site) as at:
        assert await at.asks(f"GET {path} HTTP/1.1", HOST, "", "") == (200, who)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_changes_something_needs_a_header_that_no_form_can_send(method):
    async with serving(site) as at:
        answer = await at.asks(f"{method} /admin/api/x HTTP/1.1", HOST, "Content-Length: 0", "", "")
        assert answer.status == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert b'"code":"csrf"' in answer.body
        told = "X-Companion-CSRF: 1"
        assert await at.asks(f"{method} /admin/api/x HTTP/1.1", HOST, told, "Content-Length: 0", "", "") == (
            200,
            b"api",
        )


class Heard:
    """A line that remembers what went out on it."""

    def __init__(self) -> None:
        self.sent = b""

    def last(self) -> bool:
        return False

    def date(self) -> bytes:
        return b"now"

    def send(self, *buffers: bytes) -> bool:
        self.sent += b"".join(buffers)
        return True

    async def flushed(self) -> None:
        pass

    def answered(self, *, keep: bool) -> None:
        pass


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        ("127.0.0.1", 200),
        ("127.8.9.10", 200),
        ("::1", 200),
        ("192.168.1.20", 403),
        ("10.0.0.1", 403),
        ("fe80::1%eth0", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", [b"/admin", b"/admin/", b"/admin/api/config"])
async def test_admin_answers_loopback_peers_only(peer, status, path):
    line = Heard()
    port = HttpPort(line, bodyless=False, old=False)
    # Whatever Host says: only where the connection comes from counts.
    await site(Request("GET", path, [(b"host", b"127.0.0.1")], b"", peer, 0.0), port)
    assert line.sent.startswith(b"HTTP/1.1 %d " % status)
    assert (b"on the machine itself" in line.sent) == (status == 403)


@pytest.mark.parametrize("told", ["Forwarded: for=192.0.2.9", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 192.0.2.9"])
async def test_admin_does_not_answer_what_a_reverse_proxy_on_this_machine_relays(told):
    async with serving(site) as at:
        answer = await at.asks("GET /admin/api/config HTTP/1.1", HOST, told, "", "")
        assert answer.status == 403
        assert b'"code":"not_loopback"' in answer.body
        assert (await at.asks("GET /elsewhere HTTP/1.1", HOST, told, "", "")).status == 200
