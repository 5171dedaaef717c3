"""What a URL says about a proxy, and which proxy the environment names for which upstream."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from companion.net.origin import Origin
from companion.net.proxies import Proxy, Unusable, bypassed, route

FAR = Origin("https", "api.example", 443)
PLAIN = Origin("http", "api.example", 80)
A, B, C = "http://a.test:1", "http://b.test:2", "socks5://c.test:3"


# === URLs


@pytest.mark.parametrize(
    ("url", "proxy", "name"),
    [
        ("http://p.test", Proxy("http", "p.test", 80), "http://p.test:80"),
        ("HTTPS://p.test/", Proxy("https", "p.test", 443), "https://p.test:443"),
        ("socks5://127.0.0.1", Proxy("socks5", "127.0.0.1", 1080), "socks5://127.0.0.1:1080"),
        ("socks5h://[::1]:9", Proxy("socks5h", "::1", 9), "socks5h://[::1]:9"),
        ("http://ann:p%40ss%3A@p.test:8", Proxy("http", "p.test", 8, "ann", "p@ss:"), "http://p.test:8"),
        ("http://ann@p.test:8", Proxy("http", "p.test", 8, "ann", None), "http://p.test:8"),
        ("http://bücher.test:8", Proxy("http", "xn--bcher-kva.test", 8), "http://xn--bcher-kva.test:8"),
    ],
)
def test_a_url_names_a_proxy(url, proxy, name):
    assert Proxy.of(url) == proxy
    assert str(proxy) == name


def test_a_proxy_shows_neither_user_nor_password():
    proxy = Proxy.of("http://ann:secret@p.test:8")
    assert not any(word in f"{proxy} {proxy!r}" for word in ("ann", "secret"))


@pytest.mark.parametrize(
    "url", ["", "p.test:8", "ftp://ann:secret@p.test", "http://ann:secret@", "http://ann:secret@p.test:0", "http://[s"]
)
def test_what_names_no_proxy_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, check=lambda error: "secret" not in str(error)):
        Proxy.of(url)


# === the configuration


def test_the_configuration_can_name_a_proxy_or_forbid_one():
    assert route("none", FAR, {"HTTPS_PROXY": A}) is None
    assert route(B, FAR, {"HTTPS_PROXY": A, "NO_PROXY": "*"}) == Proxy.of(B)
    assert route(B, Origin("http", "127.0.0.1", 80), {}) == Proxy.of(B)


def test_a_proxy_that_cannot_be_used_is_not_left_out():
    assert route(None, FAR, {}) == Unusable("the proxy's URL cannot be resolved")
    unusable = route("env", FAR, {"HTTPS_PROXY": "quic://ann:secret@p.test"})
    assert isinstance(unusable, Unusable)
    assert unusable.why.startswith("HTTPS_PROXY must begin with one of http://, https://, socks5://")
    assert "secret" not in unusable.why


# === the environment


@pytest.mark.parametrize(
    ("environ", "secure", "plain"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": A}, A, None),
        ({"https_proxy": A}, A, None),
        ({"https_proxy": A, "HTTPS_PROXY": B}, A, None),
        ({"https_proxy": " ", "HTTPS_PROXY": B}, B, None),
        ({"HTTP_PROXY": A}, None, A),
        ({"http_proxy": A}, None, A),
        ({"HTTP_PROXY": A, "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": A, "REQUEST_METHOD": "GET"}, None, A),
        ({"HTTPS_PROXY": A, "REQUEST_METHOD": "GET"}, A, None),
        ({"ALL_PROXY": C}, C, C),
        ({"all_proxy": C}, C, C),
        ({"ALL_PROXY": C, "HTTPS_PROXY": A}, A, C),
        ({"HTTPS_PROXY": "a.test:1"}, A, None),
        ({"ALL_PROXY": "socks://c.test:3"}, "socks5h://c.test:3", "socks5h://c.test:3"),
        ({"ALL_PROXY": A, "NO_PROXY": "api.example"}, None, None),
        ({"ALL_PROXY": A, "no_proxy": "example:443"}, None, A),
        ({"ALL_PROXY": A, "no_proxy": "other.test", "NO_PROXY": "api.example"}, A, A),
    ],
)
def test_the_environment_names_a_proxy(environ, secure, plain):
    assert route("env", FAR, environ) == (secure and Proxy.of(secure))
    assert route("env", PLAIN, environ) == (plain and Proxy.of(plain))


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "api.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine_is_behind_no_proxy_of_the_environment(host):
    assert route("env", Origin("http", host, 80), {"ALL_PROXY": A}) is None


@pytest.mark.parametrize("host", ["localhost.example", "notlocalhost", "128.0.0.1", "10.0.0.1", "::2"])
def test_other_machines_are(host):
    assert route("env", Origin("http", host, 80), {"ALL_PROXY": A}) == Proxy.of(A)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "without"),
    [
        ("*", "api.example", 443, True),
        ("", "api.example", 443, False),
        (" , ,", "api.example", 443, False),
        ("api.example", "API.example.", 443, True),
        ("a.test, api.example", "api.example", 443, True),
        ("a.test api.example", "api.example", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("api.example.com", "example.com", 443, False),
        ("example.com:8443", "api.example.com", 443, False),
        ("example.com:443", "api.example.com", 443, True),
        ("10.0.0.0/8", "10.9.8.7", 443, True),
        ("10.0.0.1/8", "10.9.8.7", 443, True),
        ("10.0.0.0/8", "11.0.0.1", 443, False),
        ("10.0.0.0/8", "10.example", 443, False),
        ("10.1.2.3:443", "10.1.2.3", 443, True),
        ("10.1.2.3:80", "10.1.2.3", 443, False),
        ("2001:db8::/32", "2001:db8::5", 443, True),
        ("2001:db8::5", "2001:db8:0::5", 443, True),
        ("[2001:db8::5]", "2001:db8::5", 443, True),
        ("[2001:db8::5]:443", "2001:db8::5", 443, True),
        ("[2001:db8::5]:80", "2001:db8::5", 443, False),
        ("10.0.0.0/8", "::ffff:10.1.1.1", 443, True),
        ("0.0.1", "10.0.0.1", 443, False),
        (".", "api.example", 443, False),
        ("10.0.0.0/99", "10.0.0.1", 443, False),
    ],
)
def test_no_proxy_has_hosts_names_below_them_networks_and_ports(no_proxy, host, port, without):
    assert bypassed(host, port, no_proxy) is without


LABELS = st.sampled_from(["a", "b", "ab", "x-1"])
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(".".join)
PORTS = st.sampled_from([80, 443])
FOURS = st.integers(0, 2**32 - 1).map(lambda value: ipaddress.IPv4Address(value & 0x030000FF))
SIXES = st.integers(0, 15).map(lambda value: ipaddress.IPv6Address(0x20010DB8 << 96 | value))
DRESSES = st.sampled_from(["{}", ".{}", "*.{}", "{}."])


def by_labels(name: str, host: str) -> bool:
    """The plain rule: label by label from the right."""
    wanted, there = name.split("."), host.split(".")
    return len(there) >= len(wanted) and there[len(there) - len(wanted) :] == wanted


@given(NAMES, DRESSES, st.none() | PORTS, NAMES, PORTS)
@example("b", "{}", None, "ab", 80)
def test_a_name_covers_itself_and_what_is_below_it(name, dress, only, host, port):
    entry = dress.format(name) + ("" if only is None else f":{only}")
    assert bypassed(host, port, f"zz, {entry}") is (by_labels(name, host) and only in {None, port})


@given(FOURS, st.integers(0, 32), FOURS)
def test_a_network_covers_the_addresses_that_share_its_first_bits(base, bits, host):
    shared = int(base) >> (32 - bits) == int(host) >> (32 - bits)
    assert bypassed(str(host), 443, f"{base}/{bits}") is shared
    assert bypassed(str(host), 443, f"{base}/{bits}:443") is shared
    assert not bypassed(str(host), 443, f"{base}/{bits}:80")


@given(FOURS | SIXES, FOURS | SIXES, st.none() | PORTS, PORTS)
def test_an_address_covers_itself(entry, host, only, port):
    bare = f"[{entry}]" if entry.version == 6 else str(entry)
    written = bare if only is None else f"{bare}:{only}"
    assert bypassed(str(host), port, written) is (entry == host and only in {None, port})


@given(st.text(max_size=30), st.text(max_size=30) | NAMES | FOURS.map(str) | SIXES.map(str))
def test_nothing_that_stands_in_it_is_an_error(no_proxy, host):
    assert bypassed(host, 443, no_proxy) in {True, False}
