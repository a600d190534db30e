"""Lines in quarantine: run again after a fix they take effect once, and as long as nothing is mended they stay."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from server.adapters.postgres.sealed import PostgresQuarantine
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.settle_quarantine import (
    AlreadySettled,
    Rerun,
    StillFails,
    StillUnreadable,
    refuse,
    retry,
)
from server.application.sealed_ports import QuarantinedLine
from server.domain.access import NotFound
from server.domain.devices import server_device_id
from sync.engine.chain import encode_bytes, line_hash
from sync.kernel.changeset import Replaced
from sync.kernel.draft import Draft
from sync.kernel.module import Module, ModuleKind, Registry
from sync.modules import registry
from sync.modules.commerce import OpenWarehouse, ReceiveStock
from sync.modules.identity import AddUser, DeactivateUser
from tests.support.real_town import PRODUCT, RealDevice, RealTown
from tests.support.write_path import POISONED, Swallow, findings, other_appliers, poison, received, stored, upload


def mended(operation: Swallow, draft: Draft) -> None:
    """What the rule should have been: so many more on the shelf."""
    level = draft.need("stock_level", operation.level)
    receive = ReceiveStock(id=operation.id, warehouse=level["warehouse_id"], product=level["product_id"], quantity=1)
    for rule in registry().rules[ReceiveStock.op]:
        rule(receive, draft)


MENDED = Registry(
    [
        *registry().modules,
        Module(
            name="poison",
            kind=ModuleKind.WORKFLOW,
            needs=frozenset({"commerce"}),
            operations=(Swallow,),
            rules={Swallow: mended},
        ),
    ]
)
"""The release with the fix."""


async def again(town: RealTown, device: RealDevice, rules: Registry | None = None, by: Appliers | None = None) -> Rerun:
    """Run the first line of the device again."""
    known = rules or registry()
    appliers = by or other_appliers(town, rules=known)
    quarantine = PostgresQuarantine(town.pool)
    return await retry(town.id, device.id, 1, quarantine=quarantine, appliers=appliers, registry=known)


async def lines(town: RealTown, *, is_open: bool = True) -> list[QuarantinedLine]:
    quarantine = PostgresQuarantine(town.pool)
    return list(await quarantine.lines(town.id, is_open=is_open, after_version=0, lines_max=100))


async def swallowed(town: RealTown) -> RealDevice:
    """A tablet whose only line has made a rule raise."""
    device = await town.enrol("warehouse_staff")
    appliers = other_appliers(town, rules=POISONED)
    await appliers.submit(upload(device, device.line(poison(town, "a rule that raises"))))
    return device


async def test_a_line_over_which_the_rules_fail_stays_until_they_are_mended_and_is_booked_once(town: RealTown) -> None:
    device = await swallowed(town)

    with pytest.raises(StillFails):
        await again(town, device, POISONED)
    assert [(line.seq, line.rule, line.state) for line in await lines(town)] == [(1, "engine.rule_failed", "open")]
    done = await again(town, device, MENDED)

    assert (done.status, await received(town)) == ("accepted", 1)
    with pytest.raises(AlreadySettled):
        await again(town, device, MENDED)
    assert await lines(town) == []
    assert [line.state for line in await lines(town, is_open=False)] == ["resolved"]
    assert await stored(town, "SELECT state FROM tasks WHERE kind = 'quarantined'") == [("done",)]
    assert await findings(town, MENDED) == ()


async def test_a_line_that_no_release_here_can_read_stays_as_it_is(town: RealTown) -> None:
    device = await swallowed(town)

    with pytest.raises(StillUnreadable):
        await again(town, device)
    assert [line.seq for line in await lines(town)] == [1]


async def test_a_release_that_can_read_a_line_finds_nothing_wrong_with_what_one_before_made_of_it(
    town: RealTown,
) -> None:
    device = await town.enrol("warehouse_staff")
    [verdict] = await device.send(device.line(poison(town, "a rule that raises")))
    assert verdict["rule"] == "unknown_operation"

    assert await findings(town, MENDED) == ()
    await again(town, device, MENDED)

    assert (await received(town), await findings(town, MENDED)) == (1, ())


async def test_a_fact_that_pointed_nowhere_is_booked_once_its_place_is_there(town: RealTown) -> None:
    device, warehouse = await town.enrol("warehouse_staff"), town.new_id()
    receive = ReceiveStock(warehouse=warehouse, product=PRODUCT, quantity=3)
    [verdict] = await device.send(device.line(receive))
    assert verdict["status"] == "quarantined"

    with pytest.raises(StillFails, match="does not exist here"):
        await again(town, device)
    assert [line.device_id for line in await lines(town)] == [device.id]  # the retry left nothing there itself
    await town.author(OpenWarehouse(id=warehouse, name="South"))
    done = await again(town, device)

    assert done.status == "accepted"
    on_hand = await stored(town, "SELECT on_hand FROM stock_levels ORDER BY on_hand LIMIT 1")
    assert on_hand == [(3,)]
    assert await findings(town) == ()


async def test_a_retry_that_was_broken_off_is_done_again_and_books_nothing_twice(town: RealTown) -> None:
    device = await swallowed(town)
    [line] = await lines(town)
    replaced = Replaced(device=device.id, seq=1, hash=encode_bytes(line_hash(line.line)))
    appliers = other_appliers(town, rules=MENDED)
    operation = poison(town, "a rule that raises").model_copy(update={"id": orjson.loads(line.line)["ops"][0]["id"]})
    await appliers.author(town.id, device.actor_id, [operation], replaces=replaced)
    assert (len(await lines(town)), await received(town)) == (1, 1)

    done = await again(town, device, MENDED, appliers)

    assert (done.status, await received(town), await lines(town)) == ("adjusted", 1, [])
    assert await findings(town, MENDED) == ()


async def test_of_two_operators_who_run_a_line_again_at_once_one_has_an_effect(town: RealTown) -> None:
    device = await swallowed(town)

    await asyncio.gather(*(again(town, device, MENDED) for _ in range(2)), return_exceptions=True)

    assert (await received(town), await lines(town)) == (1, [])
    assert await findings(town, MENDED) == ()


async def test_whoever_recorded_it_may_have_left_since(town: RealTown) -> None:
    device = await swallowed(town)
    town_itself = other_appliers(town)
    await town_itself.author(town.id, town.admin_id, [DeactivateUser(id=town.new_id(), user=device.actor_id)])

    assert (await again(town, device, MENDED)).status == "accepted"


@pytest.mark.parametrize("is_town_itself", [True, False])
async def test_run_again_a_line_may_do_no_more_than_its_device_might_have_done(
    town: RealTown, *, is_town_itself: bool
) -> None:
    device = await town.enrol("warehouse_staff")
    device.actor_id = server_device_id(town.id) if is_town_itself else town.admin_id
    crown = AddUser(id=town.new_id(), name="Eve", login="eve", user_roles=["admin"])
    [verdict] = await device.send(device.line(crown, poison(town, "a rule that raises")))
    assert verdict["status"] == "quarantined"  # of a release that the server did not know yet

    with pytest.raises(StillFails, match="may not do this"):
        await again(town, device, MENDED)

    assert await stored(town, "SELECT count(*) FROM users WHERE login = 'eve'") == [(0,)]
    assert await findings(town, MENDED) == ()


async def test_a_line_that_is_let_be_stays_without_effect_for_ever(town: RealTown) -> None:
    device = await swallowed(town)
    quarantine = PostgresQuarantine(town.pool)

    await refuse(town.id, device.id, 1, "a test of the app", quarantine=quarantine, appliers=town.appliers)

    with pytest.raises(AlreadySettled):
        await again(town, device, MENDED)
    assert (await received(town), await lines(town)) == (0, [])
    assert await stored(town, "SELECT resolution->>'note' FROM conflicts") == [("a test of the app",)]


async def test_what_is_not_in_quarantine_is_not_found(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")

    with pytest.raises(NotFound):
        await again(town, device)
