"""The inbox over HTTP: a conflict in full, its resolution with what makes it good, tasks closed by hand, the trail."""

from __future__ import annotations

from typing import Any

import pytest

from server.domain.devices import server_device_id
from sync.kernel.ids import derived_id
from sync.modules.commerce import AdjustStock, AssignDispatch, CompleteDelivery
from tests.support.staff_world import PRODUCT, Browser, StaffWorld

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"
LOSS = 1000


async def conflict_of(staff: StaffWorld) -> str:
    """A shelf from which more has left than was there."""
    adjust = AdjustStock(id=staff.world.new_id(), warehouse=staff.here.warehouse, product=PRODUCT, delta=-LOSS)
    await staff.world.parts.appliers.author(staff.here.id, staff.here.users["admin"], [adjust])
    (conflict,) = (await (await staff.browser()).get("conflicts?state=open&rule=stock.below_zero&limit=1")).json()[
        "items"
    ]
    return str(conflict["id"])


def found(staff: StaffWorld, delta: int = LOSS) -> dict[str, Any]:
    return {"op": "stock.adjust", "warehouse": staff.here.warehouse, "product": PRODUCT, "delta": delta}


async def on_hand(browser: Browser) -> int:
    (level,) = (await browser.get(f"stock-levels?product={PRODUCT}")).json()["items"]
    return int(level["on_hand"])


async def test_a_conflict_shows_everything_that_is_known_of_it(staff: StaffWorld) -> None:
    conflict = await conflict_of(staff)
    browser = await staff.browser("dispatcher")

    shown = (await browser.get(f"conflicts/{conflict}")).json()
    task = (await browser.get(f"tasks/{shown['task_id']}")).json()

    assert (shown["rule"], shown["said"], shown["had"]) == ("stock.below_zero", {"delta": -LOSS}, {"on_hand": 100})
    assert (shown["outcome"], shown["state"], shown["resolution"]) == ("on hand -900", "open", None)
    assert (shown["task"], task["state"], task["closed"]) == (task, "open", None)


async def test_a_resolution_makes_it_good_closes_the_task_and_says_by_whom(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser()

    answer = await browser.post(
        f"conflicts/{conflict}/resolution",
        {"how": "compensate", "note": "behind the rice", "operations": [found(staff)]},
    )

    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "accepted")
    shown = (await browser.get(f"conflicts/{conflict}")).json()
    user = (await browser.get("/v1/sessions/current")).json()["towns"][0]["user_id"]
    resolution = shown["resolution"]
    assert (shown["state"], resolution["how"], resolution["note"]) == ("resolved", "compensate", "behind the rice")
    assert (resolution["by"], resolution["device_id"]) == (user, server_device_id(staff.here.id))
    assert [operation["op"] for operation in resolution["operations"]] == ["stock.adjust"]
    assert (shown["task"]["state"], shown["task"]["closed"]["by"]) == ("done", user)
    assert await on_hand(browser) == 100
    assert conflict in {row["id"] for row in (await browser.get("conflicts?state=resolved")).json()["items"]}
    assert conflict not in {row["id"] for row in (await browser.get("conflicts?state=open")).json()["items"]}
    assert (await browser.get(f"conflicts?subject={shown['subject_id']}&state=open")).json()["items"] == []


