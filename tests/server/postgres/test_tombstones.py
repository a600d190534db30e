"""Tombstones end, and nobody who pulls misses a deletion: a cursor from before their end starts its bucket anew."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from server.adapters.memory import MemorySystem
from server.adapters.postgres.connection import town_transaction
from server.adapters.postgres.tombstones import PostgresTombstones
from server.adapters.postgres.towns import PostgresTowns
from server.application.ports import Unavailable
from server.jobs import tombstones as job
from server.jobs.tombstones import DAY_MS, expire_tombstones
from sync.kernel.clock import format_time
from sync.modules.commerce import AssignDispatch, CompletePack, PickLine, PlaceOrder, ReassignDispatch
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser
from tests.support.puller import Puller, feed_rows
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.write_path import findings, stored

KEPT_DAYS = 10
DAY_SECONDS = DAY_MS / 1000


@dataclass(kw_only=True)
class Vans:
    """Orders that go from one van to another, so that one bucket loses what the other gains; and the job's parts."""

    town: RealTown
    tombstones: PostgresTombstones
    drivers: Sequence[str]
    pullers: Sequence[Puller]
    orders: list[str] = field(default_factory=list)
    tombstone_days: int = KEPT_DAYS

    @property
    def towns(self) -> PostgresTowns:
        return self.town.towns

    @property
    def system(self) -> MemorySystem:
        return self.town.system

    async def send(self, driver: int) -> str:
        """A new order, on its way with this driver."""
        order, lines = self.town.new_id(), [OrderLine(product=PRODUCT, quantity=1, price="2.50")]
        number = f"A{len(self.orders)}"
        warehouse = self.town.warehouse_id
        await self.town.author(
            PlaceOrder(id=order, number=number, warehouse=warehouse, customer_name="Grace", lines=lines)
        )
        await self.town.author(PickLine(order=order, product=PRODUCT, quantity=1), CompletePack(order=order))
        await self.town.author(AssignDispatch(id=self.town.new_id(), order=order, driver=self.drivers[driver]))
        self.orders.append(order)
        return order

    async def give(self, order: str, driver: int) -> None:
        """The order goes with this driver from now on."""
        reassign = ReassignDispatch(id=self.town.new_id(), order=order, driver=self.drivers[driver])
        await self.town.appliers.author(self.town.id, self.town.admin_id, [reassign])

    async def count(self) -> int:
        """How many tombstones there are."""
        ((count,),) = await stored(self.town, "SELECT count(*) FROM feed WHERE body IS NULL")
        return int(count)

    async def check_equal(self) -> None:
        """Everybody ends with exactly what is there, and verify finds nothing."""
        for puller in self.pullers:
            await puller.pull()
            assert puller.complaints == []
            async with town_transaction(self.town.pool, self.town.id) as connection:
                assert puller.rows == await feed_rows(connection, puller.cursors)
        assert await findings(self.town) == ()


@pytest.fixture
async def vans(migrated_database: str) -> AsyncIterator[Vans]:
    async with real_town(migrated_database) as town:
        eve = town.new_id()
        await town.author(AddUser(id=eve, name="Eve", login="eve", user_roles=["driver"]))
        devices = [await town.enrol("driver"), await town.enrol("driver", user_id=eve)]
        pullers = [
            Puller(towns=town.towns, town_id=town.id, device_id=device.id, page_rows=rows)
            for device, rows in zip(devices, (1, 7), strict=True)
        ]
        yield Vans(town=town, tombstones=PostgresTombstones(town.pool), drivers=[town.driver_id, eve], pullers=pullers)


async def test_old_ones_go_and_young_ones_stay(vans: Vans) -> None:
    old, young = await vans.send(0), await vans.send(0)
    await vans.give(old, 1)
    before = await vans.count()
    vans.system.advance(KEPT_DAYS * DAY_SECONDS + 1)
    await vans.give(young, 1)
    young_ones = await vans.count() - before
    await expire_tombstones(vans)

    assert (before > 0, await vans.count()) == (True, young_ones)
    await vans.check_equal()


