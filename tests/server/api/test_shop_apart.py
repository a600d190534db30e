"""The doors for customers lead into one town: PostgreSQL holds that, the statements hold it, and each holds alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import shop
from server.adapters.postgres.connection import Connection, configure
from server.api import shop as door
from server.domain.tracking import tracked_order
from sync.modules.catalogue import OfferProduct
from sync.modules.commerce import ReceiveStock
from tests.support.customer import Customer
from tests.support.staff_world import PRODUCT, StaffWorld, staff_world

FOREIGN = "Zucchini"


async def without_row_security(connection: Connection) -> None:
    await configure(connection)
    await connection.execute("RESET ROLE")
    await connection.commit()


def make_open_pool(database_url: str) -> AsyncConnectionPool[Connection]:
    return AsyncConnectionPool(database_url, min_size=1, max_size=8, configure=without_row_security, open=False)


@asynccontextmanager
async def world_without_row_security(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StaffWorld]:
    monkeypatch.setattr("tests.support.api_world.make_pool", make_open_pool)
    async with staff_world(database_url) as staff:
        assert len(await staff.stored("SELECT DISTINCT town_id FROM town_heads", staff.here)) > 1  # it is off
        yield staff


def name_no_town(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that forget which town was asked for."""
    for name in ("_OFFERS", "_FREE"):
        statement = getattr(shop, name)
        forgetful = statement.replace("t.town_id = %s", "%s::uuid IS NOT NULL").replace("w.town_id = %s", "%s != ''")
        assert forgetful != statement
        monkeypatch.setattr(shop, name, forgetful)


async def sell_more_there(staff: StaffWorld) -> None:
    """In the other town the same product is plenty, and another one is sold."""
    new_id = staff.world.new_id
    await staff.author(staff.there, OfferProduct(id=new_id(), product=staff.there.product, price="1.00"))
    for product in (PRODUCT, staff.there.product):
        more = ReceiveStock(id=new_id(), warehouse=staff.there.warehouse, product=product, quantity=500)
        await staff.author(staff.there, more)


async def check_apart(staff: StaffWorld) -> None:
    await sell_more_there(staff)
    here, there = Customer(staff=staff, town=staff.here), Customer(staff=staff, town=staff.there)

    shown = (await here.get("catalogue")).json()["items"]
    too_many = await here.check_out(here.wish(100))
    not_sold = await here.check_out(here.wish(lines=[{"product": staff.there.product, "quantity": 1}]))
    code = (await there.order())["tracking_code"]
    foreign, unknown = [await here.get(f"orders/track/{one}") for one in (code, "A" * 43)]

    assert [(item["name"], item["available"]) for item in shown] == [("Apples", 99)]
    assert FOREIGN in (await there.get("catalogue")).text
    assert [(one.status_code, one.json()["code"]) for one in (too_many, not_sold)] == [
        (409, "stock.insufficient"),
        (409, "not_on_sale"),
    ]
    assert too_many.json()["data"]["lines"][0]["available"] == 99
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert (await there.get(f"orders/track/{code}")).status_code == 200


async def test_a_customer_of_one_town_gets_nothing_of_another(staff: StaffWorld) -> None:
    await check_apart(staff)


async def test_the_statements_alone_hold_with_row_level_security_off(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world_without_row_security(migrated_database, monkeypatch) as staff:
        await check_apart(staff)


async def test_postgresql_alone_holds_with_statements_that_name_no_town(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_no_town(monkeypatch)

    await check_apart(staff)


@pytest.mark.parametrize("has_row_security", [True, False])
async def test_a_code_of_another_town_opens_nothing_where_codes_are_believed(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch, *, has_row_security: bool
) -> None:
    opened = staff_world(migrated_database) if has_row_security else None
    async with opened or world_without_row_security(migrated_database, monkeypatch) as staff:
        here, there = Customer(staff=staff, town=staff.here), Customer(staff=staff, town=staff.there)
        code = (await there.order())["tracking_code"]
        monkeypatch.setattr(
            door, "tracked_order", lambda secrets, _town, code: tracked_order(secrets, staff.there.id, code)
        )

        answer = await here.get(f"orders/track/{code}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
