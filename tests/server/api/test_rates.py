"""The rates at the doors: who is counted for what, whose word counts for an address, and tries at enrolment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.api.app import create_app
from server.application.ports import Unavailable
from server.application.rates import RateLimits
from server.domain.devices import write_code
from server.domain.rates import ENROLMENT_DELAYS_SECONDS, Rates
from tests.support.api_world import PUBLIC_URL, ApiWorld, api_world

TRIES = sum(delay == 0 for delay in ENROLMENT_DELAYS_SECONDS) + 1
WRONG_CODE = write_code(bytes(10))
PROXY, VISITOR, OTHER_VISITOR = "192.0.2.1", "198.51.100.7", "198.51.100.8"


def still(**per_minute: int) -> RateLimits:
    """Limits for which no time passes; what is not named is not limited."""
    chosen = {"device_per_minute": 0, "address_per_minute": 0, "town_per_minute": 0} | per_minute
    return RateLimits(Rates(**chosen), monotonic=lambda: 1.0)


@asynccontextmanager
async def coming_from(world: ApiWorld, address: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose connection comes from this address."""
    transport = httpx2.ASGITransport(app=create_app(world.parts), client=(address, 1))
    async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC_URL) as client:
        yield client


async def statuses(client: httpx2.AsyncClient, times: int, path: str = "/nowhere", **headers: str) -> list[int]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [(await client.get(path, headers=named)).status_code for _ in range(times)]


async def test_a_device_that_asks_too_often_hears_when_to_come_back(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=still(device_per_minute=2)) as world:
        device, other = await world.device(), await world.device()
        taken = [(await device.exchange()).status_code for _ in range(2)]

        refused = await device.exchange()

        assert taken == [200, 200]
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert (refused.headers["retry-after"], refused.headers["content-type"]) == ("30", "application/problem+json")
        assert (await other.exchange()).status_code == 200


async def test_the_devices_of_a_town_share_its_rate(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=still(town_per_minute=2)) as world:
        devices = [await world.device() for _ in range(3)]

        answers = [await device.exchange() for device in devices]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_forged_token_takes_nothing_out_of_a_devices_bucket(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=still(device_per_minute=1)) as world:
        device = await world.device()
        for _ in range(3):
            assert (await device.exchange(Authorization="Bearer x.y.z")).status_code == 401

        assert (await device.exchange()).status_code == 200


async def test_an_address_is_counted_on_every_path_and_apart_from_others(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=still(address_per_minute=3)) as world:
        async with coming_from(world, VISITOR) as client:
            assert await statuses(client, 3) == [404] * 3
            refused = await client.post("/v1/oauth/token", content=b"x" * 100)
        async with coming_from(world, OTHER_VISITOR) as client:
            assert await statuses(client, 1) == [404]

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "rate_limited", "20")
    assert refused.headers["connection"] == "close"  # its body was not read
    assert refused.headers["x-content-type-options"] == "nosniff"


async def test_a_network_of_ipv6_is_one_address(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=still(address_per_minute=2)) as world:
        seen = []
        for number in range(3):
            async with coming_from(world, f"2001:db8:1:2::{number:x}") as client:
                seen += await statuses(client, 1)

    assert seen == [404, 404, 429]


async def test_whoever_keeps_the_process_running_is_not_counted(migrated_database: str) -> None:
    async with (
        api_world(migrated_database, rates=still(address_per_minute=1)) as world,
        coming_from(world, VISITOR) as client,
    ):
        assert await statuses(client, 5, "/healthz") == [200] * 5
        assert await statuses(client, 5, "/readyz") == [200] * 5


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_caller_on_this_machine_is_not_counted(migrated_database: str, address: str) -> None:
    async with (
        api_world(migrated_database, rates=still(address_per_minute=1)) as world,
        coming_from(world, address) as client,
    ):
        assert await statuses(client, 5) == [404] * 5


async def test_nobody_is_believed_about_an_address_unless_the_settings_say_so(migrated_database: str) -> None:
    async with (
        api_world(migrated_database, rates=still(address_per_minute=2)) as world,
        coming_from(world, VISITOR) as client,
    ):
        seen = [*await statuses(client, 2, X_Forwarded_For="203.0.113.1"), *await statuses(client, 1)]

    assert seen == [404, 404, 429]


@pytest.mark.parametrize("trusted", [(PROXY,), ("192.0.2.0/24",)])
async def test_a_trusted_proxy_is_believed_about_the_address_it_adds(
    migrated_database: str, trusted: Sequence[str]
) -> None:
    rates = still(address_per_minute=2)
    async with (
        api_world(migrated_database, rates=rates, trusted_proxies=trusted) as world,
        coming_from(world, PROXY) as client,
    ):
        forged = f"203.0.113.1, {VISITOR}"  # the visitor has sent the first part, the proxy has added the second
        seen = [
            *await statuses(client, 1, X_Forwarded_For=forged),
            *await statuses(client, 1, X_Forwarded_For=forged.replace("203", "202")),
            *await statuses(client, 1, X_Forwarded_For=VISITOR),
            *await statuses(client, 1, X_Forwarded_For=OTHER_VISITOR),
        ]

    assert seen == [404, 404, 429, 404]


async def test_wrong_codes_shut_the_door_to_enrolment_for_a_while(world: ApiWorld) -> None:
    for _ in range(TRIES):
        answer = await world.enrol(WRONG_CODE, Ed25519PrivateKey.generate())
        assert (answer.status_code, answer.json()["code"]) == (403, "enrolment_refused")

    refused = await world.enrol(await world.code(), Ed25519PrivateKey.generate())
    world.system.advance(29)
    too_early = await world.enrol(await world.code(), Ed25519PrivateKey.generate())
    world.system.advance(1)
    admitted = await world.enrol(await world.code(), Ed25519PrivateKey.generate())

    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "rate_limited", "30")
    assert (too_early.status_code, too_early.headers["retry-after"]) == (429, "1")
    assert admitted.status_code == 201


async def test_devices_that_enrol_are_no_tries_that_failed(world: ApiWorld) -> None:
    for _ in range(2 * TRIES):
        await world.device()

    assert (await world.enrol(WRONG_CODE, Ed25519PrivateKey.generate())).status_code == 403


async def test_wrong_codes_do_not_lock_the_same_address_out_of_signing_in(world: ApiWorld) -> None:
    for _ in range(TRIES + 1):
        await world.enrol(WRONG_CODE, Ed25519PrivateKey.generate())

    answer = await world.client.post(
        "/v1/sessions", json={"email": "nobody@example.org", "password": "x"}, headers={"Origin": PUBLIC_URL}
    )

    assert answer.json()["code"] == "sign_in_refused"


class TriesAway:
    """A place to count tries that is away."""

    async def count_try(self, *_: Any) -> str | None:
        raise Unavailable


async def test_whoever_cannot_be_counted_is_not_let_try(migrated_database: str) -> None:
    async with api_world(migrated_database, tries=TriesAway()) as world:
        answer = await world.enrol(await world.code(), Ed25519PrivateKey.generate())

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
