"""What is masked, and that nothing else is."""

import json

import pytest

from companion.records.mask import Mask, encoded, hidden, presented, sensitive

SECRET = "sk-ant-0123456789abcdef"


def test_a_secret_is_as_many_asterisks():
    masked = Mask(encoded([SECRET])).bytes(b"the key " + SECRET.encode() + b" is wrong")

    assert masked == b"the key " + b"*" * len(SECRET) + b" is wrong"


@pytest.mark.parametrize("written", [json.dumps('pass"word\u00e4!'), "pass%22word%C3%A4%21", '"pass\\"word\u00e4!"'])
def test_a_secret_is_found_as_json_and_urls_write_it(written):
    masked = Mask(encoded(['pass"word\u00e4!'])).bytes(written.encode())

    assert b"word" not in masked
    assert len(masked) == len(written.encode())


def test_short_words_and_the_word_that_clients_are_told_to_send_are_no_secrets():
    assert encoded(["abc", "companion", ""]) == ()


def test_of_two_secrets_the_longer_is_masked_first():
    masked = Mask(encoded(["secret-1", "secret-1-more"])).bytes(b"secret-1-more")

    assert masked == b"*" * 13


def test_patterns_of_the_user_mask_too():
    mask = Mask((), [r"[\w.]+@example\.com"])

    assert mask.text("mail ann.b@example.com now") == "mail ***************** now"
    assert mask.overlap >= 1000


def test_what_one_exchange_presented_is_masked_beside_what_is_known():
    mask = Mask(encoded([SECRET]), ["x{3}"]).also(presented([(b"authorization", b"Bearer the-clients-own")]))

    assert mask.text(f"{SECRET} the-clients-own xxx Bearer") == f"{'*' * 23} {'*' * 15} *** Bearer"


@pytest.mark.parametrize(
    "name",
    [b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"cookie", b"set-cookie", b"x-auth-token"],
)
def test_headers_that_hold_credentials(name):
    assert sensitive(name)


@pytest.mark.parametrize("name", [b"x-claude-code-session-id", b"anthropic-ratelimit-tokens-remaining", b"accept"])
def test_headers_that_hold_none(name):
    assert not sensitive(name)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"Bearer sk-ant-0123456789abcdef", b"Bearer ***cdef"),
        (b"sk-ant-0123456789abcdef", b"***cdef"),
        (b"Bearer short", b"Bearer ***"),
        (b"", b"***"),
    ],
)
def test_a_hidden_credential_shows_its_scheme_and_four_characters_of_a_long_one(value, shown):
    assert hidden(value) == shown


@pytest.mark.parametrize(
    "value", [b"session=abc; Path=/; Secure", b"a=abc; b=abc", b"abc abc-0123456789-0123", b"abc", b" abc"]
)
def test_the_first_word_of_what_has_no_scheme_is_hidden_too(value):
    assert b"abc" not in hidden(value)


def test_a_key_in_the_query_is_a_credential_too():
    query = b"beta=true&key=the%2Fclients-own&access_token=a-token-of-it&page=not-a-secret&api_key=short"
    mask = Mask().also(presented([], query))
    assert mask.text("/v1/x?beta=true&key=the%2Fclients-own the/clients-own a-token-of-it") == (
        f"/v1/x?beta=true&key={'*' * 17} {'*' * 15} {'*' * 13}"
    )
    assert mask.text("not-a-secret true short") == "not-a-secret true short"


def test_every_part_of_a_cookie_is_a_credential():
    assert b"abcdefgh" in presented([(b"cookie", b"a=abcdefgh; b=short")])
