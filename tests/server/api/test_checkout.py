"""What a customer orders without an account: at the town's price, of what is there, once for each key, and tracked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.application.commands import check_out as check_outs
from server.domain.devices import server_device_id
from sync.kernel.changeset import Operation
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import (
    AssignDispatch,
    CancelOrder,
    CompleteDelivery,
    OpenWarehouse,
    ReceiveStock,
    StartDelivery,
)
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.customer import Customer
from tests.support.staff_world import PRODUCT, StaffWorld

PEAR = product_id("PEAR")


@pytest.fixture
def customer(staff: StaffWorld) -> Customer:
    return Customer(staff=staff, town=staff.here)


async def stored_orders(staff: StaffWorld) -> list[tuple[Any, ...]]:
    return await staff.stored("SELECT count(*) FROM orders WHERE number LIKE 'W-%'", staff.here)


async def add_pears(staff: StaffWorld, count: int) -> str:
    """A second product in a second warehouse, whose id comes back."""
    new_id, south = staff.world.new_id, staff.world.new_id()
    await staff.author(
        staff.here,
        OpenWarehouse(id=south, name="South"),
        DefineProduct(id=new_id(), sku="PEAR", name="Pears"),
        OfferProduct(id=new_id(), product=PEAR, price="1.05"),
    )
    await staff.author(staff.here, ReceiveStock(id=new_id(), warehouse=south, product=PEAR, quantity=count))
    return south


async def test_an_order_is_placed_reserved_and_priced_by_the_town(staff: StaffWorld, customer: Customer) -> None:
    answer = await customer.check_out(customer.wish(3))

    assert answer.status_code == 201
    order = answer.json()["order"]
    assert (order["status"], order["total"], order["currency"]) == ("PLACED", "7.50", "GBP")
    assert order["payment"] == {"method": "cod", "state": "due_on_delivery", "due": "7.50", "paid": "0.00"}
    assert await staff.stored("SELECT reserved FROM stock_levels", staff.here) == [(4,)]  # one was before
    ((name, phone, actor, device),) = await staff.stored(
        "SELECT customer_name, phone, e.actor_id::text, e.device_id::text FROM orders AS o "
        "JOIN order_status_events AS e ON e.order_id = o.id WHERE number LIKE 'W-%'",
        staff.here,
    )
    town_itself = server_device_id(staff.here.id)
    assert (name, phone, actor, device) == ("Grace Quayle", customer.phone, town_itself, town_itself)


async def test_mobile_money_is_pending_and_nothing_confirms_it(staff: StaffWorld, customer: Customer) -> None:
    order = (await customer.order(payment_method="momo"))["order"]

    assert order["payment"] == {"method": "momo", "state": "pending", "due": "5.00", "paid": "0.00"}
    assert await staff.stored("SELECT count(*) FROM payments", staff.here) == [(0,)]


async def test_a_driver_collects_nothing_for_mobile_money(staff: StaffWorld, customer: Customer) -> None:
    await customer.order(payment_method="momo")
    ((order_id,),) = await staff.stored("SELECT id::text FROM orders WHERE number LIKE 'W-%'", staff.here)
    assign = AssignDispatch(id=staff.world.new_id(), order=order_id, driver=staff.here.users["driver"])

    await staff.author(staff.here, assign)

    assert await staff.stored("SELECT cod_due_minor FROM dispatches", staff.here) == [(0,)]


async def test_a_price_from_the_customer_is_not_taken(staff: StaffWorld, customer: Customer) -> None:
    lines = [{"product": PRODUCT, "quantity": 1, "price": "0.01"}]

    answer = await customer.check_out(customer.wish(lines=lines))

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert await stored_orders(staff) == [(0,)]


async def test_what_is_not_there_is_refused_with_what_is_and_nothing_is_written(
    staff: StaffWorld, customer: Customer
) -> None:
    before = await staff.stored("SELECT version FROM town_heads", staff.here)

    answer = await customer.check_out(customer.wish(100))

    said = answer.json()
    assert (answer.status_code, said["code"]) == (409, "stock.insufficient")
    assert said["data"]["lines"] == [{"product": PRODUCT, "name": "Apples", "wanted": 100, "available": 99}]
    assert said["detail"] == "Only 99 of Apples are available, 100 were asked for."
    assert await staff.stored("SELECT version FROM town_heads", staff.here) == before


async def test_what_is_refused_can_be_ordered_as_the_refusal_says(staff: StaffWorld, customer: Customer) -> None:
    await add_pears(staff, 5)
    lines = [{"product": PRODUCT, "quantity": 1}, {"product": PEAR, "quantity": 2}]

    refused = (await customer.check_out(customer.wish(lines=lines))).json()["data"]["lines"]
    there = [{"product": one["product"], "quantity": min(one["wanted"], one["available"])} for one in refused]
    answer = await customer.check_out(customer.wish(lines=[line for line in there if line["quantity"]]))

    assert [one["available"] for one in refused] == [0, 5]  # no warehouse has both, South can send more
    assert answer.status_code == 201


async def test_an_order_is_sent_from_the_warehouse_that_has_everything(staff: StaffWorld, customer: Customer) -> None:
    south = await add_pears(staff, 5)

    await customer.order(lines=[{"product": PEAR, "quantity": 5}])

    found = await staff.stored("SELECT warehouse_id::text FROM orders WHERE number LIKE 'W-%'", staff.here)
    assert found == [(south,)]


async def test_two_at_once_for_the_last_pieces_are_one_order(staff: StaffWorld, customer: Customer) -> None:
    other = Customer(staff=staff, town=staff.here, phone="+44 1624 999999")

    answers = await asyncio.gather(*(one.check_out(one.wish(60)) for one in (customer, other)))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    refused = next(answer.json() for answer in answers if answer.status_code == 409)
    assert (refused["code"], refused["data"]["available"]) == ("stock.insufficient", 39)


async def test_the_rule_refuses_what_the_look_before_let_through(
    staff: StaffWorld, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_outs, "_best_warehouse", lambda *_rest: (staff.here.warehouse, {PRODUCT: 1000}))

    answer = await customer.check_out(customer.wish(1000))

    assert (answer.status_code, answer.json()["code"]) == (409, "stock.insufficient")
    assert answer.json()["data"]["available"] == 99


@pytest.mark.parametrize("is_offered", [True, False])
async def test_what_is_not_on_sale_cannot_be_ordered(
    staff: StaffWorld, customer: Customer, *, is_offered: bool
) -> None:
    offers = [OfferProduct(id=staff.world.new_id(), product=PRODUCT, price="2.50", is_enabled=False)]
    await staff.author(staff.here, *offers)
    lines = [{"product": PRODUCT if is_offered else PEAR, "quantity": 1}]

    answer = await customer.check_out(customer.wish(lines=lines))

    assert (answer.status_code, answer.json()["code"]) == (409, "not_on_sale")


async def test_the_same_request_is_one_order_and_gets_the_first_answer(staff: StaffWorld, customer: Customer) -> None:
    first = await customer.check_out(customer.wish(99), key="k")
    again = await customer.check_out(customer.wish(99), key="k")  # nothing is left by now

    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert first.headers["location"] == again.headers["location"]
    assert await stored_orders(staff) == [(1,)]


async def test_a_key_is_one_order_only_and_two_customers_never_share_one(staff: StaffWorld, customer: Customer) -> None:
    other = Customer(staff=staff, town=staff.here, phone="+44 1624 999999")
    await customer.check_out(key="1")

    changed = await customer.check_out(customer.wish(1), key="1")
    foreign = await other.check_out(key="1")

    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_mismatch")
    assert foreign.status_code == 201
    assert await stored_orders(staff) == [(2,)]


@pytest.mark.parametrize(("key", "code"), [("", "idempotency_key_needed"), ("a b", "invalid_idempotency_key")])
async def test_an_order_needs_a_key(customer: Customer, key: str, code: str) -> None:
    answer = await customer.check_out(key=key)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_name": " "},
        {"customer_name": "a" * 201},
        {"phone": "call me"},
        {"phone": "1"},
        {"address": ""},
        {"address": "a" * 501},
        {"lines": []},
        {"lines": [{"product": PRODUCT, "quantity": 0}]},
        {"lines": [{"product": PRODUCT, "quantity": 10_001}]},
        {"lines": [{"product": PRODUCT, "quantity": 1}] * 2},
        {"lines": [{"product": product_id(str(n)), "quantity": 1} for n in range(101)]},
        {"lines": [{"product": "85123A", "quantity": 1}]},
        {"payment_method": "account"},
        {"payment_method": "cheque"},
        {"number": "W-1"},
        {"warehouse": PRODUCT},
        {"total": "0.01"},
        {"id": PRODUCT},
    ],
)
async def test_what_is_not_of_its_form_is_malformed(customer: Customer, changes: dict[str, Any]) -> None:
    answer = await customer.check_out(customer.wish(**changes))

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_a_town_that_does_not_sell_has_no_till_and_its_orders_can_still_be_tracked(
    staff: StaffWorld, customer: Customer
) -> None:
    code = (await customer.order())["tracking_code"]
    closing = ChangeSettings(id=staff.world.new_id(), settings=TownSettings(sells_online=False))
    await staff.author(staff.here, closing)

    answers = [await customer.check_out(), await customer.get("catalogue")]
    tracked = await customer.get(f"orders/track/{code}")

    assert [(one.status_code, one.json()["code"]) for one in answers] == [(404, "not_found")] * 2
    assert tracked.status_code == 200


async def test_an_order_is_tracked_by_its_code_step_by_step_and_names_nobody(
    staff: StaffWorld, customer: Customer
) -> None:
    placed = await customer.order()
    path = f"orders/track/{placed['tracking_code']}"
    dispatch, new_id = staff.world.new_id(), staff.world.new_id
    ((order_id,),) = await staff.stored("SELECT id::text FROM orders WHERE number LIKE 'W-%'", staff.here)
    steps: list[Operation] = [
        AssignDispatch(id=dispatch, order=order_id, driver=staff.here.users["driver"]),
        StartDelivery(id=new_id(), dispatch=dispatch),  # nobody has told of picking and packing
        CompleteDelivery(id=new_id(), dispatch=dispatch, received_by="Mrs Quayle"),
    ]
    for step in steps:
        staff.world.system.advance(1)
        await staff.world.parts.appliers.author(staff.here.id, server_device_id(staff.here.id), [step])

    answer = await customer.get(path)

    said = answer.json()
    way = ["PLACED", "PICKING", "PACKED", "READY_FOR_DISPATCH", "OUT_FOR_DELIVERY", "DELIVERED"]
    assert ([step["status"] for step in said["steps"]], said["status"]) == (way, "DELIVERED")
    assert said["steps"][-1]["at"] > said["steps"][0]["at"] == said["placed_at"]
    assert not any(
        word in answer.text for word in ("Quayle", "1624", "High Street", order_id, *staff.here.users.values())
    )


async def test_a_cancelled_order_owes_nothing(staff: StaffWorld, customer: Customer) -> None:
    code = (await customer.order(payment_method="momo"))["tracking_code"]
    ((order_id,),) = await staff.stored("SELECT id::text FROM orders WHERE number LIKE 'W-%'", staff.here)
    cancelling = CancelOrder(id=staff.world.new_id(), order=order_id, reason="she called")
    await staff.world.parts.appliers.author(staff.here.id, server_device_id(staff.here.id), [cancelling])

    said = (await customer.get(f"orders/track/{code}")).json()

    assert (said["status"], said["payment"]["state"], said["payment"]["due"]) == ("CANCELLED", "none_due", "0.00")
    assert [step["status"] for step in said["steps"]] == ["PLACED", "CANCELLED"]


async def test_tracking_has_an_etag(customer: Customer) -> None:
    path = f"orders/track/{(await customer.order())['tracking_code']}"
    first = await customer.get(path)

    again = await customer.get(path, If_None_Match=first.headers["etag"])

    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"].startswith("private")


async def test_a_code_that_is_none_here_is_as_one_that_never_was(staff: StaffWorld, customer: Customer) -> None:
    code = (await customer.order())["tracking_code"]
    abroad = Customer(staff=staff, town=staff.there)
    changed = code[:-2] + ("A" if code[-2] != "A" else "B") + code[-1]

    answers = [
        await abroad.get(f"orders/track/{code}"),
        *[await customer.get(f"orders/track/{one}") for one in (changed, "A" * 43, code + "A", code[:42], "é")],
        await customer.get(f"/v1/towns/01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11/orders/track/{code}"),
        await customer.get(f"/v1/towns/douglas/orders/track/{code}"),
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
