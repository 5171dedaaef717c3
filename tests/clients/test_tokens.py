"""Tokens, and whose they are."""

import hashlib
import re

import pytest

from companion.clients.tokens import Client, Clients, digest, has_credential, new_token
from companion.config.models import AccessSettings

ANN, BOB = new_token(), new_token()
CLIENTS = Clients(
    AccessSettings.model_validate(
        {"clients": [{"name": "ann", "token_hash": digest(ANN)}, {"name": "bob", "token_hash": digest(BOB)}]}
    )
)


def bearer(token: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {token}".encode())


def key(token: str) -> tuple[bytes, bytes]:
    return (b"x-api-key", token.encode())


def test_a_token_is_256_random_bits_behind_a_prefix_that_scanners_can_find():
    tokens = {new_token() for _ in range(50)}
    assert len(tokens) == 50
    assert all(re.fullmatch(r"ccc_[A-Za-z0-9_-]{43}", token) for token in tokens)


def test_a_digest_is_what_sha256sum_says():
    assert digest("ccc_x") == "sha256:" + hashlib.sha256(b"ccc_x").hexdigest()


@pytest.mark.parametrize(
    "field",
    [
        (b"authorization", b"Bearer " + ANN.encode()),
        (b"authorization", b"bearer  " + ANN.encode()),
        (b"authorization", ANN.encode()),
        (b"x-api-key", ANN.encode()),
    ],
)
def test_a_token_is_found_in_either_header(field):
    assert CLIENTS.identify([(b"host", b"x"), field]) == Client("ann")


def test_the_last_client_is_known_as_well_as_the_first():
    assert CLIENTS.identify([key(BOB)]) == Client("bob")


def test_a_key_of_ones_own_beside_the_token_does_no_harm():
    assert CLIENTS.identify([bearer("sk-ant-own"), key(ANN)]) == Client("ann")
    assert CLIENTS.identify([key("sk-ant-own"), bearer(ANN)]) == Client("ann")


@pytest.mark.parametrize(
    "headers",
    [[], [key("")], [bearer(ANN[:-1])], [bearer(ANN + "x")], [key(digest(ANN))], [(b"x-token", ANN.encode())]],
)
def test_anything_else_is_nobody(headers):
    assert CLIENTS.identify(headers) is None


def test_no_token_of_ours_goes_any_further_also_not_one_that_was_removed():
    removed = new_token()
    other = [(b"accept", b"*/*"), (b"x-custom", ANN.encode())]
    assert CLIENTS.without_tokens([*other, bearer(ANN), key(BOB)]) == other
    assert CLIENTS.without_tokens([*other, bearer(removed)]) == other
    assert CLIENTS.without_tokens([bearer("sk-own"), key(ANN)]) == [bearer("sk-own")]


def test_whether_there_is_any_credential():
    assert has_credential([key("x")])
    assert has_credential([(b"authorization", b"Basic eDp5")])
    assert not has_credential([key(""), bearer(""), (b"cookie", b"x")])


def test_the_digest_of_nothing_lets_nobody_in():
    careless = Clients(AccessSettings.model_validate({"clients": [{"name": "x", "token_hash": digest("")}]}))
    assert careless.identify([key(""), bearer("")]) is None


def test_without_clients_there_is_nobody_to_be_told_apart():
    nobody = Clients(AccessSettings())
    assert not nobody
    assert CLIENTS
    assert nobody.identify([key(ANN)]) is None
