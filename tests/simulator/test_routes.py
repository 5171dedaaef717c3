"""Everything that is not a message, and the headers that a proxy has to sort."""

import pytest

from companion.simulator import Simulator
from companion.simulator.replies import status
from tests.simulator.wire import Wire, ask, body

COUNT = "/v1/messages/count_tokens?beta=true"
NAMES = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-sonnet-4-5"]


async def got(target: str, given: object = None, method: str = "GET") -> Wire:
    async with Simulator() as sim:
        return await ask(sim, given, method=method, target=target)


async def test_tokens_are_counted_always_the_same():
    first = await got(COUNT, body("hello"), "POST")
    second = await got(COUNT, body("hello"), "POST")
    longer = await got(COUNT, body("hello" * 100), "POST")

    assert first.json == second.json
    assert 0 < first.json["input_tokens"] < longer.json["input_tokens"]


async def test_tokens_of_nothing_are_not_counted():
    assert (await got(COUNT, b"{", "POST")).status == 400


@pytest.mark.parametrize(
    ("query", "names", "more"),
    [
        ("", NAMES, False),
        ("?limit=1000", NAMES, False),
        ("?limit=2", NAMES[:2], True),
        ("?limit=2&after_id=claude-sonnet-5-5", NAMES[2:], False),
        ("?before_id=claude-haiku-5-5", NAMES[:2], False),
        ("?after_id=claude-sonnet-4-5", [], False),
        ("?limit=x&after_id=none", NAMES, False),
    ],
)
async def test_models_are_listed_in_pages(query, names, more):
    page = (await got(f"/v1/models{query}")).json

    assert [model["id"] for model in page["data"]] == names
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        more,
        *(names[:1] or [None]),
        *(names[-1:] or [None]),
    )


async def test_a_model_is_described():
    assert (await got("/v1/models/claude-opus-5-5")).json["display_name"] == "Claude Opus 5.5"
    assert (await got("/v1/models/gpt-x")).json["error"] == {"type": "not_found_error", "message": "model: gpt-x"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/hello"])
async def test_probes_get_a_200(method, path):
    wire = await got(path, method=method)

    assert (wire.status, wire.body) == (200, b"")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/messages"), ("POST", "/v1/files"), ("DELETE", "/v1/models")])
async def test_nothing_else_is_here(method, path):
    wire = await got(path, method=method)

    assert (wire.status, wire.json["error"]["type"]) == (404, "not_found_error")


async def test_a_head_has_no_body():
    wire = await got("/v1/nothing", method="HEAD")

    assert (wire.status, wire.body) == (404, b"")
    assert int(wire.header("content-length") or 0) > 0


SORTED = {"set-cookie", "alt-svc", "strict-transport-security", "anthropic-organization-id", "request-id"}


async def test_answers_carry_headers_that_a_proxy_must_sort():
    async with Simulator() as sim:
        good = await ask(sim, body())
        sim.queue(status(529))
        bad = await ask(sim, body())

        for wire in (good, bad):
            assert {name for name, _ in wire.headers} >= SORTED
        assert good.header("anthropic-ratelimit-requests-remaining") == "3999"
        assert not [name for name, _ in bad.headers if name.startswith("anthropic-ratelimit-")]
        assert (good.header("request-id"), bad.header("request-id")) == (
            f"req_sim_{sim.port}_1",
            f"req_sim_{sim.port}_2",
        )


async def test_they_can_be_left_out():
    async with Simulator(hygiene=False) as sim:
        assert {name for name, _ in (await ask(sim, body())).headers} == {"content-type", "transfer-encoding"}