async def test_a_device_that_was_away_starts_the_bucket_anew_and_no_other(vans: Vans) -> None:
    van, bucket = vans.pullers[0], f"driver:{vans.drivers[0]}"
    order = await vans.send(0)
    await van.pull()
    assert (bucket, "order", order) in van.rows
    await vans.give(order, 1)
    vans.system.advance(KEPT_DAYS * DAY_SECONDS + 1)
    await expire_tombstones(vans)
    await van.pull()

    assert van.states == {"town": "kept", f"device:{van.device_id}": "kept", bucket: "reset"}
    assert (bucket, "order", order) not in van.rows
    await vans.check_equal()


async def test_a_device_that_has_seen_them_goes_on(vans: Vans) -> None:
    order = await vans.send(0)
    await vans.give(order, 1)
    for puller in vans.pullers:
        await puller.pull()
    vans.system.advance(KEPT_DAYS * DAY_SECONDS + 1)
    await expire_tombstones(vans)
    for puller in vans.pullers:
        await puller.pull()

        assert set(puller.states.values()) == {"kept"}
    await vans.check_equal()


async def test_they_end_while_a_device_is_between_two_pages(vans: Vans) -> None:
    van = vans.pullers[0]
    orders = [await vans.send(0) for _ in range(3)]
    assert not await van.pull(pages_max=8)
    for order in orders:
        await vans.give(order, 1)
    vans.system.advance(KEPT_DAYS * DAY_SECONDS + 1)
    await expire_tombstones(vans)

    await vans.check_equal()
    assert van.states[f"driver:{vans.drivers[0]}"] == "reset"


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_pulls_at_random_moments_misses_no_deletion(
    vans: Vans, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "ROWS_MAX", 3)
    monkeypatch.setattr(job, "BATCHES_MAX", 2)
    chance, resets = random.Random(seed), 0
    for _ in range(60):
        vans.system.advance(DAY_SECONDS)
        if not vans.orders or chance.random() < 0.3:
            await vans.send(chance.randrange(2))
        else:
            await vans.give(chance.choice(vans.orders), chance.randrange(2))
        if chance.random() < 0.2:
            puller = chance.choice(vans.pullers)
            puller.states.clear()
            await puller.pull(pages_max=chance.choice([1, 3, None]))
            resets += list(puller.states.values()).count("reset")
        if chance.random() < 0.4:
            await expire_tombstones(vans)

    await vans.check_equal()
    assert resets > 0


async def test_whoever_pulls_while_they_end_misses_no_deletion(vans: Vans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "ROWS_MAX", 1)
    is_over = asyncio.Event()

    async def follow(puller: Puller) -> None:
        while not is_over.is_set():
            try:
                await puller.pull()
            except Unavailable:  # its bucket has lost tombstones under way: it asks again
                continue

    async def work() -> None:
        for number in range(20):
            vans.system.advance(DAY_SECONDS)
            await vans.send(number % 2)
            await vans.give(vans.orders[number // 2], (number + 1) % 2)
            await expire_tombstones(vans)

    following = [asyncio.create_task(follow(puller)) for puller in vans.pullers]
    await work()
    is_over.set()
    await asyncio.gather(*following)
    await vans.check_equal()


async def test_verify_finds_a_tombstone_that_went_without_its_horizon(vans: Vans) -> None:
    order = await vans.send(0)
    await vans.give(order, 1)
    async with town_transaction(vans.town.pool, vans.town.id) as connection:
        await connection.execute("DELETE FROM feed WHERE body IS NULL AND id = %s", [order])

    assert {finding.what for finding in await findings(vans.town)} == {"missing: the journal gives it"}


async def test_verify_finds_a_row_that_went_below_the_horizon(vans: Vans) -> None:
    await vans.send(0)
    await vans.give(vans.orders[0], 1)
    vans.system.advance(KEPT_DAYS * DAY_SECONDS + 1)
    await expire_tombstones(vans)
    async with town_transaction(vans.town.pool, vans.town.id) as connection:
        await connection.execute("UPDATE buckets SET horizon = version")
        await connection.execute("DELETE FROM feed WHERE entity = 'dispatch'")

    assert {finding.what for finding in await findings(vans.town)} == {"missing: the journal gives it"}


async def test_in_a_town_that_is_young_nothing_ends(vans: Vans) -> None:
    await vans.give(await vans.send(0), 1)
    count = await vans.count()

    assert await vans.tombstones.expire(vans.town.id, format_time(0), 100) == 0
    assert await vans.count() == count > 0
