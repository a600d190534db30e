"""A customer calls off an order by its tracking code, until picking has begun; the till has rates of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from server.application.rates import RateLimits
from server.domain.devices import server_device_id
from server.domain.rates import Rates
from sync.kernel.changeset import Operation
from sync.modules.commerce import (
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    FailDelivery,
    PickLine,
    ReturnDelivery,
    StartDelivery,
    StartPick,
)
from tests.server.api.test_rates import VISITOR, coming_from
from tests.support.api_world import api_world
from tests.support.customer import Customer
from tests.support.staff_world import PRODUCT, StaffWorld

ORDER_ID = "SELECT id::text FROM orders WHERE number LIKE 'W-%'"


@pytest.fixture
def customer(staff: StaffWorld) -> Customer:
    return Customer(staff=staff, town=staff.here)


async def version(staff: StaffWorld) -> int:
    ((found,),) = await staff.stored("SELECT version FROM town_heads", staff.here)
    return int(found)


async def test_an_order_that_nobody_picks_is_called_off_and_its_goods_are_free(
    staff: StaffWorld, customer: Customer
) -> None:
    placed = await customer.order(payment_method="momo")
    before = await staff.stored("SELECT reserved FROM stock_levels", staff.here)

    answer = await customer.call_off(placed["tracking_code"])

    said = answer.json()
    assert (answer.status_code, said["status"], said["payment"]["state"]) == (200, "CANCELLED", "none_due")
    assert said == (await customer.get(f"orders/track/{placed['tracking_code']}")).json()
    after = await staff.stored("SELECT reserved FROM stock_levels", staff.here)
    assert (before, after) == ([(3,)], [(1,)])  # one is of another order
    ((actor, note),) = await staff.stored(
        "SELECT actor_id::text, note FROM order_status_events WHERE to_status = 'CANCELLED'", staff.here
    )
    assert (actor, note) == (server_device_id(staff.here.id), "called off by the customer")


async def test_called_off_again_or_twice_at_once_it_is_answered_and_done_once(
    staff: StaffWorld, customer: Customer
) -> None:
    code = (await customer.order())["tracking_code"]

    answers = await asyncio.gather(*(customer.call_off(code) for _ in range(3)))
    before = await version(staff)
    again = await customer.call_off(code)

    assert {(answer.status_code, answer.json()["status"]) for answer in (*answers, again)} == {(200, "CANCELLED")}
    assert await version(staff) == before
    assert await staff.stored("SELECT count(*) FROM order_status_events WHERE to_status = 'CANCELLED'", staff.here) == [
        (1,)
    ]


@dataclass
class Late:
    """An order that has come so far, one step after the other."""

    staff: StaffWorld
    order: str
    dispatch: str

    async def come(self, *steps: Callable[[Late], Operation]) -> None:
        town = self.staff.here.id
        for step in steps:
            await self.staff.world.parts.appliers.author(town, server_device_id(town), [step(self)])


def assigned(late: Late) -> Operation:
    return AssignDispatch(id=late.dispatch, order=late.order, driver=late.staff.here.users["driver"])


def picking(late: Late) -> Operation:
    return StartPick(order=late.order)


def picked(late: Late) -> Operation:
    return PickLine(order=late.order, product=PRODUCT, quantity=2)


def left(late: Late) -> Operation:
    return StartDelivery(dispatch=late.dispatch)


def recalled(late: Late) -> Operation:
    return CancelOrder(order=late.order, reason="the office")


def delivered(late: Late) -> Operation:
    return CompleteDelivery(dispatch=late.dispatch, received_by="Grace")


def failed(late: Late) -> Operation:
    return FailDelivery(dispatch=late.dispatch)


def returned(late: Late) -> Operation:
    return ReturnDelivery(order=late.order)


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([picking], "orders.already_picked"),
        ([picked], "orders.already_picked"),
        ([assigned, left], "orders.already_picked"),
        ([assigned, left, recalled], "orders.already_picked"),
        ([assigned, left, delivered], "orders.already_delivered"),
        ([assigned, left, failed, returned], "orders.already_returned"),
    ],
)
async def test_what_has_begun_is_not_called_off_and_nothing_is_written(
    staff: StaffWorld, customer: Customer, steps: list[Callable[[Late], Operation]], code: str
) -> None:
    tracking = (await customer.order())["tracking_code"]
    ((order_id,),) = await staff.stored(ORDER_ID, staff.here)
    await Late(staff, order_id, staff.world.new_id()).come(*steps)
    before = await version(staff)

    answer = await customer.call_off(tracking)

    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert await version(staff) == before
    assert "Quayle" not in answer.text


async def test_a_driver_who_was_assigned_does_not_keep_a_customer_from_calling_off(
    staff: StaffWorld, customer: Customer
) -> None:
    code = (await customer.order())["tracking_code"]
    ((order_id,),) = await staff.stored(ORDER_ID, staff.here)
    await Late(staff, order_id, staff.world.new_id()).come(assigned)

    assert (await customer.call_off(code)).status_code == 200
    assert await staff.stored("SELECT state FROM dispatches", staff.here) == [("WITHDRAWN",)]


async def test_a_picker_who_is_faster_is_seen_by_the_rule(
    staff: StaffWorld, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (await customer.order())["tracking_code"]
    ((order_id,),) = await staff.stored(ORDER_ID, staff.here)
    appliers, late = staff.world.parts.appliers, Late(staff, order_id, staff.world.new_id())
    author = appliers.author

    async def after_the_picker(*asked: Any, **named: Any) -> bytes:
        monkeypatch.setattr(appliers, "author", author)
        await late.come(picking)
        return await author(*asked, **named)

    monkeypatch.setattr(appliers, "author", after_the_picker)
    answer = await customer.call_off(code)

    assert (answer.status_code, answer.json()["code"]) == (409, "orders.already_picked")


async def test_a_code_of_another_town_or_none_calls_nothing_off(staff: StaffWorld, customer: Customer) -> None:
    code = (await customer.order())["tracking_code"]
    abroad = Customer(staff=staff, town=staff.there)

    answers = [await abroad.call_off(code), await customer.call_off("A" * 43), await customer.call_off("x")]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}
    assert await staff.stored("SELECT commercial FROM orders WHERE number LIKE 'W-%'", staff.here) == [("active",)]


def at_the_till(**per_minute: int) -> RateLimits:
    """Limits for which no time passes, of the till alone."""
    others = {"device_per_minute": 0, "address_per_minute": 0, "town_per_minute": 0}
    own = {"checkout_address_per_minute": 0, "checkout_town_per_minute": 0}
    return RateLimits(Rates(**others | own | per_minute), monotonic=lambda: 1.0)


@pytest.mark.parametrize("path", ["checkout", "orders/track/{code}/cancel"])
async def test_an_address_is_counted_at_the_till_of_each_town_and_nowhere_else(
    migrated_database: str, path: str
) -> None:
    async with api_world(migrated_database, rates=at_the_till(checkout_address_per_minute=2)) as world:
        here = f"/v1/towns/{world.town_id}"
        there = f"/v1/towns/{world.new_id()}"
        address = path.format(code="A" * 43)
        async with coming_from(world, VISITOR) as client:
            taken = [(await client.post(f"{here}/{address}", content=orjson.dumps({}))).status_code for _ in range(2)]
            refused = await client.post(f"{here}/{address}", content=orjson.dumps({}))
            elsewhere = await client.post(f"{there}/{address}", content=orjson.dumps({}))
            looking = await client.get(f"{here}/catalogue")

    assert 429 not in taken
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "rate_limited", "30")
    assert (elsewhere.status_code == 429, looking.status_code) == (False, 200)


async def test_the_customers_of_a_town_share_its_till_wherever_they_are(migrated_database: str) -> None:
    async with api_world(migrated_database, rates=at_the_till(checkout_town_per_minute=2)) as world:
        path = f"/v1/towns/{world.town_id}/orders/track/{'A' * 43}/cancel"
        answers = []
        for address in (VISITOR, "198.51.100.8", "127.0.0.1"):
            async with coming_from(world, address) as client:
                answers.append((await client.post(path)).status_code)

    assert answers == [404, 404, 429]
