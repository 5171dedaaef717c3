"""The description of the API is whole, and the API is as described."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import (
    ChecksConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.config._checks import NegativeDataRejectionConfig

from tests.admin.client import Admin
from tests.admin.served import Served, served
from tests.support.proxy import running

EXAMPLES = 6  # of each kind: those that fit the description, and those that do not
ENDLESS = "follow_events"  # is tested in tests/admin/test_events.py
HEALTH = list(HealthCheck)

# Beyond what a schema can say: names that are taken, URLs that are none, and what somebody else changed meanwhile.
_MEANING = ["2xx", "401", "403", "404", "409", "412", "422", "503"]
_REFUSED = ["400", "403", "404", "405", "409", "412", "413", "422", "428", "503"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as it:
        yield it


@pytest.fixture(scope="module")
def described(proxy) -> Any:
    return schemathesis.openapi.from_url(f"{proxy.api}/openapi.json", config=_config(proxy.api))


def _config(url: str) -> SchemathesisConfig:
    project = ProjectConfig(
        base_url=url,
        checks=ChecksConfig(
            positive_data_acceptance=PositiveDataAcceptanceConfig(expected_statuses=_MEANING),
            negative_data_rejection=NegativeDataRejectionConfig(expected_statuses=_REFUSED),
        ),
    )
    return SchemathesisConfig(seed=4, projects=ProjectsConfig(default=project))


def test_every_operation_does_what_is_written(described, proxy):
    tried = 0
    for found in described.get_all_operations():
        operation = found.ok()
        if operation.definition.raw["operationId"] != ENDLESS:
            can_be_wrong = bool(operation.body or [*operation.iter_parameters()])
            for mode in (GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if can_be_wrong else [])):
                _try(operation, mode, proxy)
                tried += 1
    assert tried > 60


def _try(operation: Any, mode: GenerationMode, proxy: Served) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        _at_home(case.body, proxy.upstream)
        case.call_and_validate()

    ask()


def _at_home(node: Any, url: str) -> None:
    """No request of ours leaves this machine: wherever an endpoint is, it is the simulator."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "url" and isinstance(value, str):
                node[key] = url
            elif key == "proxy" and isinstance(value, str):
                node[key] = "none"
            else:
                _at_home(value, url)
    elif isinstance(node, list):
        for each in node:
            _at_home(each, url)


@pytest.fixture
async def document(tmp_path):
    async with running(tmp_path) as proxy:
        return (await Admin(proxy.url).get("/openapi.json")).json


async def test_no_answer_has_an_empty_schema(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                assert content or status == "204", (path, method, status)
                for kind, described in content.items():
                    assert described["schema"] not in ({}, True), (path, method, status, kind)
    assert list(_empty(document["components"]["schemas"], "")) == []


def _empty(node: Any, where: str) -> Iterator[str]:
    """Schemas that say nothing; data among them (defaults, examples) may be empty."""
    if isinstance(node, dict):
        if not node:
            yield where
        for key, value in node.items():
            if key not in {"default", "examples"}:
                yield from _empty(value, f"{where}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _empty(value, f"{where}/{index}")


async def test_every_reference_leads_somewhere(document):
    text = json.dumps(document)
    named = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert named == set(document["components"]["schemas"]) & named
    assert "x-schema" not in text
    assert '"x-needed"' not in text


async def test_every_change_says_which_headers_it_needs(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            needed = {each["name"] for each in operation.get("parameters", ()) if each["required"]}
            assert ("x-companion-csrf" in needed) == (method != "get"), path
            if "428" in operation["responses"]:
                assert "if-match" in needed, path


async def test_every_error_is_a_problem(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"]


async def test_every_operation_has_a_name_and_says_what_it_does(document):
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert all(each["description"] for each in operations)
