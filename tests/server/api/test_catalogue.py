"""What anybody may see of the towns: which ones sell, what, and how much of it is there."""

from __future__ import annotations

from typing import Any

import pytest

from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import OpenWarehouse, ReceiveStock
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.customer import Customer
from tests.support.staff_world import PRODUCT, StaffWorld

WARES = {"B-1": ("Brush", "3.00", 0), "C-2": ("Candle 100%", "0.99", 7), "D_3": ("Candle stick", "12.00", 2)}
PAGES_MAX = 50
NAMES = ["Apples", "Brush", "Candle 100%", "Candle stick"]


@pytest.fixture
def customer(staff: StaffWorld) -> Customer:
    return Customer(staff=staff, town=staff.here)


async def furnish(staff: StaffWorld) -> str:
    """More products, with stock in a second warehouse, whose id comes back."""
    new_id, south = staff.world.new_id, staff.world.new_id()
    await staff.author(staff.here, OpenWarehouse(id=south, name="South"))
    for sku, (name, price, count) in WARES.items():
        await staff.author(
            staff.here,
            DefineProduct(id=new_id(), sku=sku, name=name),
            OfferProduct(id=new_id(), product=product_id(sku), price=price),
        )
        if count:
            await staff.author(
                staff.here, ReceiveStock(id=new_id(), warehouse=south, product=product_id(sku), quantity=count)
            )
    return south


async def names(customer: Customer, query: str = "") -> list[str]:
    answer = await customer.get(f"catalogue?{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def walked(customer: Customer, path: str, limit: int = 1) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    found: list[dict[str, Any]] = []
    mark = "&" if "?" in path else "?"
    cursor = ""
    for _ in range(PAGES_MAX):
        page = (await customer.get(f"{path}{mark}limit={limit}{cursor}")).json()
        assert len(page["items"]) <= limit
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError("the pages have no end")


async def test_a_product_has_its_price_and_what_one_warehouse_can_send(staff: StaffWorld, customer: Customer) -> None:
    south = await furnish(staff)
    await staff.author(
        staff.here, ReceiveStock(id=staff.world.new_id(), warehouse=south, product=PRODUCT, quantity=120)
    )

    said = (await customer.get("catalogue?sku=APPLE")).json()

    assert said["town"] == {"id": staff.here.id, "name": "Here", "currency": "GBP"}
    assert said["items"] == [
        {
            "product": PRODUCT,
            "sku": "APPLE",
            "name": "Apples",
            "unit": "piece",
            "price": "2.50",
            "currency": "GBP",
            "available": 120,  # 99 are in the other one, one of whose hundred is promised
        }
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", NAMES),
        ("order=-name", NAMES[::-1]),
        ("order=sku", NAMES),
        ("order=price", ["Candle 100%", "Apples", "Brush", "Candle stick"]),
        ("q=CANDLE", NAMES[2:]),
        ("q=100%25", ["Candle 100%"]),
        ("q=_", ["Candle stick"]),  # in its stock-keeping unit; no wildcard
        ("q=d_3", ["Candle stick"]),
        ("q=nothing", []),
        ("sku=B-1", ["Brush"]),
        ("sku=b-1", []),
        ("available=true", ["Apples", "Candle 100%", "Candle stick"]),
        ("available=false", ["Brush"]),
        ("available=true&q=c&order=-price", ["Candle stick", "Candle 100%"]),
    ],
)
async def test_the_catalogue_is_searched_filtered_and_ordered(
    staff: StaffWorld, customer: Customer, query: str, found: list[str]
) -> None:
    await furnish(staff)

    there = await names(customer, query)

    assert there == found


@pytest.mark.parametrize(
    ("query", "count"),
    [
        *((f"order={way}{name}", 4) for name in ("name", "sku", "price") for way in ("", "-")),
        ("q=CANDLE", 2),
        ("q=c&available=true&order=-price", 2),
    ],
)
async def test_pages_put_together_are_the_catalogue(
    staff: StaffWorld, customer: Customer, query: str, count: int
) -> None:
    await furnish(staff)

    whole = (await customer.get(f"catalogue?{query}")).json()["items"]

    assert await walked(customer, f"catalogue?{query}") == whole
    assert len({item["product"] for item in whole}) == count


async def test_what_is_taken_off_the_list_is_not_shown(staff: StaffWorld, customer: Customer) -> None:
    await furnish(staff)
    off = OfferProduct(id=staff.world.new_id(), product=product_id("B-1"), price="3.00", is_enabled=False)
    await staff.author(staff.here, off)

    assert await names(customer) == [name for name in NAMES if name != "Brush"]


@pytest.mark.parametrize(
    "query",
    [
        "price=1",
        "order=available",
        "limit=0",
        "limit=201",
        "limit=1&limit=2",
        "available=yes",
        "cursor=x",
        "q=%00",
        f"q={'a' * 501}",
    ],
)
async def test_a_query_that_the_catalogue_does_not_know_is_a_problem(customer: Customer, query: str) -> None:
    answer = await customer.get(f"catalogue?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


async def test_a_cursor_is_good_in_its_own_order_only(staff: StaffWorld, customer: Customer) -> None:
    await furnish(staff)
    cursor = (await customer.get("catalogue?limit=1")).json()["next_cursor"]

    answer = await customer.get(f"catalogue?order=price&cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("path", ["catalogue", "/v1/towns"])
async def test_what_has_not_changed_is_not_sent_again(customer: Customer, path: str) -> None:
    first = await customer.get(path)

    again = await customer.get(path, If_None_Match=first.headers["etag"])

    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == again.headers["cache-control"] == "public, no-cache"


async def test_the_etag_is_another_once_something_is_sold(customer: Customer) -> None:
    first = await customer.get("catalogue")
    await customer.order()

    again = await customer.get("catalogue", If_None_Match=first.headers["etag"])

    assert (again.status_code, again.json()["items"][0]["available"]) == (200, 97)


async def test_the_towns_that_sell_are_listed_without_an_account(staff: StaffWorld, customer: Customer) -> None:
    closed = ChangeSettings(id=staff.world.new_id(), settings=TownSettings(sells_online=False))
    await staff.author(staff.there, closed)

    towns = {town["id"]: town for town in await walked(customer, "/v1/towns", limit=7)}

    assert towns[staff.here.id] == {"id": staff.here.id, "name": "Here", "currency": "GBP"}
    assert staff.there.id not in towns


async def test_a_town_that_opens_again_sells_again(staff: StaffWorld, customer: Customer) -> None:
    for sells in (False, True):
        settings = TownSettings(sells_online=sells)
        await staff.author(staff.here, ChangeSettings(id=staff.world.new_id(), settings=settings))

    assert (await customer.get("catalogue")).status_code == 200


@pytest.mark.parametrize("town", ["01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11", "douglas"])
async def test_a_town_that_is_not_there_has_no_catalogue(customer: Customer, town: str) -> None:
    answer = await customer.get(f"/v1/towns/{town}/catalogue")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
