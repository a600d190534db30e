"""Nothing of another town by any door for people: asked at the door, held by PostgreSQL, and each holds alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from typing import Any

import httpx2
import pytest

from server.api import staff as door
from server.api.app import create_app
from server.domain.people import Membership, Principal
from sync.modules.billing.entities import party_id
from tests.support.row_security import make_lifted_pool
from tests.support.staff_world import PRODUCT, Browser, MoneyOfTown, StaffWorld, TownOfStaff, staff_world

OF_NOBODY = ("users", "warehouses", "products", "parties", "drawer-sessions", "schools", "/pay-outs")
"""Lists to which a row is added that names no other."""

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"


def documents(town: TownOfStaff) -> dict[str, dict[str, Any]]:
    """A good document for each route that takes one, by the end of its path."""
    lines = [{"product": PRODUCT, "quantity": 1}]
    driver, money = {"driver": town.users["driver"]}, money_of(town)
    pounds, fee = {"amount": "1.00", "currency": "GBP"}, [{"text": "f", "amount": "1.00"}]
    student = {"school": money.school, "number": "2", "name": "B", "class_name": "3b"}
    return {
        "parties": {"name": "P"},
        "invoices": {"party": money.party, "title": "t", "lines": fee, "currency": "GBP"},
        "credit": {"credit": money.invoice, "amount": "1.00"},
        "payments": {"invoice": money.invoice, **pounds},
        "void": {"reason": "r"},
        "pay-outs": {"method": "momo", "reference": "FT-1", **pounds},
        "refunds": {"payment": money.payment, "reason": "r", **pounds},
        "reject": {"reason": "r"},
        "pay": {"payment": money.payment, **pounds},
        "count": {"counted": [pounds]},
        "schools": {"name": "S"},
        "students": student,
        "{student_id}": student,
        "fee-schedules": {
            "school": money.school,
            "students": [money.student],
            "title": "t",
            "lines": fee,
            "currency": "GBP",
            "due_on": "2026-12-01",
        },
        "orders": {"number": "1", "warehouse": town.warehouse, "customer_name": "c", "lines": lines},
        "lines": {"lines": lines},
        "users": {"name": "E", "login": "e", "roles": ["admin"]},
        "warehouses": {"name": "South"},
        "products": {"sku": "PEAR", "name": "Pears"},
        "offer": {"price": "1.00"},
        "settings": {"payment_units_max": 100},
        "receive": {"warehouse": town.warehouse, "product": PRODUCT, "quantity": 1},
        "adjust": {"warehouse": town.warehouse, "product": PRODUCT, "delta": 1},
        "transfer": {"source": town.warehouse, "target": town.warehouse, "product": PRODUCT, "quantity": 1},
        "enrolments": {"role": "driver", "user": town.users["driver"]},
        "assign": driver,
        "reassign": driver,
        "roles": {"roles": ["driver"]},
        "resolution": {"how": "accept", "note": "n"},
        "complete": {"note": "n"},
        "refuse": {"reason": "r"},
        "release": {"reason": "r"},
        "suspend": {"reason": "r"},
        "revoke": {"reason": "r"},
    }


def money_of(town: TownOfStaff) -> MoneyOfTown:
    """What there is about money; the town was charged."""
    assert town.money is not None
    return town.money


def row_ids(town: TownOfStaff) -> dict[str, str]:
    """A row that is there, for each path parameter."""
    money = money_of(town)
    return {
        "invoice_id": money.invoice,
        "payment_id": money.payment,
        "refund_id": money.refund,
        "drawer_id": money.drawer,
        "student_id": money.student,
        "order_id": town.order,
        "user_id": town.users["driver"],
        "device_id": town.device,
        "dispatch_id": town.order,
        "product_id": town.product,
        "conflict_id": town.conflict or town.order,
        "task_id": town.task or town.order,
        "row_id": town.warehouse,
        "owner_id": party_id(town.order),
        "seq": "1",
        "number": "1",
        "paper_id": town.order,
    }


def routes(staff: StaffWorld) -> list[tuple[str, str]]:
    """Every route below a town that is for people, as (method, path)."""
    paths = create_app(replace(staff.world.parts, has_docs=True)).openapi()["paths"]
    return [
        (method.upper(), path)
        for path, methods in paths.items()
        if path.startswith("/v1/towns/")
        for method, route in methods.items()
        if any("session" in scheme for scheme in route.get("security", []))
    ]


async def call(browser: Browser, method: str, path: str, town_id: str, of: TownOfStaff) -> httpx2.Response:
    """One route with the ids of the rows of `of`."""
    said = None if method == "GET" else documents(of).get(path.rpartition("/")[2], {})
    return await browser.call(method, path.format(town_id=town_id, **row_ids(of)), said)


async def rows_there(staff: StaffWorld) -> list[tuple[Any, ...]]:
    """Where the other town stands, and how many change sets and answered requests it has."""
    theirs = f"FROM {{}} WHERE town_id = '{staff.there.id}'"
    counts = [f"(SELECT count(*) {theirs.format(table)})" for table in ("idempotency", "change_sets")]
    return await staff.stored(f"SELECT version, {', '.join(counts)} {theirs.format('town_heads')}", staff.there)


def no_check(principal: Principal, town_id: str) -> Membership:
    """The door's own check, forgotten: whoever is an admin somewhere is let in everywhere as that admin."""
    (member,) = principal.memberships.values()
    return replace(member, town_id=town_id)


