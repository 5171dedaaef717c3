"""Where the proxy may listen, with which certificate, and who its clients are."""

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from companion.config.file import load
from tests.config.files import refused, settings, written

HASH = "sha256:" + "0" * 64
ANN = f"access: {{clients: [{{name: ann, token_hash: '{HASH}'}}]}}\n"
PAIR = "server: {tls: {certificate: c.pem, key: k.pem}}\n"


@pytest.fixture
def pair(tmp_path):
    """A certificate and its key beside the configuration."""
    made = trustme.CA().issue_cert("x.example")
    made.private_key_pem.write_to_path(tmp_path / "k.pem")
    for part in made.cert_chain_pems:
        part.write_to_path(tmp_path / "c.pem", append=True)
    return tmp_path


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "'::1'", "'[::1]'"])
def test_this_machine_itself_needs_no_clients(tmp_path, host):
    assert settings(tmp_path, f"server: {{host: {host}}}").server.host == host.lower().strip("'[]")


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'", "192.168.1.2", "box.example", "localhost.evil.example"])
def test_any_other_address_needs_clients(tmp_path, host):
    text = f"server: {{host: {host}}}\n"
    (problem,) = refused(tmp_path, text)
    assert problem == (
        "line 1, server.host: can be reached from other machines, and nothing says who may use it: make a client with "
        "`companion client add NAME`, or listen on 127.0.0.1"
    )
    assert refused(tmp_path, text + "access: {clients: []}\n")
    assert settings(tmp_path, text + ANN).server.host == host.strip("'")


def test_the_address_is_judged_together_with_all_else(tmp_path):
    said = refused(tmp_path, "server: {host: 0.0.0.0}\ngate: {ping: 0}\nendpoints: [{name: a}]\n")
    assert [each.split(":")[0] for each in said] == [
        "line 1, server.host",
        "line 2, gate.ping",
        "line 3, endpoints[0].url",
        "line 3, endpoints[0].auth",
    ]


@pytest.mark.parametrize("host", ["http://x", "x:80", "''", "a b", "'*'"])
def test_what_is_no_address_is_refused(tmp_path, host):
    (problem,) = refused(tmp_path, f"server: {{host: {host}}}\n" + ANN)
    assert problem.startswith("line 1, server.host: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "'::'"])
def test_an_endpoint_is_not_the_proxy_on_every_address_either(tmp_path, host):
    endpoint = "endpoints: [{name: a, url: 'http://127.0.0.1:8080', auth: {type: none}}]\n"
    assert "is the address of this proxy" in refused(tmp_path, f"server: {{host: {host}}}\n{ANN}{endpoint}")[0]


def test_clients_have_names_and_tokens_of_their_own(tmp_path):
    other = HASH.replace("0", "f")
    text = f"""access:
  clients:
    - {{name: ann, token_hash: "{HASH}"}}
    - {{name: ben, token_hash: "{HASH}"}}
    - {{name: ann, token_hash: "{other}"}}
"""
    assert refused(tmp_path, text) == [
        "line 4, access.clients[1].token_hash: another client has the same token_hash; give each its own",
        "line 5, access.clients[2].name: another client has the same name; give each its own",
    ]


@pytest.mark.parametrize("hash", ["x", "0" * 64, "sha256:" + "0" * 63, "sha256:" + "g" * 64, "sk-ant-never-to-be-seen"])
def test_what_recognises_no_token_is_refused_and_not_shown(tmp_path, hash):
    (problem,) = refused(tmp_path, ANN.replace(HASH, hash))
    assert problem == (
        "line 1, access.clients[0].token_hash: must be sha256: and 64 hexadecimal digits, "
        "as `companion client add NAME` writes it"
    )


def test_a_tokens_hash_is_not_shown(tmp_path):
    assert HASH not in repr(settings(tmp_path, ANN))


def test_a_certificate_with_its_key_is_taken_and_both_are_watched(pair):
    loaded = load(written(pair, PAIR))
    assert (loaded.settings.server.tls.certificate, loaded.settings.server.tls.key) == (pair / "c.pem", pair / "k.pem")
    assert {pair / "c.pem", pair / "k.pem"} <= set(loaded.seen)


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("certificate: c.pem", "key: is missing: a certificate needs its private key"),
        ("key: k.pem", "key: has no certificate"),
        ("certificate: gone, key: k.pem", "key: {}/gone cannot be read: no such file or directory"),
        ("certificate: c.pem, key: gone", "key: {}/gone cannot be read: no such file or directory"),
        ("certificate: k.pem, key: c.pem", "key: {0}/k.pem and {0}/c.pem are no certificate with its private key in"),
        (
            "certificate: c.pem, key: other.pem",
            "key: {0}/other.pem is not the private key of the certificate {0}/c.pem",
        ),
        ("certificate: c.pem, key: locked.pem", "key: {}/locked.pem is encrypted; it must be there without a password"),
        ("client_ca: c.pem", "client_ca: has no effect without tls.certificate"),
        ("certificate: c.pem, key: k.pem, client_ca: k.pem", "client_ca: {}/k.pem holds no certificates in PEM format"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_at_once(pair, tls, said):
    other = trustme.CA().issue_cert("x.example").private_key_pem
    other.write_to_path(pair / "other.pem")
    locked = load_pem_private_key(other.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    (pair / "locked.pem").write_bytes(locked)

    (problem,) = refused(pair, f"server: {{tls: {{{tls}}}}}\n")
    assert problem.startswith("line 1, server.tls." + said.format(pair))
