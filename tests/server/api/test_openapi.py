"""OpenAPI says of every route what it is, what it takes and gives, with examples that fit, and how it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from server.api.app import create_app
from server.api.problems import PROBLEM_TYPE
from tests.support.json_schema import faults
from tests.support.staff_world import StaffWorld

Route = tuple[str, dict[str, Any]]


@pytest.fixture
def said(staff: StaffWorld) -> dict[str, Any]:
    doors = {name: cast("Any", object()) for name in ("live", "snapshots", "sealed")}  # nobody comes in
    return create_app(replace(staff.world.parts, has_docs=True, **doors)).openapi()


def routes(said: dict[str, Any]) -> Iterator[Route]:
    for path, methods in said["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what it is, schema and example) of the request and of every answer."""
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {kind}", body
    for status, answer in operation["responses"].items():
        for kind, body in answer.get("content", {}).items():
            yield f"{status} {kind}", body


def test_every_route_has_a_summary_a_description_and_one_tag(said: dict[str, Any]) -> None:
    found = dict(routes(said))

    assert len(found) > 60
    for name, operation in found.items():
        assert 5 < len(operation["summary"]) < 121, name
        assert operation["description"].startswith(operation["summary"]), name
        assert len(operation["tags"]) == 1, name
        assert "\n" not in operation["description"], name


def test_every_body_has_an_example_that_fits_its_schema(said: dict[str, Any]) -> None:
    wrong = [
        (name, what, fault)
        for name, operation in routes(said)
        for what, body in bodies(operation)
        for fault in faults(body["example"], body["schema"])
    ]

    assert wrong == []


def test_every_route_says_how_it_refuses(said: dict[str, Any]) -> None:
    for name, operation in routes(said):
        answers = operation["responses"]
        assert any(status.startswith("2") for status in answers), name
        assert "{town_id}" not in name or "404" in answers, name
        assert not operation.get("security") or "401" in answers, name
        assert "requestBody" not in operation or {"400", "408", "413", "415"} <= answers.keys(), name
        assert name.endswith("z") or "429" in answers, name
        for status, answer in answers.items():
            if (status.startswith("4") and status != "416") or status == "504":  # that one says all in a header
                assert list(answer["content"]) == [PROBLEM_TYPE], (name, status)
                assert answer["content"][PROBLEM_TYPE]["example"]["status"] == int(status)


def test_every_document_that_is_taken_is_closed_and_its_ids_are_ids(said: dict[str, Any]) -> None:
    for name, operation in routes(said):
        taken = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if taken is not None:
            assert taken["schema"]["additionalProperties"] is False, name
        for parameter in operation.get("parameters", ()):
            if re.search("_id$", parameter["name"]):
                assert parameter["schema"]["format"] == "uuid", name


def test_nothing_is_left_of_a_description_that_is_not_ours(said: dict[str, Any]) -> None:
    assert "ValidationError" not in str(said)


async def test_it_is_served_only_when_the_settings_ask_for_it(staff: StaffWorld) -> None:
    assert (await staff.world.client.get("/openapi.json")).status_code == 404
    assert (await staff.world.client.get("/docs")).status_code == 404


@pytest.mark.parametrize(
    ("value", "schema", "found"),
    [
        ({"a": 1}, {"type": "object", "required": ["b"]}, 1),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}, 1),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": False}, 1),
        (["x", 1], {"type": "array", "items": {"type": "string"}}, 1),
        (True, {"type": "integer"}, 1),
        ("x", {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 2}]}, 1),
        ("x", {"format": "uuid"}, 1),
        ("x", {"enum": ["x"], "maxLength": 1, "pattern": "^x$"}, 0),
        (None, {"type": ["string", "null"]}, 0),
    ],
)
def test_an_example_that_does_not_fit_is_found(value: Any, schema: Any, found: int) -> None:
    assert len(list(faults(value, schema))) == found
