"""What the office books and administers over HTTP: stock, products and prices, settings; and who drives what."""

from __future__ import annotations

from typing import Any

import pytest

from server.domain.devices import server_device_id
from sync.kernel.changeset import Operation
from sync.modules.catalogue import product_id
from sync.modules.commerce import AssignDispatch, CompleteDelivery, CompletePack, OpenWarehouse, StartDelivery
from tests.support.customer import Customer
from tests.support.staff_world import PRODUCT, Browser, StaffWorld

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"
ADMIN, STOCK = {"admin"}, {"admin", "warehouse_staff"}
WRITES = {
    ("POST", "stock/receive"): STOCK,
    ("POST", "stock/adjust"): STOCK,
    ("POST", "stock/transfer"): STOCK,
    ("POST", "products"): ADMIN,
    ("PUT", f"products/{PRODUCT}/offer"): ADMIN,
    ("PUT", "settings"): ADMIN,
}
READS = {"settings": {"admin", "dispatcher", "warehouse_staff"}, "drivers": {"admin", "dispatcher"}}


async def south(staff: StaffWorld) -> str:
    """A second warehouse."""
    warehouse = staff.world.new_id()
    await staff.author(staff.here, OpenWarehouse(id=warehouse, name="South"))
    return warehouse


async def documents(staff: StaffWorld) -> dict[str, dict[str, Any]]:
    """A good document for each write, by the end of its path."""
    here = {"warehouse": staff.here.warehouse, "product": PRODUCT}
    return {
        "receive": {**here, "quantity": 5},
        "adjust": {**here, "delta": -3, "reason": "broken"},
        "transfer": {"source": here["warehouse"], "target": await south(staff), "product": PRODUCT, "quantity": 4},
        "products": {"sku": "PEAR", "name": "Pears"},
        "offer": {"price": "3.00"},
        "settings": {"payment_units_max": 100},
    }


async def report(staff: StaffWorld, operation: Operation) -> None:
    """Something has happened, whatever steps before it nobody has reported."""
    await staff.world.parts.appliers.author(staff.here.id, server_device_id(staff.here.id), [operation])


async def levels(browser: Browser) -> list[int]:
    """What is on hand in each warehouse, most first."""
    answer = await browser.get(f"stock-levels?product={PRODUCT}&order=-on_hand")
    assert answer.status_code == 200, answer.text
    return [row["on_hand"] for row in answer.json()["items"]]


async def test_goods_come_in_break_and_go_to_another_warehouse(staff: StaffWorld) -> None:
    browser, said = await staff.browser("warehouse_staff"), await documents(staff)

    answers = [await browser.post(f"stock/{what}", said[what]) for what in ("receive", "adjust", "transfer")]

    assert [(one.status_code, one.json()["status"]) for one in answers] == [(201, "accepted")] * 3
    assert await levels(browser) == [98, 4]
    moves = (await browser.get("stock-movements?order=received_at")).json()["items"]
    assert sorted(move["on_hand_delta"] for move in moves if move["on_hand_delta"]) == [-4, -3, 4, 5, 100]


