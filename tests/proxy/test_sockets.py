"""Where we listen for which server.host, and under which addresses we can be asked."""

import errno
import socket

import pytest

from companion.proxy.sockets import addresses_of, base_urls, listen
from tests.proxy.client import HOST, serving


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ("127.0.0.1", "::1")),
        ("localhost", ("127.0.0.1", "::1")),
        ("::1", ("::1",)),
        ("127.0.0.2", ("127.0.0.2",)),
        ("0.0.0.0", ("0.0.0.0", "::1")),
        ("::", ("::", "0.0.0.0")),
        ("192.0.2.7", ("192.0.2.7", "127.0.0.1", "::1")),
        ("2001:db8::7", ("2001:db8::7", "127.0.0.1", "::1")),
    ],
)
def test_loopback_is_always_among_the_addresses(host, addresses):
    assert addresses_of(host) == addresses


def test_a_name_stands_for_its_addresses(monkeypatch):
    def known(name, *_, **__):
        assert name == "gateway.lan"
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::7", 0, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    assert addresses_of("gateway.lan") == ("192.0.2.7", "2001:db8::7", "127.0.0.1", "::1")


def test_a_name_that_cannot_be_one_is_an_error_like_any_other():
    with pytest.raises(OSError, match="no host can have this name"):
        addresses_of("a" * 64)


def test_an_address_that_is_not_this_machines_cannot_be_listened_on():
    with pytest.raises(OSError, match="assign") as caught:
        listen(addresses_of("192.0.2.7"), 0)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_every_address_is_asked_by_loopback_and_loopback_is_told_first():
    sockets = listen(addresses_of("::"), 0)
    port = sockets[0].getsockname()[1]
    assert base_urls(sockets, "https") == [f"https://[::1]:{port}", f"https://127.0.0.1:{port}"]
    assert base_urls(reversed(sockets), "http") == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]
    for each in sockets:
        each.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
async def test_wherever_it_listens_loopback_gets_an_answer(host):
    async with serving(host=host) as at:
        for address in ("127.0.0.1", "::1"):
            async with at.client(address) as client:
                client.says("GET /one HTTP/1.1", HOST, "", "")
                assert await client.hears() == (200, b"GET /one 0")
