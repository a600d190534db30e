"""The law of the feed: pull whenever you like, in pages as small as you like, and end with exactly what is there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import psycopg
import pytest

from server.adapters.postgres.connection import town_transaction
from server.application.ports import Unavailable
from server.application.queries.exchange_page import receipt
from server.application.recent import RecentTowns
from sync.kernel.changeset import Operation
from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import (
    AssignDispatch,
    CancelOrder,
    CompletePack,
    PickLine,
    PlaceOrder,
    ReassignDispatch,
    WithdrawDispatch,
)
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import AddUser, DeactivateUser, SuspendDevice
from sync.protocol import limits
from tests.support.puller import Puller, Rows, faults_of_versions, feed_rows
from tests.support.real_town import PRODUCT, RealDevice, RealTown
from tests.support.write_path import findings, other_appliers, receive, version

STEPS = 120
PAGE_ROWS = (1, 2, 7)


@dataclass(kw_only=True)
class Trade:
    """A town at work: orders that are placed, packed, sent with one van or another, called back or cancelled."""

    town: RealTown
    chance: random.Random
    drivers: Sequence[str]
    orders: list[str] = field(default_factory=list)
    dispatches: list[str] = field(default_factory=list)

    async def step(self) -> None:
        """One change set, of whatever kind; some are refused or adjusted, as in life."""
        kinds: list[Callable[[], list[Operation]]] = [
            self._place,
            self._place,
            self._pack,
            self._send,
            self._send_with_another,
            self._call_back,
            self._cancel,
            self._price,
            lambda: [receive(self.town)],
        ]
        await self.town.appliers.author(self.town.id, self.town.admin_id, self.chance.choice(kinds)())

    def _place(self) -> list[Operation]:
        self.orders.append(self.town.new_id())
        return [place(self.town, self.orders[-1], f"A{len(self.orders)}")]

    def _pack(self) -> list[Operation]:
        order = self._order()
        return [PickLine(order=order, product=PRODUCT, quantity=1), CompletePack(order=order)]

    def _send(self) -> list[Operation]:
        self.dispatches.append(self.town.new_id())
        return [AssignDispatch(id=self.dispatches[-1], order=self._order(), driver=self.chance.choice(self.drivers))]

    def _send_with_another(self) -> list[Operation]:
        self.dispatches.append(self.town.new_id())
        return [ReassignDispatch(id=self.dispatches[-1], order=self._order(), driver=self.chance.choice(self.drivers))]

    def _call_back(self) -> list[Operation]:
        return [WithdrawDispatch(dispatch=self.chance.choice(self.dispatches or [self.town.id]))]

    def _cancel(self) -> list[Operation]:
        return [CancelOrder(order=self._order())]

    def _price(self) -> list[Operation]:
        price = f"{self.chance.randint(1, 9)}.00"
        return [OfferProduct(product=PRODUCT, price=price, is_enabled=self.chance.random() < 0.5)]

    def _order(self) -> str:
        return self.chance.choice(self.orders or [self.town.id])


def place(town: RealTown, order: str, number: str, lines: int = 1) -> PlaceOrder:
    """One piece of the product in each line."""
    wanted = [OrderLine(product=PRODUCT, quantity=1, price="2.50")] * lines
    return PlaceOrder(id=order, number=number, warehouse=town.warehouse_id, customer_name="Grace", lines=wanted)


def puller_of(device: RealDevice, page_rows: int = 10_000, recent: RecentTowns | None = None) -> Puller:
    town = device.town
    return Puller(towns=town.towns, town_id=town.id, device_id=device.id, page_rows=page_rows, recent=recent)


async def feed_of(town: RealTown, puller: Puller) -> Rows:
    """What the feed holds in the buckets that the puller knows of."""
    async with town_transaction(town.pool, town.id) as connection:
        return await feed_rows(connection, puller.cursors)


@asynccontextmanager
async def traffic(
    town: RealTown, chance: random.Random, recent: RecentTowns | None = None
) -> AsyncIterator[tuple[Trade, list[Puller]]]:
    """Trade and three pullers, a tablet and two vans; at the end each of them has what is there."""
    eve = town.new_id()
    await town.author(AddUser(id=eve, name="Eve", login="eve", user_roles=["driver"]))
    devices = [
        await town.enrol("warehouse_staff"),
        await town.enrol("driver"),
        await town.enrol("driver", user_id=eve),
    ]
    pullers = [puller_of(device, rows, recent) for device, rows in zip(devices, PAGE_ROWS, strict=True)]
    yield Trade(town=town, chance=chance, drivers=[town.driver_id, eve]), pullers
    for puller in pullers:
        await puller.pull()
        assert puller.complaints == []
        assert puller.rows == await feed_of(town, puller)
    async with town_transaction(town.pool, town.id) as connection:
        assert await faults_of_versions(connection) == []


@pytest.mark.parametrize("seed", range(4))
async def test_whoever_pulls_at_random_moments_ends_with_exactly_what_is_there(town: RealTown, seed: int) -> None:
    chance = random.Random(seed)
    async with traffic(town, chance) as (trade, pullers):
        for _ in range(STEPS):
            await trade.step()
            if chance.random() < 0.4:
                await chance.choice(pullers).pull(pages_max=chance.choice([1, 2, None]))
    assert await findings(town) == ()


async def test_whoever_pulls_while_others_write_ends_with_exactly_what_is_there(town: RealTown) -> None:
    async with traffic(town, random.Random(5)) as (trade, pullers):
        is_over = asyncio.Event()

        async def follow(puller: Puller) -> None:
            while not is_over.is_set():
                await puller.pull()

        async def write() -> None:
            for _ in range(STEPS):
                await trade.step()

        following = [asyncio.create_task(follow(puller)) for puller in pullers]
        await asyncio.gather(write(), write())
        is_over.set()
        await asyncio.gather(*following)
    assert await findings(town) == ()


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_is_answered_out_of_memory_ends_with_exactly_what_is_there(town: RealTown, seed: int) -> None:
    chance, recent = random.Random(seed), town.appliers.recent
    async with traffic(town, chance, recent) as (trade, pullers):
        for _ in range(STEPS):
            await trade.step()
            if chance.random() < 0.4:
                await chance.choice(pullers).pull(pages_max=chance.choice([1, 2, None]))
            if chance.random() < 0.02:
                recent.forget(town.id)
    assert min(puller.times_from_memory for puller in pullers) > 0


async def test_what_another_process_writes_is_missed_by_nobody_who_is_answered_out_of_memory(town: RealTown) -> None:
    recent, other = town.appliers.recent, other_appliers(town)
    async with traffic(town, random.Random(6), recent) as (trade, pullers):
        is_over = asyncio.Event()

        async def follow(puller: Puller) -> None:
            while not is_over.is_set():
                await puller.pull()

        async def write() -> None:
            for _ in range(STEPS):
                await trade.step()

        async def write_elsewhere() -> None:
            for number in range(STEPS // 10):
                await other.author(town.id, town.admin_id, [place(town, town.new_id(), f"B{number}")])

        following = [asyncio.create_task(follow(puller)) for puller in pullers]
        await asyncio.gather(write(), write_elsewhere())
        is_over.set()
        await asyncio.gather(*following)
    assert sum(puller.times_from_memory for puller in pullers) > 0


async def test_a_row_that_leaves_a_bucket_leaves_a_tombstone_and_then_the_device(town: RealTown) -> None:
    async with traffic(town, random.Random(1)) as (trade, (_, van, other_van)):
        order, first, second = (town.new_id() for _ in range(3))
        await town.author(place(town, order, "A1"))
        await town.author(PickLine(order=order, product=PRODUCT, quantity=1), CompletePack(order=order))
        await town.author(AssignDispatch(id=first, order=order, driver=trade.drivers[0]))
        await van.pull()
        held = (f"driver:{trade.drivers[0]}", "order", order)
        assert held in van.rows
        await town.author(ReassignDispatch(id=second, order=order, driver=trade.drivers[1]))
        await van.pull()
        await other_van.pull()
        assert held not in van.rows
        assert (f"driver:{trade.drivers[1]}", "order", order) in other_van.rows
        async with town_transaction(town.pool, town.id) as connection:
            cursor = await connection.execute(
                "SELECT version FROM feed WHERE bucket = %s AND id = %s AND body IS NULL", [held[0], order]
            )
            assert await cursor.fetchall() == [(await version(town),)]


async def test_a_page_never_ends_inside_a_version(town: RealTown) -> None:
    tablet = await town.enrol("warehouse_staff")
    puller = puller_of(tablet)
    await puller.pull()
    puller.page_rows = 3
    for size in (20, 4, 2):
        await tablet.send(*(tablet.line(place(town, town.new_id(), "A1")) for _ in range(size)))
    cursors = []
    while not await puller.pull(pages_max=1):
        cursors.append((puller.cursors[f"warehouse:{town.warehouse_id}"], len(puller.rows)))
    last = await version(town)
    before = len(puller.rows) - 26
    assert cursors == [(last - 2, before + 20), (last - 1, before + 24)]
    assert puller.complaints == []


async def test_lines_and_pages_end_by_their_bytes_as_well_as_by_their_rows(
    town: RealTown, monkeypatch: pytest.MonkeyPatch
) -> None:
    puller = puller_of(await town.enrol("warehouse_staff"))
    await puller.pull()
    puller.pages.clear()
    monkeypatch.setattr(limits, "ROWS_LINE_BYTES", 40_000)
    puller.page_bytes = 100_000
    for number in range(20):
        await town.author(place(town, town.new_id(), f"A{number}", lines=100))
    await puller.pull()
    biggest_row = max(len(body) for _, body in puller.rows.values())
    assert biggest_row > 10_000
    assert all(line < 40_000 + 2 * biggest_row for page in puller.pages for line in page)
    assert all(sum(page) < 100_000 + 2 * biggest_row for page in puller.pages)
    assert len(puller.pages) > 20 * biggest_row // 150_000
    assert (puller.complaints, puller.rows) == ([], await feed_of(town, puller))


async def test_a_version_larger_than_a_page_is_given_whole(town: RealTown) -> None:
    tablet = await town.enrol("warehouse_staff")
    puller = puller_of(tablet)
    await puller.pull()
    puller.page_bytes = 1
    await tablet.send(*(tablet.line(place(town, town.new_id(), "A1", lines=100)) for _ in range(5)))
    await puller.pull()
    assert (puller.complaints, puller.rows) == ([], await feed_of(town, puller))


async def test_a_device_hears_which_buckets_are_new_kept_or_no_longer_its_own(town: RealTown) -> None:
    tablet = await town.enrol("warehouse_staff")
    puller = puller_of(tablet)
    await puller.pull()
    held = {"town", f"warehouse:{town.warehouse_id}", "staff:warehouse_staff", f"device:{tablet.id}"}
    assert puller.states == dict.fromkeys(held, "added")
    puller.cursors["driver:somebody"] = 3
    await puller.pull()
    assert puller.states == {**dict.fromkeys(held, "kept"), "driver:somebody": "dropped"}
    assert puller.cursors.keys() == held


async def test_a_driver_who_left_has_no_customers_on_the_phone_any_more(town: RealTown) -> None:
    puller, order = puller_of(await town.enrol("driver")), await town.place_order()
    await town.author(AssignDispatch(order=order, driver=town.driver_id))
    await puller.pull()
    held = (f"driver:{town.driver_id}", "order", order)
    assert held in puller.rows
    await town.author(DeactivateUser(user=town.driver_id))
    await puller.pull()
    assert held not in puller.rows
    assert {bucket: state for bucket, state in puller.states.items() if state != "kept"} == {held[0]: "dropped"}


async def test_a_new_epoch_resets_every_bucket(town: RealTown, migrated_database: str) -> None:
    puller = puller_of(await town.enrol("warehouse_staff"))
    await puller.pull()
    before = dict(puller.rows)
    with psycopg.connect(migrated_database) as connection:
        connection.execute("UPDATE tallystick.town_heads SET epoch = %s", [town.new_id()])
    puller.rows["town", "product", "forgotten"] = (1, b"{}")
    await puller.pull()
    assert set(puller.states.values()) == {"reset"}
    assert (puller.rows, puller.complaints) == (before, [])
    await puller.pull()
    assert set(puller.states.values()) == {"kept"}


async def test_a_device_that_is_suspended_between_two_pages_gets_no_more_rows(town: RealTown) -> None:
    device = await town.enrol("warehouse_staff")
    puller = puller_of(device, page_rows=1)
    assert not await puller.pull(pages_max=1)
    await town.author(SuspendDevice(device=device.id, reason="lost"))
    with pytest.raises(Unavailable):
        await puller.pull()


async def test_a_receipt_is_signed_for_and_moves_no_cursor(town: RealTown) -> None:
    page = await receipt(partial(town.towns.reading, town.id))
    (line,) = page.lines
    assert f'"version":{await version(town)}'.encode() in line
    assert b'"buckets":{}' in line
    assert b'"more":true' in line
