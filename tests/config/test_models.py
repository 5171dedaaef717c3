"""What the settings take, what they mean, and how an endpoint's own settings lie over the defaults."""

import pytest

from companion.config.models import Settings
from tests.config.files import SECRET, every_key, one, refused, settings

EVERYTHING = """\
server:
  {host: "::1", port: 0, max_body: 1MiB, max_inflight_bytes: 2MiB, max_connections: 3, keep_alive: 4s,
   header_timeout: 5s, min_body_rate: 6KB/s, client_write_timeout: 7s, drain: 0s,
   trusted_hosts: [Box.Example., "[::1]"], tls: {certificate: null, key: null, client_ca: null}}
logging: {level: debug, format: json, file: logs/c.log}
access: {clients: [{name: ann, token_hash: "SHA256:%s"}]}
defaults: {timeouts: {connect: 1s, tls: 2s, write: 3s, headers: 4s, idle_gate: 5s, first_content: 6s, headers_last: 7s,
           idle: 8s, whole_answer: 9s}, pool: {max_connections: 10, keep_warm: 0, idle: 11s}, ca: null,
           proxy: "socks5://u:${PW}@127.0.0.1:1080", repairs: {always: [effort], never: [images, max_tokens]}}
endpoints:
  - {name: "a b", id: x, type: anthropic, url: "https://x.example/v1", auth: {type: auth_token, values: [k1, k2]},
     enabled: false, priority: -2, weight: 0.5, labels: [cheap], models: {default: m, rewrite: [{from: "c*", to: d}]},
     timeouts: {idle: 1h}, pool: {idle: 1m}, limits: {concurrency: 8}, proxy: NONE,
     probe: {with: message, model: m}, repairs: {always: [images], never: [system_role]},
     headers: {set: {x-a: "1"}, remove: [x-b]},
     body: {set: {top_k: 1, deep: {n: null}}, remove: [metadata]}, validation: strict}
health: {failures: 1, window: 2s, open: 3s, open_max: 4s, trial: request,
         probe: {interval: 1m, timeout: 1s, with: models}}
gate: {hold: visible, patience: 0s, ping: 2s, deadline: 3s, after_text: cut}
validation: observe
response_headers: false
records: {store: "sqlite:////var/c.db", keep: 1d, max_size: 1GiB, bodies: failed, redact: ["k-[0-9]+", "(?i)secret"]}
""" % ("AB" * 32)


def test_every_key_arrives_as_it_was_written(tmp_path):
    found = settings(tmp_path, EVERYTHING)
    assert found.server.model_dump() == {
        "host": "::1",
        "port": 0,
        "max_body": 2**20,
        "max_inflight_bytes": 2**21,
        "max_connections": 3,
        "keep_alive": 4,
        "header_timeout": 5,
        "min_body_rate": 6000,
        "client_write_timeout": 7,
        "drain": 0,
        "trusted_hosts": ("box.example", "::1"),
        "tls": {"certificate": None, "key": None, "client_ca": None},
    }
    assert found.logging.model_dump() == {"level": "debug", "format": "json", "file": tmp_path / "logs/c.log"}
    assert list(found.defaults.timeouts.model_dump().values()) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert found.access.model_dump() == {"clients": ({"name": "ann", "token_hash": "sha256:" + "ab" * 32},)}
    assert found.defaults.pool.model_dump() == {"max_connections": 10, "keep_warm": 0, "idle": 11}
    assert found.defaults.proxy == "socks5://u:${PW}@127.0.0.1:1080"
    assert found.defaults.repairs.model_dump() == {"always": ("effort",), "never": ("images", "max_tokens")}
    assert found.health.model_dump(by_alias=True) == {
        "failures": 1,
        "window": 2,
        "open": 3,
        "open_max": 4,
        "probe": {"interval": 60, "timeout": 1, "with": "models"},
        "trial": "request",
    }
    assert found.records.model_dump() == {
        "store": "sqlite:////var/c.db",
        "keep": 86400,
        "max_size": 2**30,
        "bodies": "failed",
        "redact": ("k-[0-9]+", "(?i)secret"),
    }
    assert list(found.gate.model_dump().values()) == ["visible", 0, 2, 3, "cut"]
    assert (found.validation, found.response_headers) == ("observe", False)
    (endpoint,) = found.endpoints
    assert endpoint.model_dump(by_alias=True, exclude={"timeouts", "pool"}) == {
        "name": "a b",
        "id": "x",
        "type": "anthropic",
        "url": "https://x.example/v1",
        "auth": {"type": "auth_token", "values": ("k1", "k2")},
        "enabled": False,
        "priority": -2,
        "weight": 0.5,
        "labels": ("cheap",),
        "models": {"default": "m", "rewrite": ({"from": "c*", "to": "d"},)},
        "limits": {"concurrency": 8},
        "proxy": "none",
        "probe": {"with": "message", "model": "m"},
        "repairs": {"always": ("images",), "never": ("system_role",)},
        "headers": {"set": {"x-a": "1"}, "remove": ("x-b",)},
        "body": {"set": {"top_k": 1, "deep": {"n": None}}, "remove": ("metadata",)},
        "validation": "strict",
    }