async def test_a_second_resolution_is_refused_with_the_rule(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser()
    path, accept = f"conflicts/{conflict}/resolution", {"how": "accept", "note": "so it is"}
    await browser.post(path, accept)

    answer = await browser.post(path, accept)

    assert (answer.status_code, answer.json()["code"]) == (409, "casework.already_resolved")


async def test_the_same_request_again_is_the_same_answer_and_nothing_twice(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser()
    said = {"how": "compensate", "note": "found", "operations": [found(staff)]}
    path = f"conflicts/{conflict}/resolution"

    first = await browser.post(path, said, Idempotency_Key="one")
    again = await browser.post(path, said, Idempotency_Key="one")
    other = await browser.post(path, {**said, "note": "otherwise"}, Idempotency_Key="one")

    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert await on_hand(browser) == 100


async def test_what_cannot_make_it_good_is_refused_and_nothing_is_done(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser()
    path = f"conflicts/{conflict}/resolution"
    shut_out = {"op": "device.revoke", "device": staff.here.device, "reason": "r"}

    nothing = await browser.post(path, {"how": "compensate", "note": "n"})
    unfit = await browser.post(path, {"how": "accept", "note": "n", "operations": [found(staff)]})
    smuggled = await browser.post(path, {"how": "compensate", "note": "n", "operations": [shut_out]})

    assert [one.json()["code"] for one in (nothing, unfit, smuggled)] == ["casework.resolution_unfit"] * 3
    assert (await on_hand(browser), (await browser.get(f"devices/{staff.here.device}")).json()["status"]) == (
        -900,
        "active",
    )


@pytest.mark.parametrize(
    "said",
    [
        {"how": "accept"},
        {"how": "forget", "note": "n"},
        {"how": "accept", "note": ""},
        {"how": "accept", "note": "n", "conflict": UNKNOWN},
        {"how": "compensate", "note": "n", "operations": [{"delta": 1}]},
        {"how": "compensate", "note": "n", "operations": [{"op": "stock.conjure"}]},
        {"how": "compensate", "note": "n", "operations": [{"op": "stock.adjust", "delta": "1"}]},
        {"how": "compensate", "note": "n", "operations": [{"op": "order.cancel", "order": UNKNOWN, "id": UNKNOWN}]},
        {"how": "compensate", "note": "n", "operations": [{"op": "order.cancel", "order": UNKNOWN}] * 21},
        {"how": "compensate", "note": "n", "operations": "all"},
    ],
)
async def test_what_is_no_resolution_is_malformed(staff: StaffWorld, said: dict[str, Any]) -> None:
    answer = await (await staff.browser()).post(f"conflicts/{await conflict_of(staff)}/resolution", said)

    assert (answer.status_code, "stock.conjure" in answer.text) == (400, False)


@pytest.mark.parametrize("role", ["warehouse_staff", "driver"])
async def test_who_is_not_of_the_office_resolves_nothing(staff: StaffWorld, role: str) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser(role)

    answer = await browser.post(f"conflicts/{conflict}/resolution", {"how": "accept", "note": "n"})

    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    assert (await browser.get(f"conflicts/{conflict}")).status_code == 403


async def test_a_dispatcher_cannot_make_it_good_by_what_only_the_warehouse_may_do(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser("dispatcher")
    path = f"conflicts/{conflict}/resolution"

    refused = await browser.post(path, {"how": "compensate", "note": "n", "operations": [found(staff)]})
    accepted = await browser.post(path, {"how": "accept", "note": "n"})

    assert (refused.status_code, accepted.status_code) == (403, 200)


async def test_without_the_sessions_token_nothing_is_resolved(staff: StaffWorld) -> None:
    conflict, browser = await conflict_of(staff), await staff.browser()
    said = {"how": "accept", "note": "n"}

    answer = await browser.post(f"conflicts/{conflict}/resolution", said, X_CSRF_Token="another")

    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


async def test_a_conflict_of_another_town_is_not_there(staff: StaffWorld) -> None:
    conflict, stranger = await conflict_of(staff), await staff.browser("admin", staff.there)
    said = {"how": "accept", "note": "n"}

    answers = [
        await stranger.post(f"conflicts/{conflict}/resolution", said),
        await stranger.get(f"conflicts/{conflict}"),
        await stranger.post(f"/v1/towns/{staff.here.id}/conflicts/{conflict}/resolution", said),
        await stranger.post(f"conflicts/{UNKNOWN}/resolution", said),
        await stranger.post("conflicts/7/resolution", said),
    ]

    assert [answer.status_code for answer in answers] == [404] * 5


async def test_the_warehouse_closes_its_task_and_the_conflict_stays(staff: StaffWorld) -> None:
    conflict, office, browser = await conflict_of(staff), await staff.browser(), await staff.browser("warehouse_staff")
    (task,) = (await browser.get(f"tasks?conflict={conflict}&state=open")).json()["items"]

    done = await browser.post(f"tasks/{task['id']}/complete", {"note": "counted"})
    again = await browser.post(f"tasks/{task['id']}/complete", {"note": "counted"})

    assert (done.status_code, again.status_code, again.json()["code"]) == (200, 409, "casework.already_done")
    shown = (await office.get(f"conflicts/{conflict}")).json()
    assert (shown["state"], shown["task"]["state"], shown["task"]["closed"]["note"]) == ("open", "done", "counted")
    assert (await browser.get(f"tasks?conflict={conflict}&state=done")).json()["items"] == [shown["task"]]


async def test_the_trail_of_an_order_says_who_reported_each_step_page_by_page(staff: StaffWorld) -> None:
    order, dispatch = staff.here.order, staff.world.new_id()
    server = server_device_id(staff.here.id)
    for operation in (
        AssignDispatch(id=dispatch, order=order, driver=staff.here.users["driver"]),
        CompleteDelivery(id=staff.world.new_id(), dispatch=dispatch),
    ):
        staff.world.system.advance(1)
        await staff.world.parts.appliers.author(staff.here.id, server, [operation])
    browser = await staff.browser("warehouse_staff")

    whole = (await browser.get(f"orders/{order}/status-events")).json()
    first = (await browser.get(f"orders/{order}/status-events?limit=4")).json()
    rest = (await browser.get(f"orders/{order}/status-events?limit=4&cursor={first['next_cursor']}")).json()

    steps = [(event["to_custody"], event["is_implied"]) for event in whole["items"]]
    implied = [(custody, True) for custody in ("picking", "picked", "packed", "ready", "van")]
    assert steps == [("warehouse", False), *implied, ("customer", False)]
    assert {event["device_id"] for event in whole["items"]} == {server}
    paged = [event["id"] for event in first["items"] + rest["items"]]
    assert (sorted(paged), rest["next_cursor"]) == (sorted(event["id"] for event in whole["items"]), None)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("orders/{order}/status-events?limit=0", 400),
        ("orders/{order}/status-events?order=x", 400),
        ("orders/{order}/status-events?cursor=x", 400),
        ("orders/{unknown}/status-events", 404),
        ("orders/7/status-events", 404),
    ],
)
async def test_a_trail_that_is_not_there_or_asked_for_wrongly(staff: StaffWorld, path: str, status: int) -> None:
    named = path.format(order=staff.here.order, unknown=derived_id("nowhere"))

    assert (await (await staff.browser()).get(named)).status_code == status


async def test_a_driver_reads_no_trail(staff: StaffWorld) -> None:
    answer = await (await staff.browser("driver")).get(f"orders/{staff.here.order}/status-events")

    assert answer.status_code == 403
