"""Every field of an endpoint makes the round trip: drafts are made from the model, so no field can be forgotten."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from companion.config import schema
from companion.config.file import load
from companion.config.models import EndpointSettings
from companion.protocol.repairs import NAMES
from tests.admin.client import Admin
from tests.admin.served import Served, served
from tests.support.http import Answer

_WORDS = st.text(st.characters(categories=["L", "N", "P", "S"], codec="utf-8"), min_size=1, max_size=20)
_TEXT = st.builds(" ".join, st.lists(_WORDS, min_size=1, max_size=2))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_WORDS, inner, max_size=2),
    max_leaves=5,
)
_DURATION = st.sampled_from(["500ms", "30s", "1h30m", 7, 1.5])
_HEADERS = st.sampled_from(["x-one", "X-Two", "anthropic-beta", "user-agent"])
_SECRETS = st.sampled_from(
    ["${HOME}", "file:a.key", "a-secret-that-is-long-0123456789", "short", "with 'quotes' and # more"]
)
_BY_UNIT: Mapping[str, st.SearchStrategy[Any]] = {
    "text": _TEXT,
    "URL": st.sampled_from(["http://127.0.0.1:9", "https://llm.example/anthropic/v1?region=eu"]),
    "duration": _DURATION,
    "duration or none": _DURATION | st.just("none"),
    "duration or auto": _DURATION | st.just("auto"),
    "size": st.sampled_from(["32MiB", 1000]),
    "whole number": st.integers(1, 50),
    "number": st.floats(0.1, 100),
    "true or false": st.booleans(),
    "env, none or URL": st.sampled_from(
        ["env", "none", "socks5://127.0.0.1:1080", "http://u:a-long-password-1@127.0.0.1:1"]
    ),
}
# What depends on more than its kind.
_BY_KEY: Mapping[str, st.SearchStrategy[Any]] = {
    "name": st.just("made up"),
    "id": _TEXT.filter(lambda text: text not in {"first", "made up"}),
    "auth": st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["none", "passthrough"])}),
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["api_key", "auth_token"]),
                "values": st.lists(_SECRETS, min_size=1, max_size=3, unique=True),
            }
        ),
    ),
    "headers.set": st.dictionaries(_HEADERS, _SECRETS, max_size=2),
    "headers.remove": st.lists(_HEADERS, max_size=2),
    "body.set": st.dictionaries(st.sampled_from(["temperature", "metadata", "top_k"]), _JSON, max_size=2),
    "body.remove": st.lists(st.sampled_from(["thinking", "tools"]), max_size=2),
    "repairs.always": st.lists(st.sampled_from(NAMES[:4]), max_size=2, unique=True),
    "repairs.never": st.lists(st.sampled_from(NAMES[4:]), max_size=2, unique=True),
}


def section(model: Any, place: str = "") -> st.SearchStrategy[dict[str, Any]]:
    needed: dict[Any, Any] = {}
    possible: dict[Any, Any] = {}
    for key, info in schema.keys(model).items():
        into = needed if info.is_required() else possible
        into[key] = field(info, f"{place}{key}")
    return st.fixed_dictionaries(needed, optional=possible)


def field(info: Any, place: str) -> st.SearchStrategy[Any]:
    """Fails for a kind of field that nobody has thought of here."""
    inner = schema.section(info)
    if place in _BY_KEY:
        return _BY_KEY[place]
    if inner is not None:
        one = section(inner, f"{place}.")
        return st.lists(one, max_size=2) if schema.is_list(info) else one
    if chosen := schema.choices(info):
        return st.sampled_from(chosen)
    unit = schema.unit(info)
    return st.lists(_BY_UNIT[unit.removeprefix("list of ")], max_size=2) if schema.is_list(info) else _BY_UNIT[unit]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with served(tmp_path_factory.mktemp("served")) as it:
        yield it


@given(draft=section(EndpointSettings))
@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_field_of_an_endpoint_makes_the_round_trip(proxy, draft):
    asyncio.run(_round_trip(proxy, draft))


async def _round_trip(proxy: Served, draft: dict[str, Any]) -> None:
    admin = Admin(proxy.url)
    meant = EndpointSettings.model_validate(draft)
    created = await admin.post("/endpoints", draft)
    assert created.status == 201, created.body
    path = f"/endpoints/{quote(created.json['id'], safe='')}"
    try:
        _same(proxy, meant, created)
        before = proxy.path.read_bytes()

        again = await admin.put(path, created.json["settings"], if_match=created.json["etag"])

        assert again.status == 200, again.body
        assert again.json["settings"] == created.json["settings"]
        assert proxy.path.read_bytes() == before
        emptied = await admin.patch(path, dict.fromkeys(draft.keys() - {"name", "id", "url", "auth"}))
        assert emptied.status == 200, emptied.body
        assert set(emptied.json["settings"]) <= {"name", "id", "url", "auth"}
        refilled = await admin.put(path, created.json["settings"] | _secrets(draft))
        _same(proxy, meant, refilled)
    finally:
        assert (await admin.delete(path)).status == 204


def _same(proxy: Served, meant: EndpointSettings, answer: Answer) -> None:
    """What is in force is what was meant, but that headers hold what their references stand for."""
    raw = load(proxy.path)
    found = next(each for each in raw.settings.endpoints if each.id == meant.id)
    without = {"headers"}
    assert found.model_dump(exclude=without) == meant.model_dump(exclude=without)
    assert found.headers.remove == meant.headers.remove
    assert found.headers.set.keys() == meant.headers.set.keys()
    for secret in ("a-secret-that-is-long", "a-long-password"):
        assert secret not in answer.body.decode()


def _secrets(draft: dict[str, Any]) -> dict[str, Any]:
    """Parts whose secrets are in the file no more."""
    return {key: draft[key] for key in ("headers", "proxy", "body") if key in draft}
