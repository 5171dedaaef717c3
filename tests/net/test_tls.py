"""System trust, the user's own on top, and nothing old."""

import ssl
import threading

import pytest
import trustme

from companion.net.tls import TlsContext, other_trust


def trusts(context: ssl.SSLContext, authority: trustme.CA) -> bool:
    return ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()) in context.get_ca_certs(binary_form=True)


def test_it_is_built_once_whoever_asks():
    shared = TlsContext()
    built: list[ssl.SSLContext] = []
    threads = [threading.Thread(target=lambda: built.append(shared())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 4
    assert len(set(map(id, built))) == 1


def test_it_verifies_and_speaks_nothing_old():
    context = TlsContext()()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_pem_file_is_added_to_system_trust(tmp_path, monkeypatch):
    system, own = trustme.CA(), trustme.CA()
    system.cert_pem.write_to_path(tmp_path / "system.pem")
    own.cert_pem.write_to_path(tmp_path / "own.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    context = TlsContext(tmp_path / "own.pem")()
    assert trusts(context, system)
    assert trusts(context, own)


@pytest.mark.parametrize("content", [None, "", "this is no certificate"])
def test_a_pem_file_that_cannot_be_read_says_so_and_is_tried_again(tmp_path, content):
    pem = tmp_path / "ca.pem"
    if content is not None:
        pem.write_text(content)
    shared = TlsContext(pem)
    with pytest.raises(OSError):
        shared()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(pem)
    assert trusts(shared(), authority)


def test_a_python_without_trust_takes_the_machines(tmp_path):
    bundles = (tmp_path / "not-here.pem", tmp_path / "here.pem")
    trustme.CA().cert_pem.write_to_path(bundles[1])
    nothing = ssl.DefaultVerifyPaths("", "", "SSL_CERT_FILE", "", "SSL_CERT_DIR", "")
    assert other_trust(nothing, bundles) == bundles[1]
    assert other_trust(nothing, bundles[:1]) is None
    assert other_trust(nothing._replace(cafile="/some/file"), bundles) is None
    assert other_trust(nothing._replace(capath="/some/folder"), bundles) is None
