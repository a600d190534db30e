"""Nothing of another town by any door for devices: asked at the door, held by the statements and by PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import jwt
import orjson
import pytest

from server.api import rate_guard
from server.api.parts import Parts
from server.application.commands.found_town import found_town
from server.application.snapshot_ports import Snapshot
from server.domain.access import DeviceCaller, read_access_token
from server.domain.devices import server_device_id
from sync.engine.chain import line_hash, parse_public_key
from sync.kernel.ids import make_id
from sync.modules.identity import AddUser
from tests.support.api_world import ApiWorld, Knocker, api_world
from tests.support.row_security import make_lifted_pool

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"
SECRET = b"what is in the snapshot of the other town"
SECONDS_MAX = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A device of each of two towns, and a snapshot of the second one."""

    here: Knocker
    there: Knocker
    sha256: str

    async def ask(self, door: str, town_id: str) -> httpx2.Response:
        """Go through a door of this town with the token of the device that is here."""
        client, token = self.here.world.client, await self.here.token()
        headers = {"Authorization": f"Bearer {token}"}
        path = f"/v1/towns/{town_id}/{door.replace('<sha256>', self.sha256)}"
        async with asyncio.timeout(SECONDS_MAX):
            if door != "exchange":
                return await client.get(path, headers=headers)
            headers["Content-Type"] = "application/x-ndjson"
            return await client.post(path, content=self.here.hello() + b"\n", headers=headers)


DOORS = ("exchange", "live", "snapshots/<sha256>")


async def pair_of(world: ApiWorld) -> Pair:
    parts, system = world.parts, world.system
    town_id = await found_town(
        name="There",
        currency="GBP",
        time_zone="UTC",
        appliers=parts.appliers,
        signer=parts.signer,
        system=system,
    )
    driver = AddUser(id=make_id(system.now_ms(), system.random(10)), name="Foreigner", login="f", user_roles=["driver"])
    await parts.appliers.author(town_id, server_device_id(town_id), [driver])
    here, there = await world.device(), await replace(world, town_id=town_id, driver_id=driver.id).device()
    assert parts.snapshots is not None
    blob = await parts.snapshots.blobs.write(town_id, _once(SECRET))
    made = Snapshot(bucket="town", sha256=blob.sha256, epoch=UNKNOWN, version=1, rows=1, bytes=blob.size)
    await parts.snapshots.snapshots.add(town_id, made, "2026-11-21T08:00:00.000Z")
    return Pair(here=here, there=there, sha256=blob.sha256)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def forgetful(request: Any, parts: Parts, town_id: str, **_more: bool) -> DeviceCaller:
    """The door's own check, forgotten: a device of any town is let in everywhere."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    caller = read_access_token(
        token,
        key=parse_public_key(parts.signer.public_key),
        audience=parts.public_url,
        now_seconds=parts.system.now_ms() // 1000,
    )
    return replace(caller, town_id=town_id)


async def check_closed(pair: Pair, allowed: set[tuple[int, str]]) -> None:
    """Every door of the other town is shut for the device that is here, and nothing happens there."""
    version = await version_there(pair)
    for door in DOORS:
        foreign = await pair.ask(door, pair.there.town_id)
        assert (foreign.status_code, foreign.json()["code"]) in allowed, door
        assert SECRET not in foreign.content
        assert b"Foreigner" not in foreign.content
    assert await version_there(pair) == version


async def check_own_only(pair: Pair) -> None:
    """Through the doors of its own town a device gets nothing of the other one."""
    exchanged = await pair.ask("exchange", pair.here.town_id)
    assert exchanged.status_code == 200
    assert b"Ada" in exchanged.content
    for secret in (b"Foreigner", pair.there.town_id.encode(), pair.there.answer.device_id.encode()):
        assert secret not in exchanged.content
    snapshot = await pair.ask("snapshots/<sha256>", pair.here.town_id)
    assert (snapshot.status_code, snapshot.json()["code"]) == (404, "not_found")


async def check_no_token(pair: Pair) -> None:
    """A device gets no token for another town than its own, whoever it says that it is."""
    both = {"iss": pair.there.answer.device_id, "sub": pair.there.answer.device_id, "town": pair.there.town_id}
    for claims in ({"town": pair.there.town_id}, both, both | {"town": pair.here.town_id}):
        assertion = jwt.encode(pair.here.claims(**claims), pair.here.key, algorithm="EdDSA")
        answer = await pair.here.world.ask_token(assertion)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client"), claims


async def version_there(pair: Pair) -> int:
    async with pair.there.world.parts.towns.reading(pair.there.town_id) as reader:
        return reader.head.version


AT_THE_DOOR = {(404, "not_found")}
BEHIND_THE_DOOR = {(401, "unauthorized")}
"""Whoever let it in: that town has no such device."""


async def test_a_device_of_one_town_gets_nothing_of_another(world: ApiWorld) -> None:
    pair = await pair_of(world)

    await check_closed(pair, AT_THE_DOOR)
    await check_own_only(pair)
    await check_no_token(pair)


async def test_another_town_looks_to_a_device_as_no_town_does(world: ApiWorld) -> None:
    pair = await pair_of(world)

    for door in DOORS:
        foreign, unknown = await pair.ask(door, pair.there.town_id), await pair.ask(door, UNKNOWN)
        assert foreign.json() == unknown.json(), door


async def test_the_door_and_the_statements_hold_with_row_level_security_off(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.api_world.make_pool", make_lifted_pool)
    async with api_world(migrated_database) as world:
        pair = await pair_of(world)

        await check_closed(pair, AT_THE_DOOR)
        await check_own_only(pair)
        await check_no_token(pair)


async def test_what_is_behind_the_door_holds_with_its_check_forgotten(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await pair_of(world)
    monkeypatch.setattr(rate_guard, "device_caller", forgetful)

    await check_closed(pair, BEHIND_THE_DOOR)


async def test_even_with_both_forgotten_a_town_knows_its_devices(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.api_world.make_pool", make_lifted_pool)
    monkeypatch.setattr(rate_guard, "device_caller", forgetful)
    async with api_world(migrated_database) as world:
        await check_closed(await pair_of(world), BEHIND_THE_DOOR)


async def test_a_change_set_that_names_another_town_has_no_effect_there(world: ApiWorld) -> None:
    pair = await pair_of(world)
    here, before = pair.here, await version_there(pair)
    said = orjson.loads(here.line(AddUser(id=world.new_id(), name="Eve", login="eve", user_roles=["admin"])))
    line = orjson.dumps(said | {"town": pair.there.town_id})
    here.digest = line_hash(line)

    answer = await here.exchange(line)

    (verdict,) = [orjson.loads(one) for one in answer.content.split(b"\n") if one.startswith(b'{"t":"verdict"')]
    assert (verdict["status"], verdict["rule"]) == ("quarantined", "foreign_line")
    assert await version_there(pair) == before
