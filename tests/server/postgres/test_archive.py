"""Closed business leaves devices after the town's days, and stays where the office and `verify` look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from server.adapters.memory import MemorySystem
from server.adapters.postgres.closed import PostgresClosedOrders
from server.adapters.postgres.towns import PostgresTowns
from server.application.commands.apply_change_sets import Appliers
from server.domain.devices import server_device_id
from server.jobs import archive as job
from server.jobs.archive import archive_closed
from sync.modules import registry
from sync.modules.commerce import (
    ArchiveOrder,
    AssignDispatch,
    CompleteDelivery,
    CompletePack,
    PickLine,
    PlaceOrder,
    ReassignDispatch,
    StartDelivery,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, ChangeSettings
from sync.modules.town_settings import DEVICE_DAYS_MAX, TownSettings
from tests.support.puller import Puller
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.write_path import findings, stored

DAY_SECONDS = 24 * 3600


@dataclass(kw_only=True)
class Retention:
    """A town with a tablet and two vans; the parts of the job."""

    town: RealTown
    closed_orders: PostgresClosedOrders
    eve: str
    pullers: list[Puller]

    @property
    def towns(self) -> PostgresTowns:
        return self.town.towns

    @property
    def appliers(self) -> Appliers:
        return self.town.appliers

    @property
    def system(self) -> MemorySystem:
        return self.town.system

    async def delivered(self, number: str) -> str:
        """An order that went with one driver and then with another, who handed it over."""
        town, order, first, second = self.town, *(self.town.new_id() for _ in range(3))
        lines = [OrderLine(product=PRODUCT, quantity=1, price="2.50")]
        place = PlaceOrder(
            id=order,
            number=number,
            warehouse=town.warehouse_id,
            customer_name="Grace",
            lines=lines,
            payment_method="account",
        )
        await town.author(place)
        await town.author(PickLine(order=order, product=PRODUCT, quantity=1), CompletePack(order=order))
        await town.author(AssignDispatch(id=first, order=order, driver=self.eve))
        await town.author(ReassignDispatch(id=second, order=order, driver=town.driver_id))
        done = [StartDelivery(dispatch=second), CompleteDelivery(dispatch=second, received_by="Grace")]
        await town.appliers.author(town.id, server_device_id(town.id), done)
        return order

    async def held(self) -> dict[str, set[str]]:
        """The entities that devices hold of orders, by entity, after everybody has pulled."""
        found: dict[str, set[str]] = {"order": set(), "dispatch": set(), "fulfilment": set()}
        for puller in self.pullers:
            await puller.pull()
            assert puller.complaints == []
            for _, entity, row_id in puller.rows:
                if entity in found:
                    found[entity].add(row_id)
        return found

    async def archive(self, order: str) -> dict[str, Any]:
        """The verdict on archiving this order now."""
        operation = ArchiveOrder(order=order, dispatches=[])
        verdict = await self.town.appliers.author(self.town.id, server_device_id(self.town.id), [operation])
        said: dict[str, Any] = orjson.loads(verdict)
        return said


@pytest.fixture
async def retention(migrated_database: str) -> AsyncIterator[Retention]:
    async with real_town(migrated_database) as town:
        eve = town.new_id()
        await town.author(AddUser(id=eve, name="Eve", login="eve", user_roles=["driver"]))
        devices = [
            await town.enrol("warehouse_staff"),
            await town.enrol("driver"),
            await town.enrol("driver", user_id=eve),
        ]
        pullers = [Puller(towns=town.towns, town_id=town.id, device_id=device.id) for device in devices]
        yield Retention(town=town, closed_orders=PostgresClosedOrders(town.pool), eve=eve, pullers=pullers)


async def test_after_the_towns_days_a_closed_order_leaves_every_device_and_stays_in_the_tables(
    retention: Retention,
) -> None:
    order, town = await retention.delivered("A1"), retention.town
    before = await retention.held()
    assert (before["order"], len(before["dispatch"]), len(before["fulfilment"])) == ({order}, 2, 1)
    retention.system.advance(DEVICE_DAYS_MAX * DAY_SECONDS - 1)
    await archive_closed(retention)
    assert await retention.held() == before
    retention.system.advance(2)
    await archive_closed(retention)

    assert await retention.held() == {"order": set(), "dispatch": set(), "fulfilment": set()}
    assert await stored(town, "SELECT id, driver_id FROM orders") == [(order, town.driver_id)]
    assert await stored(town, "SELECT count(*) FROM dispatches WHERE archived_at IS NOT NULL") == [(2,)]
    assert await findings(town) == ()


async def test_the_days_are_the_town_s_own(retention: Retention) -> None:
    await retention.town.author(ChangeSettings(settings=TownSettings(device_days_max=2)))
    await retention.delivered("A1")
    retention.system.advance(2 * DAY_SECONDS + 1)
    await archive_closed(retention)

    assert (await retention.held())["order"] == set()


async def test_what_is_open_stays(retention: Retention) -> None:
    order = await retention.town.place_order("A1")
    retention.system.advance(400 * DAY_SECONDS)
    await archive_closed(retention)

    assert (await retention.held())["order"] == {order}
    verdict = await retention.archive(order)
    assert (verdict["status"], verdict["rule"]) == ("refused", "orders.not_closed")


async def test_done_again_nothing_happens(retention: Retention) -> None:
    order = await retention.delivered("A1")
    retention.system.advance(DEVICE_DAYS_MAX * DAY_SECONDS + 1)
    await archive_closed(retention)
    rows = await stored(retention.town, "SELECT id, version, archived_at FROM orders")
    retention.system.advance(400 * DAY_SECONDS)
    await archive_closed(retention)
    assert (await retention.archive(order))["status"] == "accepted"

    assert await stored(retention.town, "SELECT id, version, archived_at FROM orders") == rows


def test_an_archived_order_that_is_open_again_is_on_devices_again() -> None:
    order = {
        "warehouse_id": "w",
        "driver_id": "d",
        "commercial": "cancelled",
        "archived_at": "2026-11-21T08:00:00.000Z",
    }
    buckets = registry().entities["order"].buckets

    assert [buckets({**order, "custody": custody}) for custody in ("warehouse", "returned", "customer")] == [()] * 3
    assert buckets({**order, "custody": "van"}) == ("driver:d",)
    assert buckets({**order, "custody": "picking"}) == ("warehouse:w", "driver:d")


async def test_many_go_in_bounded_batches(retention: Retention, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "ORDERS_MAX", 2)
    for number in range(5):
        await retention.town.cancelled_order(f"A{number}")
    retention.system.advance(DEVICE_DAYS_MAX * DAY_SECONDS + 1)
    before = retention.system.reached_steps.count("archive.after_batch")
    await archive_closed(retention)

    assert retention.system.reached_steps.count("archive.after_batch") - before == 3
    assert await stored(retention.town, "SELECT count(*) FROM orders WHERE archived_at IS NULL") == [(0,)]


async def test_a_device_cannot_archive(retention: Retention) -> None:
    order, tablet = await retention.delivered("A1"), await retention.town.enrol("warehouse_staff")
    (verdict,) = await tablet.send(tablet.line(ArchiveOrder(order=order, dispatches=[])))

    assert verdict["status"] == "refused"