async def test_a_receipt_is_booked_once_for_each_key(staff: StaffWorld) -> None:
    browser, said = await staff.browser("warehouse_staff"), await documents(staff)

    answers = [await browser.post("stock/receive", said["receive"], Idempotency_Key="k") for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert await levels(browser) == [105]


@pytest.mark.parametrize("field", ["warehouse", "product"])
async def test_what_points_nowhere_is_a_slip_in_the_office_and_leaves_nothing(staff: StaffWorld, field: str) -> None:
    browser, said = await staff.browser(), (await documents(staff))["receive"]
    before = await staff.stored("SELECT version FROM town_heads", staff.here)

    answer = await browser.post("stock/receive", said | {field: UNKNOWN})

    assert (answer.status_code, answer.json()["code"]) == (409, "engine.unknown_reference")
    assert answer.json()["data"] == {"entity": field}
    assert await staff.stored("SELECT version FROM town_heads", staff.here) == before
    assert await staff.stored("SELECT count(*) FROM conflicts", staff.here) == [(0,)]


async def test_a_shelf_below_zero_is_booked_with_a_conflict(staff: StaffWorld) -> None:
    browser, said = await staff.browser(), (await documents(staff))["adjust"]

    answer = await browser.post("stock/adjust", said | {"delta": -101})

    assert (answer.status_code, answer.json()["status"]) == (201, "adjusted")
    assert answer.json()["notes"][0]["code"] == "stock.below_zero"
    (conflict,) = answer.json()["conflicts"]
    assert (await browser.get(f"conflicts/{conflict}")).json()["kind"] == "stock_negative"


async def test_a_product_is_defined_priced_sold_and_taken_off_the_list(staff: StaffWorld) -> None:
    browser, customer = await staff.browser(), Customer(staff=staff, town=staff.here)
    catalogue = "catalogue?sku=PEAR"

    defined = await browser.post("products", {"sku": "PEAR", "name": "Pears"})
    path = f"products/{product_id('PEAR')}"
    before = (await customer.get(catalogue)).json()["items"]
    offered = await browser.call("PUT", f"{path}/offer", {"price": "1.05"})
    sold = (await customer.get(catalogue)).json()["items"]
    await browser.call("PUT", f"{path}/offer", {"price": "1.05", "is_enabled": False})

    assert (defined.status_code, defined.json()["id"]) == (201, product_id("PEAR"))
    assert defined.headers["location"] == f"/v1/towns/{staff.here.id}/{path}"
    assert (await browser.get(path)).json()["name"] == "Pears"
    assert (before, offered.status_code, sold[0]["price"]) == ([], 200, "1.05")
    assert (await customer.get(catalogue)).json()["items"] == []
    entry = (await browser.get(f"town-products?product={product_id('PEAR')}")).json()["items"][0]
    assert (entry["price_minor"], entry["is_enabled"]) == (105, False)


async def test_a_product_is_defined_once(staff: StaffWorld) -> None:
    answer = await (await staff.browser()).post("products", {"sku": "APPLE", "name": "Other apples"})

    assert (answer.status_code, answer.json()["code"]) == (409, "engine.id_taken")


async def test_what_is_not_there_has_no_price(staff: StaffWorld) -> None:
    answer = await (await staff.browser()).call("PUT", f"products/{UNKNOWN}/offer", {"price": "1.00"})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_settings_are_read_and_changed_as_a_whole(staff: StaffWorld) -> None:
    browser = await staff.browser()

    changed = await browser.call("PUT", "settings", {"payment_units_max": 100, "sells_online": False})
    closed = (await browser.get("settings")).json()
    await browser.call("PUT", "settings", {"sells_online": True})
    said = (await browser.get("settings")).json()

    assert (changed.status_code, closed["settings"]["payment_units_max"]) == (200, 100)
    assert closed["settings"]["sells_online"] is False
    assert (said["name"], said["settings"]["sells_online"]) == ("Here", True)
    assert said["settings"]["payment_units_max"] > 100  # as usual again


async def test_a_driver_is_shown_with_the_jobs_that_are_open(staff: StaffWorld) -> None:
    new_id, driver = staff.world.new_id, staff.here.users["driver"]
    orders = [staff.here.order, await staff.place(staff.here, "A-2"), await staff.place(staff.here, "A-3")]
    jobs = [new_id() for _ in orders]
    for job, order in zip(jobs, orders, strict=True):
        await staff.author(staff.here, AssignDispatch(id=job, order=order, driver=driver))
    for place in range(2):
        await report(staff, CompletePack(id=new_id(), order=orders[place]))
        await report(staff, StartDelivery(id=new_id(), dispatch=jobs[place]))
    await report(staff, CompleteDelivery(id=new_id(), dispatch=jobs[0]))
    browser = await staff.browser("dispatcher")

    (shown,) = (await browser.get("drivers")).json()["items"]

    assert (shown["name"], shown["id"]) == ("Driver", driver)
    states = {job["id"]: (job["state"], job["order_id"]) for job in shown["open_jobs"]}
    assert states == {jobs[1]: ("OUT_FOR_DELIVERY", orders[1]), jobs[2]: ("ASSIGNED", orders[2])}
    one = await browser.get(f"drivers/{driver}")
    assert one.json() == shown
    assert (await browser.get(f"drivers/{driver}", If_None_Match=one.headers["etag"])).status_code == 304


async def test_who_does_not_drive_is_no_driver(staff: StaffWorld) -> None:
    browser = await staff.browser()

    answers = [await browser.get(f"drivers/{staff.here.users['admin']}"), await browser.get("drivers?role=admin")]

    assert [answer.status_code for answer in answers] == [404, 400]


async def test_a_fulfilment_is_listed_and_found_by_its_order(staff: StaffWorld) -> None:
    await report(staff, CompletePack(id=staff.world.new_id(), order=staff.here.order, parcels=2))
    browser = await staff.browser("warehouse_staff")

    (listed,) = (await browser.get(f"fulfilments?order_id={staff.here.order}&state=PACKED")).json()["items"]

    assert (listed["order_id"], listed["parcels"]) == (staff.here.order, 2)
    assert (await browser.get(f"fulfilments/{listed['id']}")).json() == listed


@pytest.mark.parametrize("role", ["admin", "dispatcher", "warehouse_staff", "driver"])
async def test_who_may_do_what_is_asked_at_the_door(staff: StaffWorld, role: str) -> None:
    browser, said = await staff.browser(role), await documents(staff)
    before = await staff.stored("SELECT version FROM town_heads", staff.here)

    for (method, path), roles in WRITES.items():
        if role not in roles:
            answer = await browser.call(method, path, said[path.rpartition("/")[2]])
            assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted"), path
    for path, roles in READS.items():
        assert (await browser.get(path)).status_code == (200 if role in roles else 403), path
    assert await staff.stored("SELECT version FROM town_heads", staff.here) == before
    for (method, path), roles in WRITES.items():
        if role in roles:
            answer = await browser.call(method, path, said[path.rpartition("/")[2]])
            assert answer.status_code in {200, 201}, (path, answer.text)


@pytest.mark.parametrize("role", ["dispatcher", "warehouse_staff", "driver"])
async def test_without_the_door_the_rules_refuse_the_same(
    staff: StaffWorld, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.office.doing.check_permitted", lambda *_arguments: None)
    browser, said = await staff.browser(role), await documents(staff)

    for (method, path), roles in WRITES.items():
        if role not in roles:
            answer = await browser.call(method, path, said[path.rpartition("/")[2]])
            assert answer.json()["code"] == "people.actor_refused", path
