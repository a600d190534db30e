"""What every answer tells a browser not to do: on every route, whoever asks, and with every problem."""

from __future__ import annotations

import re
from dataclasses import replace

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.api.app import create_app
from server.api.parts import Parts
from server.application.rates import RateLimits
from server.domain.rates import Rates
from tests.support.api_world import ApiWorld, api_world
from tests.support.staff_world import StaffWorld

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"


def check_safe(answer: httpx2.Response, *, is_over_tls: bool = False) -> None:
    headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in headers
    assert "x-powered-by" not in headers
    assert headers["x-request-id"]
    assert ("strict-transport-security" in headers) == is_over_tls
    may_be_kept = answer.status_code in {200, 304} and "etag" in headers
    assert headers["cache-control"].split(",")[0] in ({"private", "public"} if may_be_kept else {"no-store"})


def every_route(parts: Parts) -> list[tuple[str, str]]:
    """(method, path) of every route, with ids that are nobody's, and of what OpenAPI does not tell."""
    paths = create_app(replace(parts, has_docs=True)).openapi()["paths"]
    found = [(method.upper(), re.sub(r"{\w+}", UNKNOWN, path)) for path, methods in paths.items() for method in methods]
    return [*found, ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/docs")]


async def test_every_route_answers_safely_whoever_asks(staff: StaffWorld) -> None:
    world, browser = staff.world, await staff.browser()
    found = every_route(world.parts)
    assert len(found) > 30
    device = await world.device()
    token = {"Authorization": f"Bearer {await device.token()}"}
    for method, path in found:
        check_safe(await world.client.request(method, path))
        check_safe(await world.client.request(method, path, headers=token, content=b"{}"))
        if path != "/v1/sessions/current":
            check_safe(await browser.call(method, path.replace(UNKNOWN, staff.here.id, 1), None))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/towns/x/exchange", "/v1/sessions", "/../etc/passwd"])
async def test_every_method_is_answered_safely(world: ApiWorld, method: str, path: str) -> None:
    check_safe(await world.client.request(method, path))


async def test_what_opens_a_door_is_kept_by_nobody(staff: StaffWorld) -> None:
    browser = await staff.browser()
    device = await staff.world.device()
    code = await browser.post("enrolments", {"role": "driver", "user": staff.here.users["driver"]})

    for answer in (await device.ask_token(), await browser.sign_in(), code, await device.exchange()):
        assert answer.is_success
        assert answer.headers["cache-control"] == "no-store"
        check_safe(answer)


async def test_the_unexpected_and_the_refused_are_answered_safely(migrated_database: str) -> None:
    rates = RateLimits(Rates(address_per_minute=1), monotonic=lambda: 1.0)
    async with api_world(migrated_database, rates=rates) as world:
        await world.client.get("/nowhere")
        refused = await world.client.get("/nowhere")
    async with api_world(migrated_database, enrolments=object()) as world:
        broken = await world.enrol("0000-0000-0000-0000", Ed25519PrivateKey.generate())

    assert (refused.status_code, broken.status_code) == (429, 500)
    check_safe(refused)
    check_safe(broken)


async def test_a_server_behind_tls_says_that_it_always_is(migrated_database: str) -> None:
    async with api_world(migrated_database, public_url="https://sync.example") as world:
        check_safe(await world.client.get("/healthz"), is_over_tls=True)
        check_safe(await world.client.get("/nowhere"), is_over_tls=True)


async def test_the_page_about_the_api_loads_only_what_it_needs(migrated_database: str) -> None:
    async with api_world(migrated_database, has_docs=True) as world:
        answer = await world.client.get("/docs")

    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert answer.headers["content-type"].startswith("text/html")
    assert (policy["default-src"], policy["object-src"], policy["frame-ancestors"]) == ("'self'", "'none'", "'none'")