def test_every_key_of_the_schema_is_in_that_file():
    assert [key for key, _ in every_key() if f"{key}:" not in EVERYTHING] == []


def test_what_an_endpoint_leaves_out_comes_from_the_defaults(tmp_path):
    found = settings(tmp_path, EVERYTHING)
    (endpoint,) = found.endpoints
    assert list(found.timeouts_of(endpoint).model_dump().values()) == [1, 2, 3, 4, 5, 6, 7, 3600, 9]
    assert found.pool_of(endpoint).model_dump() == {"max_connections": 10, "keep_warm": 0, "idle": 60}
    assert found.validation_of(endpoint) == "strict"
    assert found.proxy_of(endpoint) == "none"
    assert found.probe_of(endpoint).model_dump() == {"interval": 60, "timeout": 1, "with_": "message"}
    repairs = found.repairs_of(endpoint)
    assert (repairs.always, repairs.never) == (("images", "effort"), ("system_role", "max_tokens"))


def test_an_endpoint_that_says_nothing_has_the_defaults(tmp_path):
    text = "defaults: {proxy: none, repairs: {never: [effort]}}\nhealth: {probe: {with: models}}\n"
    found = settings(tmp_path, text + one())
    (endpoint,) = found.endpoints
    assert found.proxy_of(endpoint) == "none"
    assert found.probe_of(endpoint) == found.health.probe
    assert found.repairs_of(endpoint) == found.defaults.repairs
    assert found.health.probe.with_ == "models"


def test_an_endpoint_can_lift_a_limit_that_the_defaults_set(tmp_path):
    text = "defaults: {timeouts: {first_content: 5s, whole_answer: 6s, idle: 7s}}\nvalidation: observe\n"
    found = settings(tmp_path, text + one("timeouts: {first_content: none, whole_answer: AUTO, idle: }"))
    timeouts = found.timeouts_of(found.endpoints[0])
    assert (timeouts.first_content, timeouts.whole_answer, timeouts.idle) == (None, None, 7)
    assert found.validation_of(found.endpoints[0]) == "observe"


def test_a_value_that_is_the_default_still_lies_over_other_defaults(tmp_path):
    found = settings(tmp_path, "defaults: {timeouts: {connect: 1s}}\n" + one("timeouts: {connect: 5s}"))
    assert found.timeouts_of(found.endpoints[0]).connect == 5


def test_settings_cannot_be_changed(tmp_path):
    found = settings(tmp_path, one())
    with pytest.raises(ValueError, match="frozen"):
        found.validation = "strict"
    with pytest.raises(ValueError, match="frozen"):
        found.endpoints[0].auth.type = "none"


