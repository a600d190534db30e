"""The lease in the welcome: signed for this device and this contact, as the town decides for itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from server.application.leases import grant
from sync.engine.chain import is_signed, parse_public_key
from sync.engine.leases import lease_message, lease_of
from sync.kernel.clock import format_time
from sync.modules import registry
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from sync.protocol.messages import LeaseMark
from tests.support.api_world import ApiWorld, Knocker

DAY_MS = 24 * 3600 * 1000
CLOCK = "2001-02-03T04:05:06.789Z"


async def lease(device: Knocker) -> dict[str, Any]:
    """What the next welcome says, to a device whose clock is wrong by many years."""
    answer = await device.exchange(hello=device.hello(clock=CLOCK))
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = orjson.loads(answer.content.split(b"\n")[0])["lease"]
    return said


async def test_a_device_has_a_week_by_the_servers_clock_and_no_ceiling_unless_its_town_says_otherwise(
    world: ApiWorld,
) -> None:
    said = await lease(await world.device())

    now_ms = world.system.now_ms()
    assert said | {"sig": ""} == {
        "issued": format_time(now_ms),
        "until": format_time(now_ms + 7 * DAY_MS),
        "cash_units": None,
        "operations": ["payment.take"],
        "sig": "",
    }


async def test_the_town_decides_how_long_and_how_much(world: ApiWorld) -> None:
    settings = TownSettings(offline_days=2, cash_ceiling_units=300)
    await world.author(ChangeSettings(settings=settings))

    said = await lease(await world.device())

    assert said["until"] == format_time(world.system.now_ms() + 2 * DAY_MS)
    assert said["cash_units"] == 300


async def test_the_server_has_signed_it_for_this_device_and_this_contact(world: ApiWorld) -> None:
    device = await world.device()

    mark = LeaseMark.model_validate(await lease(device))

    town, key = device.town_id, parse_public_key(world.parts.signer.public_key)
    told = [
        lease_message(town, device.answer.device_id, CLOCK, lease_of(mark)),
        lease_message(town, device.answer.device_id, format_time(world.system.now_ms()), lease_of(mark)),
        lease_message(town, world.new_id(), CLOCK, lease_of(mark)),
    ]
    assert [is_signed(key, mark.sig, message) for message in told] == [True, False, False]


async def test_a_device_whose_role_takes_no_money_may_take_none_by_itself(world: ApiWorld) -> None:
    van = await world.device()
    async with world.parts.towns.reading(world.town_id) as reader:
        record = await reader.device(van.answer.device_id)
    assert record is not None

    tablet = replace(record, role="warehouse_staff")

    assert grant(tablet, CLOCK, 0, registry=registry(), signer=world.parts.signer)["operations"] == ()
