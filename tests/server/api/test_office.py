"""What the office does over HTTP: each is one change set of the town with the person as its actor, or a refusal."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.application.commands.apply_change_sets import Appliers
from server.domain.devices import server_device_id
from sync.modules import registry
from sync.modules.billing import TakePayment
from sync.modules.commerce import AssignDispatch, CompleteDelivery, CompletePack, StartDelivery
from sync.modules.identity import DeactivateUser
from tests.support.staff_world import PRODUCT, Browser, StaffWorld

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"


def new_order(staff: StaffWorld, quantity: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "number": "W-1",
        "warehouse": staff.here.warehouse,
        "customer_name": "Grace Quayle",
        "lines": [{"product": PRODUCT, "quantity": quantity}],
    } | changes


async def version(staff: StaffWorld) -> int:
    async with staff.world.parts.towns.reading(staff.here.id) as reader:
        return reader.head.version


async def last_line(staff: StaffWorld) -> tuple[str, str, str]:
    """Who wrote the newest change set, who acts in it, and what it does."""
    ((device, line),) = await staff.stored(
        "SELECT device_id::text, convert_from(line, 'UTF8')::jsonb FROM change_sets ORDER BY version DESC LIMIT 1",
        staff.here,
    )
    return device, line["actor"], line["ops"][0]["op"]


async def test_an_order_is_placed_amended_and_cancelled(staff: StaffWorld) -> None:
    browser = await staff.browser("dispatcher")

    placed = await browser.post("orders", new_order(staff))
    path = f"orders/{placed.json()['id']}"
    amended = await browser.call("PUT", f"{path}/lines", {"lines": [{"product": PRODUCT, "quantity": 5}]})
    order = (await browser.get(path)).json()
    cancelled = await browser.post(f"{path}/cancel", {"reason": "changed her mind"})

    assert [one.status_code for one in (placed, amended, cancelled)] == [201, 200, 200]
    assert placed.headers["location"] == f"/v1/towns/{staff.here.id}/{path}"
    assert (order["status"], order["total_minor"], order["lines"][0]["quantity"]) == ("PLACED", 1250, 5)
    assert (await browser.get(path)).json()["status"] == "CANCELLED"
    user_id = (await browser.get("/v1/sessions/current")).json()["towns"][0]["user_id"]
    assert await last_line(staff) == (server_device_id(staff.here.id), user_id, "order.cancel")


async def test_an_order_tells_its_whole_story(staff: StaffWorld) -> None:
    new_id, order = staff.world.new_id, staff.here.order
    dispatch = new_id()
    for operation in (
        AssignDispatch(id=dispatch, order=order, driver=staff.here.users["driver"]),
        CompletePack(id=new_id(), order=order),
        StartDelivery(id=new_id(), dispatch=dispatch),
        CompleteDelivery(id=new_id(), dispatch=dispatch),
        TakePayment(id=new_id(), order=order, amount="2.50", currency="GBP"),
    ):
        staff.world.system.advance(1)
        await staff.world.parts.appliers.author(staff.here.id, server_device_id(staff.here.id), [operation])

    story = (await (await staff.browser()).get(f"orders/{order}")).json()

    assert (story["status"], story["payment"], story["fulfilment"]["state"]) == ("DELIVERED", "paid", "PACKED")
    received = [event["received_at"] for event in story["events"]]
    assert (received, len(set(received))) == (sorted(received), 4)
    assert [story["events"][place]["to_status"] for place in (0, -1)] == ["PLACED", "DELIVERED"]
    assert [(one["id"], one["state"]) for one in story["dispatches"]] == [(dispatch, "DELIVERED")]
    assert [one["amount_minor"] for one in story["payments"]] == [250]


async def test_a_refusal_is_a_problem_with_the_id_and_the_sentence_of_the_rule(staff: StaffWorld) -> None:
    answer = await (await staff.browser()).post("orders", new_order(staff, quantity=1000))

    said = answer.json()
    assert (answer.status_code, said["code"]) == (409, "stock.insufficient")
    assert said["detail"] == registry().cases["stock.insufficient"].explain(said["data"])


async def test_an_order_goes_with_a_driver_then_with_another_then_with_nobody(staff: StaffWorld) -> None:
    browser = await staff.browser("dispatcher")
    path = f"orders/{staff.here.order}"
    drivers = [staff.here.users["driver"], (await _added(staff, "driver"))]

    first = await browser.post(f"{path}/assign", {"driver": drivers[0]})
    again = await browser.post(f"{path}/assign", {"driver": drivers[1]})
    second = await browser.post(f"{path}/reassign", {"driver": drivers[1]})
    withdrawn = await browser.post(f"dispatches/{second.json()['id']}/withdraw")

    assert [one.status_code for one in (first, again, second, withdrawn)] == [201, 409, 201, 200]
    states = {row["id"]: row["state"] for row in (await browser.get("dispatches")).json()["items"]}
    assert states == {first.json()["id"]: "WITHDRAWN", second.json()["id"]: "WITHDRAWN"}


async def _added(staff: StaffWorld, role: str) -> str:
    answer = await (await staff.browser()).post("users", {"name": "Eve", "login": "eve", "roles": [role]})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_somebody_is_added_and_let_go(staff: StaffWorld) -> None:
    browser = await staff.browser()
    said = {"name": "Ada Kelly", "login": "ada", "roles": ["driver"], "pin": "4711"}

    added = await browser.post("users", said)
    path = f"users/{added.json()['id']}"
    there = (await browser.get(path)).json()
    gone = await browser.post(f"{path}/deactivate")

    assert (added.status_code, gone.status_code) == (201, 200)
    assert (there["name"], there["roles"], there["is_active"], there["has_pin"]) == (
        "Ada Kelly",
        ["driver"],
        True,
        True,
    )
    assert (await browser.get(path)).json()["is_active"] is False


@pytest.mark.parametrize("pin", ["12", "abcd", "1" * 13, "١٢٣٤"])
async def test_a_pin_is_digits(staff: StaffWorld, pin: str) -> None:
    said = {"name": "A", "login": "a", "roles": ["driver"], "pin": pin}

    answer = await (await staff.browser()).post("users", said)

    assert (answer.status_code, answer.json()["code"]) == (422, "pin_unusable")


async def test_a_code_lets_a_device_in_which_is_then_shut_out(staff: StaffWorld) -> None:
    browser = await staff.browser()
    made = await browser.post("enrolments", {"role": "driver", "user": staff.here.users["driver"]})
    enrolled = await staff.world.enrol(made.json()["code"], Ed25519PrivateKey.generate())
    path = f"devices/{enrolled.json()['device_id']}"

    suspended = await browser.post(f"{path}/suspend", {"reason": "lost"})
    released = await browser.post(f"{path}/release", {"reason": "found"})
    assert (await browser.get(path)).json()["status"] == "active"
    revoked = await browser.post(f"{path}/revoke", {"reason": "stolen"})

    assert [one.status_code for one in (made, enrolled, suspended, released, revoked)] == [201, 201, 200, 200, 200]
    row = (await browser.get(path)).json()
    assert (row["status"], row["reason"], row["user_id"]) == ("revoked", "stolen", staff.here.users["driver"])


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"role": "driver"}, 422),
        ({"role": "driver", "user": UNKNOWN}, 422),
        ({"role": "server"}, 400),
        ({"role": "driver", "user": "me"}, 400),
    ],
)
async def test_a_code_is_for_somebody_who_is_here(staff: StaffWorld, said: dict[str, str], status: int) -> None:
    assert (await (await staff.browser()).post("enrolments", said)).status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "orders/{}"),
        ("GET", "users/{}"),
        ("GET", "conflicts/{}"),
        ("POST", "orders/{}/cancel"),
        ("PUT", "orders/{}/lines"),
        ("POST", "orders/{}/assign"),
        ("POST", "dispatches/{}/withdraw"),
        ("POST", "devices/{}/revoke"),
        ("POST", "users/{}/deactivate"),
    ],
)
async def test_what_is_not_there_is_not_found_and_leaves_no_line(staff: StaffWorld, method: str, path: str) -> None:
    browser, before = await staff.browser(), await version(staff)
    documents = {"cancel": {}, "lines": {"lines": new_order(staff)["lines"]}, "revoke": {"reason": "r"}}
    said = documents.get(path.rpartition("/")[2], {"driver": staff.here.users["driver"]} if "assign" in path else {})

    for row_id in (UNKNOWN, staff.there.order, "nonsense", "%00", UNKNOWN.upper()):
        answer = await browser.call(method, path.format(row_id), None if method == "GET" else said)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), row_id

    assert await version(staff) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"id": UNKNOWN},
        {"colour": "red"},
        {"lines": []},
        {"lines": [{"product": PRODUCT, "quantity": "2"}]},
        {"lines": [{"product": PRODUCT, "quantity": 0}]},
        {"lines": [{"product": PRODUCT, "quantity": 1, "price": 2}]},
        {"warehouse": "North"},
        {"number": None},
        {"customer_name": "\ud800"},
    ],
)
async def test_a_document_that_is_not_of_its_form_is_malformed(staff: StaffWorld, changes: dict[str, Any]) -> None:
    browser = await staff.browser()
    body = str(new_order(staff) | changes).replace("'", '"').replace("None", "null").encode("utf-8", "surrogatepass")

    answer = await staff.world.client.post(
        f"/v1/towns/{staff.here.id}/orders", content=body, headers=headers_of(browser)
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"number":"1","number":"2"}', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_document_is_malformed(staff: StaffWorld, body: bytes) -> None:
    answer = await staff.world.client.post(
        f"/v1/towns/{staff.here.id}/orders", content=body, headers=headers_of(await staff.browser())
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


async def test_a_document_has_its_type_and_its_size(staff: StaffWorld) -> None:
    browser = await staff.browser()
    path = f"/v1/towns/{staff.here.id}/orders"
    text = headers_of(browser) | {"Content-Type": "text/plain"}

    plain = await staff.world.client.post(path, content=b"{}", headers=text)
    large = await staff.world.client.post(path, content=b" " * (256 * 1024 + 1), headers=headers_of(browser))

    assert (plain.status_code, large.status_code) == (415, 413)


def headers_of(browser: Browser) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Cookie": f"__Host-tallystick={browser.cookie}",
        "X-CSRF-Token": browser.csrf,
    }


WRITES: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("POST", "users", {"name": "E", "login": "e", "roles": ["driver"]}, {"admin"}),
    ("POST", "warehouses", {"name": "South"}, {"admin"}),
    ("POST", "enrolments", {"role": "driver"}, {"admin"}),
    ("POST", "users/{driver}/deactivate", {}, {"admin"}),
    ("POST", "devices/{device}/suspend", {"reason": "r"}, {"admin"}),
    ("POST", "devices/{device}/release", {"reason": "r"}, {"admin"}),
    ("POST", "devices/{device}/revoke", {"reason": "r"}, {"admin"}),
    ("POST", "orders", {}, {"admin", "dispatcher", "warehouse_staff"}),
    ("PUT", "orders/{order}/lines", {}, {"admin", "dispatcher", "warehouse_staff"}),
    ("POST", "orders/{order}/cancel", {}, {"admin", "dispatcher"}),
    ("POST", "orders/{order}/assign", {"driver": ""}, {"admin", "dispatcher"}),
    ("POST", "orders/{order}/reassign", {"driver": ""}, {"admin", "dispatcher"}),
    ("POST", "dispatches/{order}/withdraw", {}, {"admin", "dispatcher"}),
]


async def attempt(staff: StaffWorld, browser: Browser, method: str, path: str, said: dict[str, Any]) -> str:
    """The code of the answer, none when it was done."""
    named = path.format(driver=staff.here.users["driver"], device=staff.here.device, order=staff.here.order)
    filled = dict(said) | ({"driver": staff.here.users["driver"]} if "driver" in said else {})
    if path == "orders":
        filled = new_order(staff)
    if path.endswith("lines"):
        filled = {"lines": new_order(staff)["lines"]}
    return str((await browser.call(method, named, filled)).json().get("code", ""))


@pytest.mark.parametrize("role", ["admin", "dispatcher", "warehouse_staff", "driver"])
async def test_who_may_do_what_is_asked_at_the_door_and_leaves_no_line(staff: StaffWorld, role: str) -> None:
    browser, before = await staff.browser(role), await version(staff)

    for method, path, said, roles in WRITES:
        if role not in roles:
            assert await attempt(staff, browser, method, path, said) == "not_permitted", path

    assert await version(staff) == before
    for method, path, said, roles in WRITES:
        if role in roles:
            assert await attempt(staff, browser, method, path, said) != "not_permitted", path


@pytest.mark.parametrize("role", ["dispatcher", "warehouse_staff", "driver"])
async def test_without_the_door_the_rules_refuse_the_same(
    staff: StaffWorld, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.api.office.doing.check_permitted", lambda *_arguments: None)
    browser = await staff.browser(role)

    for method, path, said, roles in WRITES:
        if role not in roles and path not in {"enrolments", "dispatches/{order}/withdraw"}:
            assert await attempt(staff, browser, method, path, said) == "people.actor_refused", path


async def test_a_role_that_was_lost_on_the_way_to_the_lock_is_lost(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await staff.browser()
    user_id = (await browser.get("/v1/sessions/current")).json()["towns"][0]["user_id"]
    real = Appliers.author

    async def overtaken(appliers: Any, town_id: str, actor_id: str, *rest: Any) -> bytes:
        if actor_id == user_id:
            await real(
                appliers, town_id, server_device_id(town_id), [DeactivateUser(id=appliers.new_id(), user=user_id)]
            )
        return await real(appliers, town_id, actor_id, *rest)

    monkeypatch.setattr(Appliers, "author", overtaken)

    answer = await browser.post("warehouses", {"name": "South"})

    assert (answer.status_code, answer.json()["code"]) == (409, "people.actor_refused")