@asynccontextmanager
async def without_row_security(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StaffWorld]:
    monkeypatch.setattr("tests.support.api_world.make_pool", make_lifted_pool)
    async with staff_world(database_url) as staff:
        assert len(await staff.stored("SELECT DISTINCT town_id FROM town_heads", staff.here)) > 1  # it is off
        yield staff


async def check_closed(staff: StaffWorld) -> None:
    """Every route of the other town is as that of no town, with its rows and with one's own, and nothing is written."""
    for town in (staff.here, staff.there):
        await staff.trouble(town)
        await staff.charge(town)
    browser, before = await staff.browser(), await rows_there(staff)
    found = routes(staff)
    assert len(found) > 25
    for method, path in found:
        foreign = await call(browser, method, path, staff.there.id, staff.there)
        crossed = await call(browser, method, path, staff.there.id, staff.here)
        unknown = await call(browser, method, path, UNKNOWN, staff.there)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found"), (method, path)
        assert foreign.json() == crossed.json() == unknown.json(), (method, path)
        assert staff.there.id not in foreign.text
    assert await rows_there(staff) == before


async def check_own_only(staff: StaffWorld) -> None:
    """Through the routes of one's own town no row of another is read or touched, and lists have none of it."""
    await staff.trouble(staff.there)
    money = await staff.charge(staff.there)
    browser, before = await staff.browser(), await rows_there(staff)
    there = staff.there
    theirs = {
        there.order,
        there.device,
        there.warehouse,
        there.product,
        there.task,
        *there.users.values(),
        *astuple(money),
    }
    for method, path in routes(staff):
        answer = await call(browser, method, path, staff.here.id, staff.there)
        if "{" in path.replace("{town_id}", ""):
            allowed = {404}
        else:  # a person, a warehouse or a product of one's own needs nothing that is there
            is_of_nobody = path.endswith(OF_NOBODY)
            allowed = {201} if is_of_nobody and method == "POST" else {200, 409, 422}
        assert answer.status_code in allowed, (method, path)
        assert method != "GET" or not any(row_id in answer.text for row_id in theirs), path
    assert await rows_there(staff) == before


async def test_a_user_of_one_town_gets_404_on_every_route_of_another(staff: StaffWorld) -> None:
    await check_closed(staff)


async def test_a_row_of_another_town_is_not_there_in_ones_own(staff: StaffWorld) -> None:
    await check_own_only(staff)


async def test_the_door_alone_holds_with_row_level_security_off(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with without_row_security(migrated_database, monkeypatch) as staff:
        await check_closed(staff)


async def test_the_statements_alone_hold_with_row_level_security_off(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with without_row_security(migrated_database, monkeypatch) as staff:
        await check_own_only(staff)


async def test_postgresql_alone_holds_with_the_check_at_the_door_forgotten(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "membership", no_check)

    await check_closed(staff)


async def test_the_rules_alone_hold_for_writes_with_both_forgotten(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "membership", no_check)
    async with without_row_security(migrated_database, monkeypatch) as staff:
        browser = await staff.browser()
        await staff.charge(staff.there)

        answers = [
            await browser.post(
                f"/v1/towns/{staff.there.id}/{path}", documents(staff.there).get(path.split("/")[-1], {})
            )
            for path in ("warehouses", "users", "orders", f"orders/{staff.there.order}/cancel")
        ]

    assert {answer.json()["code"] for answer in answers} == {"people.actor_refused"}


async def test_a_device_token_opens_no_door_for_people_and_a_session_none_for_devices(staff: StaffWorld) -> None:
    device = await staff.world.device()
    headers = {"Authorization": f"Bearer {await device.token()}"}
    browser = await staff.browser()

    as_device = await staff.world.client.get(f"/v1/towns/{device.town_id}/orders", headers=headers)
    as_person = await browser.call("POST", "exchange", {}, headers={"Content-Type": "application/x-ndjson"})

    assert (as_device.status_code, as_device.json()["code"]) == (401, "not_signed_in")
    assert (as_person.status_code, as_person.json()["code"]) == (401, "unauthorized")


async def test_without_a_session_every_route_is_closed(staff: StaffWorld) -> None:
    browser = Browser(world=staff.world, town=staff.here, email="")
    await staff.charge(staff.here)

    codes = {
        (await call(browser, method, path, staff.here.id, staff.here)).json()["code"] for method, path in routes(staff)
    }

    assert codes == {"not_signed_in"}


async def test_without_the_token_of_the_page_nothing_is_changed_on_any_route(staff: StaffWorld) -> None:
    browser = await staff.browser()
    browser.csrf = "A" * 43
    await staff.charge(staff.here)

    codes = {
        (await call(browser, method, path, staff.here.id, staff.here)).json()["code"]
        for method, path in routes(staff)
        if method != "GET"
    }

    assert codes == {"cross_site"}
