"""Faults as problem documents, health, and the headers of every answer."""

from __future__ import annotations

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from server.api.app import create_app
from server.api.problems import STATUS
from tests.support.api_world import ApiWorld, api_world


async def failing() -> None:
    raise ConnectionError("redis://user:secret@host is gone")


async def hanging() -> None:
    await asyncio.Event().wait()


async def fine() -> None:
    pass


class Exploding:
    """A port that raises what nobody expects."""

    def __getattr__(self, name: str) -> object:
        raise ZeroDivisionError("secret state")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/healthz/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/openapi.json", 404, "not_found"),
        ("GET", "/v1/devices", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    world: ApiWorld, method: str, path: str, status: int, code: str
) -> None:
    answer = await world.client.request(method, path)

    said = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (said["status"], said["code"], said["type"]) == (status, code, f"urn:tallystick:problem:{code}")


async def test_the_unexpected_is_a_problem_that_tells_nothing_but_its_request(migrated_database: str) -> None:
    async with api_world(migrated_database, enrolments=Exploding()) as world:
        with capture_logs() as logs:
            answer = await world.enrol("0000-0000-0000-0000", Ed25519PrivateKey.generate())

    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (
        500,
        "internal",
        answer.headers["x-request-id"],
    )
    assert "secret" not in answer.text
    assert [entry["event"] for entry in logs if entry.get("exc_info")] == ["request"]


async def test_the_process_says_that_it_is_alive(world: ApiWorld) -> None:
    answer = await world.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_server_that_can_serve_says_so(migrated_database: str) -> None:
    async with api_world(migrated_database, checks={"database": fine, "redis": fine}) as world:
        answer = await world.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "checks": {"database": "ok", "redis": "ok"}},
    )


async def test_a_server_that_cannot_serve_says_what_is_missing_and_keeps_the_reason(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.health.CHECK_SECONDS_MAX", 0.01)
    checks = {"database": fine, "redis": failing, "migrations": hanging}
    async with api_world(migrated_database, checks=checks) as world:
        answer = await world.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "unready", "checks": {"database": "ok", "redis": "failed", "migrations": "failed"}},
    )


async def test_the_documentation_is_there_when_asked_for(migrated_database: str) -> None:
    async with api_world(migrated_database, has_docs=True) as world:
        answer = await world.client.get("/openapi.json")

    assert "/v1/devices" in json.loads(answer.content)["paths"]


async def test_the_parts_run_as_long_as_the_application(world: ApiWorld) -> None:
    app = create_app(world.parts)

    async with app.router.lifespan_context(app):
        assert app.state.parts is world.parts


def test_no_two_faults_share_a_code_with_different_statuses() -> None:
    by_code: dict[str, set[int]] = {}
    for kind, status in STATUS.items():
        by_code.setdefault(kind.code, set()).add(status)

    assert {code: statuses for code, statuses in by_code.items() if len(statuses) > 1} == {}
