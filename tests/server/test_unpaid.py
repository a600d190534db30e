"""Orders that are to be paid first, and are not, are given up by the town itself, once, and their goods are free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from server.adapters.memory import MemorySystem
from server.adapters.postgres.towns import PostgresTowns
from server.adapters.postgres.unpaid import PostgresUnpaidOrders
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.settle_payments import CARD_DEADLINE_SECONDS
from server.domain.devices import server_device_id
from server.jobs.unpaid import ORDERS_MAX, cancel_unpaid
from sync.modules.billing import RequestPayment, TakePayment
from sync.modules.commerce import CancelOrder, PlaceOrder, StartPick
from sync.modules.commerce.operations import OrderLine
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import UNPAID_MINUTES_MAX, TownSettings
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.write_path import findings, stored

MINUTE_SECONDS = 60
STATES = "SELECT number, commercial FROM orders ORDER BY number"
GIVEN_UP = "SELECT status FROM change_sets WHERE convert_from(line, 'UTF8') LIKE '%\"reason\":\"unpaid\"%'"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the job needs, over a real town."""

    towns: PostgresTowns
    unpaid_orders: PostgresUnpaidOrders
    appliers: Appliers
    system: MemorySystem


@asynccontextmanager
async def selling_town(database_url: str) -> AsyncIterator[tuple[RealTown, Parts]]:
    async with real_town(database_url) as town:
        unpaid = PostgresUnpaidOrders(town.pool)
        yield town, Parts(towns=town.towns, unpaid_orders=unpaid, appliers=town.appliers, system=town.system)


def order_of(town: RealTown, number: str, method: Literal["momo", "card", "cod", "account"] = "momo") -> PlaceOrder:
    return PlaceOrder(
        id=town.new_id(),
        number=number,
        warehouse=town.warehouse_id,
        customer_name="Grace",
        lines=[OrderLine(product=PRODUCT, quantity=3, price="2.50")],
        payment_method=method,
    )


async def place(town: RealTown, number: str, method: Literal["momo", "card", "cod", "account"] = "momo") -> str:
    """The id of a new order."""
    order = order_of(town, number, method)
    await town.author(order)
    return order.id


async def states(town: RealTown) -> dict[str, Any]:
    return dict(await stored(town, STATES))


async def test_an_order_is_given_up_after_its_time_and_not_a_moment_before(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        await place(town, "A")
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS - 1)
        await cancel_unpaid(parts)
        early = (await states(town), await stored(town, "SELECT reserved FROM stock_levels"))
        town.system.advance(1)

        await cancel_unpaid(parts)

        assert early == ({"A": "active"}, [(3,)])
        assert (await states(town), await stored(town, "SELECT reserved FROM stock_levels")) == (
            {"A": "cancelled"},
            [(0,)],
        )
        ((actor, note),) = await stored(
            town, "SELECT actor_id::text, note FROM order_status_events WHERE to_status = 'CANCELLED'"
        )
        assert (actor, note) == (server_device_id(town.id), "unpaid")
        assert await findings(town) == ()


async def test_only_what_waits_on_the_shelf_for_mobile_money_or_a_card_is_given_up(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        for method in ("cod", "account"):
            await place(town, method, method)
        picked, paid, called_off = [await place(town, number) for number in ("picked", "paid", "called off")]
        await place(town, "unpaid")
        await place(town, "unpaid by card", "card")
        await town.author(StartPick(order=picked))
        await town.author(TakePayment(order=paid, amount="0.50", currency="GBP"))
        await town.author(CancelOrder(order=called_off, reason="asked for"))
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS)

        await cancel_unpaid(parts)

        assert [number for number, state in (await states(town)).items() if state == "cancelled"] == [
            "called off",
            "unpaid",
            "unpaid by card",
        ]
        assert await stored(town, GIVEN_UP) == [("accepted",)] * 2


async def test_a_town_has_its_own_time(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        await town.author(ChangeSettings(settings=TownSettings(unpaid_minutes_max=5)))
        await place(town, "A")
        town.system.advance(5 * MINUTE_SECONDS - 1)
        await cancel_unpaid(parts)
        early = await states(town)
        town.system.advance(1)

        await cancel_unpaid(parts)

        assert (early, await states(town)) == ({"A": "active"}, {"A": "cancelled"})


async def test_the_time_of_an_order_from_a_device_begins_when_it_is_heard_of(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        tablet = await town.enrol("warehouse_staff")
        line = tablet.line(order_of(town, "A"))
        town.system.advance(2 * UNPAID_MINUTES_MAX * MINUTE_SECONDS)
        await tablet.send(line)

        await cancel_unpaid(parts)
        at_once = await states(town)
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS)
        await cancel_unpaid(parts)

        assert (at_once, await states(town)) == ({"A": "active"}, {"A": "cancelled"})


async def test_however_many_schedulers_run_each_order_is_given_up_once(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        for number in range(5):
            await place(town, f"A{number}")
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS)

        await asyncio.gather(*(cancel_unpaid(parts) for _ in range(3)))
        await cancel_unpaid(parts)

        assert set((await states(town)).values()) == {"cancelled"}
        assert (await stored(town, GIVEN_UP)).count(("accepted",)) == 5
        assert await stored(town, "SELECT reserved FROM stock_levels") == [(0,)]
        assert await findings(town) == ()


async def test_an_order_is_not_given_up_while_its_customer_is_being_asked(migrated_database: str) -> None:
    async with selling_town(migrated_database) as (town, parts):
        order = await place(town, "A")
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS)
        await town.author(RequestPayment(order=order, amount="7.50", currency="GBP", payer="46733123999"))
        town.system.advance(CARD_DEADLINE_SECONDS - 1)
        await cancel_unpaid(parts)
        asked = await states(town)
        town.system.advance(1)

        await cancel_unpaid(parts)

        assert (asked, await states(town)) == ({"A": "active"}, {"A": "cancelled"})


async def test_what_was_paid_between_finding_and_giving_up_stays(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with selling_town(migrated_database) as (town, parts):
        order = await place(town, "A")
        town.system.advance(UNPAID_MINUTES_MAX * MINUTE_SECONDS)
        found = await parts.unpaid_orders.due(town.id, "2999-01-01T00:00:00.000Z", ORDERS_MAX)
        await town.author(TakePayment(order=order, amount="7.50", currency="GBP"))

        async def as_found(*_: object) -> list[str]:
            return list(found)

        monkeypatch.setattr(parts.unpaid_orders, "due", as_found)
        await cancel_unpaid(parts)

        assert (list(found), await states(town)) == ([order], {"A": "active"})
        assert await stored(town, GIVEN_UP) == [("refused",)]