@pytest.mark.parametrize("line", ["id:", "weight: 1", "id: ' a '"])
def test_the_id_is_the_name_unless_it_is_given(tmp_path, line):
    (endpoint,) = settings(tmp_path, one(line)).endpoints
    assert endpoint.id == endpoint.name == "a"


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example",
        "HTTPS://x.example/",
        "http://127.0.0.1:1/v1",
        "'http://[::1]:99/v1/messages'",
        "http://a_b",
        "https://x/?beta=true",
        "'  https://x.example  '",
    ],
)
def test_a_url_may_be_anything_that_can_be_asked(tmp_path, url):
    assert settings(tmp_path, one(url=url)).endpoints[0].url == url.strip("' ")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x", "must begin with https:// or http://"),
        ("x.example", "must begin with https:// or http://"),
        ("http://", "has no host, or none that can be asked"),
        ("http://x:0", "has no host, or none that can be asked"),
        ("http://x:70000", "is not a URL"),
        ("'http://[::1'", "is not a URL"),
        ("'http://x:y'", "is not a URL"),
        ("https://u:p@x", "must not hold a user or password"),
        ("https://u@x", "must not hold a user or password"),
        ("'https://x .example'", "must be plain ASCII without spaces"),
        ('"http://x\\r\\ny"', "must be plain ASCII"),
        ("https://bücher.example", "must be plain ASCII"),
        ("'https://x/#y'", "must not hold a #"),
        ("''", "must not be empty"),
        ("5", "must be text"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused(tmp_path, url, said):
    (problem,) = refused(tmp_path, one(url=url))
    assert problem.startswith(f"line 3, endpoints[0].url: {said}")


@pytest.mark.parametrize("url", ["http://localhost:8080", "http://127.0.0.1:8080/v1", "'http://[::1]:8080'"])
def test_an_endpoint_that_is_the_proxy_itself_is_refused(tmp_path, url):
    assert "is the address of this proxy itself" in refused(tmp_path, one(url=url))[0]
    assert settings(tmp_path, "server: {port: 8081}\n" + one(url=url)).endpoints


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("{type: api_key}", "values: auth type api_key needs at least one key"),
        ("{type: auth_token, values: []}", "values: auth type auth_token needs at least one key"),
        ("{type: passthrough, values: [k]}", "values: auth type passthrough takes no keys, because the client's own"),
        ("{type: none, values: [k]}", "values: auth type none takes no keys, because no key is sent"),
        ("{type: bearer}", "type: must be one of auth_token, api_key, passthrough, none"),
        ("{values: [k]}", "type: is missing; write for example type: api_key"),
        ("{type: api_key, values: ['']}", "values[0]: must not be empty"),
        ("{type: api_key, values: [k, 12]}", "values[1]: must be text, and this is a number or true/false; put it in"),
        ("{type: api_key, values: [k, l, k]}", "values: the same key is there twice"),
        ('{type: api_key, values: ["k\\nx: y"]}', "values[0]: must not hold line breaks"),
    ],
)
def test_auth_says_what_it_needs(tmp_path, auth, said):
    (problem,) = refused(tmp_path, one(auth=auth))
    assert problem.startswith(f"line 4, endpoints[0].auth.{said}")


@pytest.mark.parametrize("auth", ["{type: none}", "{type: passthrough}", "{type: api_key, values: [k, l]}"])
def test_each_type_of_auth_is_taken(tmp_path, auth):
    assert settings(tmp_path, one(auth=auth)).endpoints[0].auth.type in auth


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('headers: {set: {"x-a": "b\\r\\nc: d"}}', "headers.set.x-a: must not hold line breaks"),
        ('headers: {set: {"x-a: b\\r\\nc": d}}', r'headers.set."x-a: b\r\nc": is not a header name'),
        ("headers: {set: {Host: b}}", "headers.set.Host: belongs to the proxy"),
        ("headers: {set: {Transfer-Encoding: b}}", "headers.set.Transfer-Encoding: belongs to the proxy"),
        ("headers: {remove: [content-length]}", "headers.remove[0]: belongs to the proxy"),
        ("headers: {set: {x-a: 1}}", "headers.set.x-a: must be text, and this is a number"),
        ("headers: {set: {x-a: }}", "headers.set.x-a: must be text, not nothing"),
        ("headers: {set: {X-A: b, x-a: c}}", "headers.set: x-a is there twice"),
        ("headers: {set: []}", "headers.set: must be a mapping"),
        ("body: {set: {model: x}}", "body.set: model cannot be changed here"),
        ("body: {remove: [messages]}", "body.remove: messages cannot be changed here"),
        ("body: {set: {t: .nan}}", "body.set.t: holds nan, which JSON does not have"),
        (f"body: {{set: {{t: [{2**64}]}}}}", "body.set.t: holds a number that is too large"),
        (r'body: {set: {t: ["\ud800"]}}', "body.set.t: holds half a character"),
        (r'body: {set: {t: {"\ud800": 1}}}', "body.set.t: holds half a character"),
        ("models: {rewrite: [{from: '', to: b}]}", "models.rewrite[0].from: must not be empty"),
        ("models: {rewrite: [{from: a}]}", "models.rewrite[0].to: is missing"),
        ("models: {default: [a]}", "models.default: must be text, not a list"),
        ("weight: 0", "weight: must be greater than 0"),
        ("weight: -1", "weight: must be greater than 0"),
        ("weight: .nan", "weight: must be a number that has an end"),
        ("weight: .inf", "weight: must be a number that has an end"),
        ("weight: true", "weight: must be a number, not true or false"),
        ("weight: '2'", "weight: must be a number; leave out the quotes"),
        ("priority: 1.5", "priority: must be a whole number"),
        ("limits: {concurrency: 0}", "limits.concurrency: must be 1 or more"),
        ("labels: [[]]", "labels[0]: must be text, not a list"),
        ("repairs: {always: [efort]}", 'repairs.always[0]: is no repair; did you mean "effort"?'),
        ("repairs: {never: [all]}", "repairs.never[0]: must be one of system_role, "),
        ("repairs: {always: [images], never: [images]}", "repairs.never: images is among always, too"),
        ("probe: {with: ping}", "probe.with: must be one of auto, models, count_tokens, message, none"),
        ("pool: {keep_warm: -1}", "pool.keep_warm: must be 0 or more"),
        ("validation: loose", "validation: must be one of strict, repair, observe"),
        ("id: ''", "id: must not be empty"),
    ],
)
def test_an_endpoint_says_what_cannot_be(tmp_path, line, said):
    (problem,) = refused(tmp_path, one(line))
    assert problem.startswith(f"line 5, endpoints[0].{said}")


