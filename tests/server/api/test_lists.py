"""Lists for the office: pages by cursor, filters and orders that are allowed, ETags, and who reads what."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import orjson
import pytest

from server.application.queries.listings import LISTS
from server.application.queries.paging import PAGE_ROWS, PAGE_ROWS_MAX
from sync.modules import registry
from sync.modules.commerce import AdjustStock, CancelOrder
from sync.modules.identity import AddUser, SuspendDevice
from tests.support.staff_world import PRODUCT, ROLES, Browser, StaffWorld

COUNTERS = {"admin", "dispatcher", "counter_clerk"}
READERS = {
    "users": {"admin", "dispatcher"},
    "devices": {"admin"},
    "warehouses": {"admin", "dispatcher", "warehouse_staff"},
    "products": {"admin", "dispatcher", "warehouse_staff"},
    "town-products": {"admin", "dispatcher", "warehouse_staff"},
    "fulfilments": {"admin", "dispatcher", "warehouse_staff"},
    "orders": {"admin", "dispatcher", "warehouse_staff"},
    "dispatches": {"admin", "dispatcher"},
    "stock-levels": {"admin", "dispatcher", "warehouse_staff"},
    "stock-movements": {"admin", "dispatcher", "warehouse_staff"},
    "stubs": {"admin", "dispatcher"},
    "conflicts": {"admin", "dispatcher"},
    "tasks": {"admin", "dispatcher", "warehouse_staff"},
    "parties": COUNTERS,
    "payments": COUNTERS,
    "settlements": COUNTERS,
    "credits": COUNTERS,
    "refunds": COUNTERS,
    "drawer-sessions": COUNTERS,
    "pay-outs": {"admin", "dispatcher"},
    "invoices": COUNTERS | {"school_office"},
    "schools": COUNTERS | {"school_office"},
    "students": COUNTERS | {"school_office"},
    "fee-schedules": {"admin", "dispatcher", "school_office"},
}


def items(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def walk(browser: Browser, path: str) -> list[list[dict[str, Any]]]:
    """Every page, in order."""
    pages, cursor = [], ""
    mark = "&" if "?" in path else "?"
    while True:
        answer = await browser.get(path + (f"{mark}cursor={cursor}" if cursor else ""))
        pages.append(items(answer))
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return pages


async def many_orders(staff: StaffWorld, count: int = 7) -> list[str]:
    """The ids of orders of which each two were placed in the same millisecond, oldest first."""
    ids = []
    for number in range(count):
        if number % 2 == 0:
            staff.world.system.advance(1)
        ids.append(await staff.place(staff.here, f"B-{number}"))
    return ids


def cursor(*said: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(said)).rstrip(b"=").decode()


@pytest.mark.parametrize("order", ["placed_at", "-placed_at", "number", "-number", "total_minor", "-total_minor"])
@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9])
async def test_pages_put_together_are_the_list_without_gaps_or_repeats(
    staff: StaffWorld, order: str, limit: int
) -> None:
    await many_orders(staff)
    browser = await staff.browser()

    pages = await walk(browser, f"orders?order={order}&limit={limit}")

    rows = [row for page in pages for row in page]
    field, is_down = order.removeprefix("-"), order.startswith("-")
    assert rows == sorted(rows, key=lambda row: (row[field], row["id"]), reverse=is_down)
    assert len({row["id"] for row in rows}) == len(rows) == 8
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert pages[-1]


async def test_a_list_goes_on_where_it_was_whatever_came_in_meanwhile(staff: StaffWorld) -> None:
    old = await many_orders(staff)
    browser = await staff.browser()
    first = await browser.get("orders?limit=3")
    staff.world.system.advance(1)
    await staff.place(staff.here, "new")

    rest = await browser.get(f"orders?cursor={first.json()['next_cursor']}")

    seen = [row["id"] for row in items(first) + items(rest)]
    assert set(seen) == {*old, staff.here.order}
    assert len(seen) == 8


async def test_a_filter_leaves_what_it_says(staff: StaffWorld) -> None:
    ids = await many_orders(staff)
    await staff.author(staff.here, CancelOrder(id=staff.world.new_id(), order=ids[2], reason="r"))
    await staff.author(staff.here, SuspendDevice(id=staff.world.new_id(), device=staff.here.device, reason="r"))
    browser = await staff.browser()
    times = {row["id"]: row["placed_at"] for row in items(await browser.get("orders"))}

    async def listed(path: str) -> set[str]:
        return {row["id"] for row in items(await browser.get(path))}

    assert await listed("orders?status=CANCELLED") == {ids[2]}
    assert await listed("orders?commercial=active&number=B-3") == {ids[3]}
    assert await listed(f"orders?placed_from={times[ids[4]]}") == set(ids[4:])
    assert await listed(f"orders?placed_from={times[ids[2]]}&placed_before={times[ids[4]]}") == set(ids[2:4])
    assert await listed(f"orders?warehouse={staff.here.device}") == set()
    assert await listed("users?role=driver") == {staff.here.users["driver"]}
    assert await listed("users?is_active=false") == set()
    assert await listed("devices?status=suspended") == {staff.here.device}
    assert len(await listed(f"stock-movements?product={PRODUCT}&reason=reserved")) == 8
    assert len(await listed(f"stock-levels?warehouse={staff.here.warehouse}&product={PRODUCT}")) == 1


async def test_conflicts_and_their_tasks_are_listed_and_read(staff: StaffWorld) -> None:
    adjust = AdjustStock(id=staff.world.new_id(), warehouse=staff.here.warehouse, product=PRODUCT, delta=-1000)
    await staff.world.parts.appliers.author(staff.here.id, staff.here.users["admin"], [adjust])
    browser = await staff.browser()

    (conflict,) = items(await browser.get("conflicts?state=open&kind=stock_negative"))
    (task,) = items(await browser.get(f"tasks?conflict={conflict['id']}"))

    assert (await browser.get(f"conflicts/{conflict['id']}")).json() == conflict | {"task": task}
    assert (await browser.get(f"tasks/{task['id']}")).json() == task
    assert conflict["actor_id"] == staff.here.users["admin"]


@pytest.mark.parametrize(
    "query",
    [
        *("colour=red", "limit=0", "limit=-1", "limit=1.5", "limit=", f"limit={PAGE_ROWS_MAX + 1}", "limit=%D9%A1"),
        *("order=phone", "order=--number", "order=", "order=version", "status=a&status=b", "warehouse=7"),
        *("placed_from=yesterday", "placed_from=9999-99-99T00:00:00.000Z", "number=%00", "number=" + "x" * 501),
        *("driver=NULL", "warehouse=' OR 1=1 --", "cursor=", "cursor=x", "cursor=%FF", "cursor=" + "A" * 5000),
    ],
)
async def test_what_a_list_does_not_know_is_said_and_not_guessed(staff: StaffWorld, query: str) -> None:
    answer = await (await staff.browser()).get(f"orders?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


@pytest.mark.parametrize(
    "said",
    [
        [],
        ["-placed_at", "2026-11-21T08:00:00.000Z"],
        ["number", "A-1", "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"],
        ["-placed_at", "never", "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"],
        ["-placed_at", "2026-11-21T08:00:00.000Z", "x"],
        ["-placed_at", 7, 7],
        ["-placed_at", None, None],
        ["-placed_at", {"a": []}, []],
    ],
)
async def test_a_cursor_that_was_made_up_is_an_invalid_query(staff: StaffWorld, said: list[Any]) -> None:
    answer = await (await staff.browser()).get(f"orders?cursor={cursor(*said)}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


async def test_any_name_can_be_where_a_page_ends(staff: StaffWorld) -> None:
    names = ["a", "\u00a0b", "\u202e", "'; DROP TABLE users; --", "\U0001f600" * 100, "%s"]
    for name in names:
        await staff.author(staff.here, AddUser(id=staff.world.new_id(), name=name, login=name, user_roles=["driver"]))
    browser = await staff.browser()

    pages = await walk(browser, "users?limit=1")

    assert {name.strip() for name in names} <= {page[0]["name"] for page in pages}


async def test_a_page_without_a_limit_has_fifty_rows(staff: StaffWorld) -> None:
    people = [
        AddUser(id=staff.world.new_id(), name=f"N{number}", login="l", user_roles=["driver"])
        for number in range(PAGE_ROWS)
    ]
    await staff.author(staff.here, *people)

    assert len(items(await (await staff.browser()).get("users"))) == PAGE_ROWS


async def test_what_the_client_has_already_is_not_sent_again(staff: StaffWorld) -> None:
    browser = await staff.browser()
    for path in ("orders", f"orders/{staff.here.order}", "users", "/v1/sessions/current"):
        first = await browser.get(path)
        tag = first.headers["etag"]

        same = [await browser.get(path, If_None_Match=text) for text in (tag, f'"x", W/{tag}', "*")]
        other = await browser.get(path, If_None_Match='"x"')

        assert [(one.status_code, one.content, one.headers["etag"]) for one in same] == [(304, b"", tag)] * 3
        assert (other.status_code, other.content) == (200, first.content)
        assert first.headers["cache-control"] == "private, no-cache"


async def test_another_answer_has_another_etag(staff: StaffWorld) -> None:
    browser = await staff.browser()
    before = (await browser.get("orders")).headers["etag"]
    await staff.author(staff.here, CancelOrder(id=staff.world.new_id(), order=staff.here.order, reason="r"))

    after = await browser.get("orders", If_None_Match=before)

    assert (after.status_code, after.headers["etag"] != before) == (200, True)


@pytest.mark.parametrize("role", ROLES)
async def test_who_may_read_which_list(staff: StaffWorld, role: str) -> None:
    browser = await staff.browser(role)

    allowed = {name for name in LISTS if (await browser.get(name)).status_code == 200}
    refused = {(await browser.get(name)).json().get("code") for name in LISTS.keys() - allowed}
    one = await browser.get(f"users/{staff.here.users['driver']}")

    assert allowed == {name for name, roles in READERS.items() if role in roles}
    assert refused <= {"not_permitted"}
    assert one.status_code == (200 if role in READERS["users"] else 403)


async def test_the_warehouse_sees_no_telephone_number_and_no_money(staff: StaffWorld) -> None:
    office, warehouse = await staff.browser("dispatcher"), await staff.browser("warehouse_staff")

    of_office = (await office.get(f"orders/{staff.here.order}")).json()
    of_warehouse = (await warehouse.get(f"orders/{staff.here.order}")).json()

    assert (of_office["phone"], of_warehouse["phone"]) == ("", None)
    assert [row["phone"] for row in items(await warehouse.get("orders"))] == [None]
    assert ("payments" in of_office, "payments" in of_warehouse) == (True, False)


async def test_an_admin_sees_the_addresses_that_people_sign_in_with(staff: StaffWorld) -> None:
    admin, dispatcher = await staff.browser("admin"), await staff.browser("dispatcher")

    emails = {row["email"] for row in items(await admin.get("users"))}

    assert emails == {admin.email, dispatcher.email, None}
    assert "email" not in items(await dispatcher.get("users"))[0]


async def test_a_certificate_is_nowhere_to_be_seen(staff: StaffWorld) -> None:
    browser = await staff.browser()

    answers = [await browser.get("devices"), await browser.get(f"devices/{staff.here.device}")]

    assert not any("certificate" in answer.text for answer in answers)


def test_every_list_names_fields_that_there_are() -> None:
    for listing in LISTS.values():
        fields = registry().entities[listing.entity].fields
        named = {one.field for one in listing.filters.values()} | {order.removeprefix("-") for order in listing.orders}
        assert named | listing.hidden <= fields.keys()
        assert not {"order", "limit", "cursor"} & listing.filters.keys()  # those say something else
    assert READERS.keys() == LISTS.keys()
