"""What waited too long for an order is reported by the town itself, once, and the books still verify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from server.adapters.memory import MemorySystem
from server.adapters.postgres.listings import PostgresListings
from server.adapters.postgres.towns import PostgresTowns
from server.application.commands.apply_change_sets import Appliers
from server.jobs.overdue import report_overdue
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.casework import ResolveConflict
from sync.modules.commerce import AssignStub, PlaceOrder, StartPick
from sync.modules.commerce.operations import OrderLine
from sync.modules.commerce.waiting import WAIT_HOURS
from tests.support.real_town import PRODUCT, RealTown, real_town
from tests.support.write_path import findings, stored

HOUR_SECONDS = 3600
LATE = derived_id("late")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the job needs, over a real town."""

    towns: PostgresTowns
    listings: PostgresListings
    appliers: Appliers
    system: MemorySystem


@asynccontextmanager
async def waiting_town(database_url: str) -> AsyncIterator[tuple[RealTown, Parts]]:
    """A town in which cash and a pick wait for an order that nobody has reported."""
    async with real_town(database_url) as town:
        van, tablet = await town.enrol("driver"), await town.enrol("warehouse_staff")
        await van.send(van.line(TakePayment(order=LATE, amount="2.50", currency="GBP")))
        await tablet.send(tablet.line(StartPick(order=LATE)))
        listings = PostgresListings(town.pool)
        yield town, Parts(towns=town.towns, listings=listings, appliers=town.appliers, system=town.system)


async def conflicts(town: RealTown) -> list[tuple[Any, ...]]:
    return await stored(town, "SELECT kind, rule, state FROM conflicts ORDER BY raised_at")


async def check_verified(town: RealTown) -> None:
    assert await findings(town) == ()


async def test_what_waits_is_reported_once_after_its_time(migrated_database: str) -> None:
    async with waiting_town(migrated_database) as (town, parts):
        town.system.advance(WAIT_HOURS * HOUR_SECONDS - 60)
        await report_overdue(parts)
        early = await conflicts(town)
        town.system.advance(61)

        await asyncio.gather(*(report_overdue(parts) for _ in range(3)))
        await report_overdue(parts)

        assert (early, await conflicts(town)) == ([], [("unknown_invoice", "payments.unknown_invoice", "open")])
        assert await stored(town, "SELECT state FROM stubs") == [("overdue",)]
        await check_verified(town)


async def test_an_order_that_comes_at_last_takes_up_what_waited(migrated_database: str) -> None:
    async with waiting_town(migrated_database) as (town, parts):
        town.system.advance((WAIT_HOURS + 1) * HOUR_SECONDS)
        await report_overdue(parts)
        shop = await town.enrol("warehouse_staff")
        lines = [OrderLine(product=PRODUCT, quantity=1, price="2.50")]
        place = PlaceOrder(id=LATE, number="L1", warehouse=town.warehouse_id, customer_name="Grace", lines=lines)

        (verdict,) = await shop.send(shop.line(place))

        assert (verdict["status"], verdict["rule"]) == ("adjusted", "engine.arrived")
        assert await stored(town, "SELECT custody, payment, paid_minor FROM orders") == [("picking", "paid", 250)]
        assert await stored(town, "SELECT state FROM stubs") == [("merged",)]
        await check_verified(town)


async def test_what_a_person_assigns_and_resolves_verifies(migrated_database: str) -> None:
    async with waiting_town(migrated_database) as (town, parts):
        town.system.advance((WAIT_HOURS + 1) * HOUR_SECONDS)
        await report_overdue(parts)
        order = await town.place_order()
        ((conflict, stub),) = await stored(town, "SELECT id::text, subject_id::text FROM conflicts")
        resolve = ResolveConflict(conflict=conflict, how="reassign", note="a slip of the scanner")

        line = await town.appliers.author(town.id, town.admin_id, [resolve, AssignStub(stub=stub, order=order)])

        assert b'"status":"adjusted"' in line
        assert await stored(town, "SELECT custody, payment FROM orders") == [("picking", "paid")]
        assert await conflicts(town) == [("unknown_invoice", "payments.unknown_invoice", "resolved")]
        await check_verified(town)


TAMPERING = [
    ("UPDATE stubs SET facts = '[]'", "stub "),
    ("UPDATE stubs SET state = 'waiting'", "stub "),
    ("DELETE FROM stubs", "stub "),
    ("UPDATE conflicts SET resolution = NULL, state = 'open'", "conflict "),
    ("UPDATE conflicts SET resolution = jsonb_set(resolution, '{how}', '\"accept\"')", "conflict "),
    ("UPDATE conflicts SET task_id = NULL", "conflict "),
    ("UPDATE tasks SET closed = NULL", "task "),
]


async def test_whoever_changes_what_waits_or_what_was_resolved_is_found_out(migrated_database: str) -> None:
    async with waiting_town(migrated_database) as (town, parts):
        town.system.advance((WAIT_HOURS + 1) * HOUR_SECONDS)
        await report_overdue(parts)
        order = await town.place_order()
        ((conflict, stub),) = await stored(town, "SELECT id::text, subject_id::text FROM conflicts")
        resolve = ResolveConflict(conflict=conflict, how="reassign", note="a slip of the scanner")
        await town.appliers.author(town.id, town.admin_id, [resolve, AssignStub(stub=stub, order=order)])

        found = [await _tampered(migrated_database, town, statement) for statement, _ in TAMPERING]

    assert [
        [place.startswith(expected) for place in places] for places, (_, expected) in zip(found, TAMPERING, strict=True)
    ] == [[True]] * len(TAMPERING)


async def _tampered(url: str, town: RealTown, statement: str) -> list[str]:
    """Where verify finds something after a superuser's change, which is taken back."""
    table = next(name for name in ("stubs", "conflicts", "tasks") if name in statement)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"CREATE TEMPORARY TABLE kept AS TABLE tallystick.{table}".encode())
        await connection.execute("SET search_path = tallystick")
        await connection.execute(statement.encode())
        places = [finding.where for finding in await findings(town)]
        await connection.execute(f"DELETE FROM {table}".encode())
        await connection.execute(f"INSERT INTO {table} TABLE pg_temp.kept".encode())
    return places