@pytest.mark.parametrize(("type", "header"), [("api_key", "X-Api-Key"), ("auth_token", "Authorization")])
def test_a_header_cannot_replace_the_credential(tmp_path, type, header):
    text = one(f"headers: {{set: {{{header}: x}}}}", auth=f"{{type: {type}, values: [k]}}")
    assert f"set.{header.lower()} is what auth sends already" in refused(tmp_path, text)[0]
    assert settings(tmp_path, one(f"headers: {{set: {{{header}: x}}}}")).endpoints


def test_a_name_holds_no_line_break(tmp_path):
    assert "line breaks" in refused(tmp_path, one().replace("name: a", 'name: "a\\nb"'))[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file or directory"),
        (b"", "holds no certificates in PEM format"),
        (b"x", "holds no"),
    ],
)
def test_certificates_that_cannot_be_used_are_told_at_once(tmp_path, content, said):
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    (problem,) = refused(tmp_path, "defaults: {ca: ca.pem}\n")
    assert problem.startswith(f"line 1, defaults.ca: {tmp_path}/ca.pem {said}")


def test_a_certificate_beside_the_file_is_found_and_its_path_is_absolute(tmp_path):
    import trustme

    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert settings(tmp_path, "defaults: {ca: ca.pem}\n").defaults.ca == tmp_path / "ca.pem"


def test_a_path_may_begin_in_the_home_of_somebody_who_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert settings(tmp_path, "logging: {file: ~/x.log}\n").logging.file == tmp_path / "me/x.log"
    assert refused(tmp_path, "logging: {file: ~no-such-user/x.log}\n") == [
        "line 1, logging.file: ~no-such-user/x.log is in the home of a user who is not there"
    ]


def test_settings_do_not_show_their_secrets(tmp_path):
    text = one(f"headers: {{set: {{x-key: {SECRET}}}}}", auth=f"{{type: api_key, values: [{SECRET}]}}")
    found = settings(tmp_path, text)
    assert SECRET in found.endpoints[0].auth.values
    assert SECRET not in repr(found) + str(found) + repr(found.endpoints) + repr(found.endpoints[0].auth)


def test_a_path_holds_no_zero_character(tmp_path):
    for key in ("logging: {file: ", "defaults: {ca: "):
        assert refused(tmp_path, key + r'"a\0b"}')[0].endswith("must not hold a zero character")


def test_what_pydantic_says_by_itself_shows_no_secret_either():
    wrong = {
        "endpoints": [{"name": "a", "url": SECRET, "auth": {"type": SECRET, "values": [[SECRET]], SECRET[:3]: SECRET}}]
    }
    with pytest.raises(ValueError, match="endpoints") as caught:
        Settings.model_validate(wrong)
    assert SECRET not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("records: {redact: [ok, '(']}", "redact[1]: is not a regular expression: missing ), unterminated subpattern"),
        ("records: {redact: ['x*']}", "redact[0]: fits an empty text"),
        ("records: {redact: ['']}", "redact[0]: must not be empty"),
        ("records: {store: postgresql://u:p@x/y}", "store: must be none, or sqlite:/// and the path of a file"),
        ("records: {store: 'sqlite:///'}", "store: must be none, or sqlite:/// and the path of a file"),
        ("records: {store: [a]}", "store: must be text, not a list"),
        ("records: {bodies: all}", "bodies: must be one of full, failed, none"),
    ],
)
def test_records_say_what_cannot_be(tmp_path, text, said):
    (problem,) = refused(tmp_path, text)
    assert problem.startswith(f"line 1, records.{said}")


@pytest.mark.parametrize(
    ("text", "store"),
    [("", "sqlite:///companion.db"), ("records: {store: None}", None), ("records:", "sqlite:///companion.db")],
)
def test_records_may_be_kept_nowhere(tmp_path, text, store):
    assert settings(tmp_path, text).records.store == store
