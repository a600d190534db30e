"""What is kept without effect, as the office sees it over HTTP: looked at, run again after a fix, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from server.application.batch import Upload
from sync.engine.chain import encode_bytes, genesis_hash, line_hash
from sync.kernel.changeset import ChangeSet
from sync.kernel.clock import Hlc
from sync.modules.catalogue import DefineProduct, product_id
from sync.modules.commerce import ReceiveStock
from sync.protocol.codec import encode_change_set
from tests.support.staff_world import Browser, StaffWorld

UNKNOWN = "01970a6e-3c00-7a51-8c1f-0b1f6a3f6d11"
PAGES_MAX = 10
GENESIS = genesis_hash("a certificate")


def line_of(staff: StaffWorld, seq: int, before: bytes) -> bytes:
    """A receipt of seven pieces of a product that is not there."""
    town, new_id = staff.here, staff.world.new_id
    receive = ReceiveStock(id=new_id(), warehouse=town.warehouse, product=product_id(sku(staff)), quantity=7)
    change_set = ChangeSet(
        town=town.id,
        device=town.device,
        seq=seq,
        prev=encode_bytes(before),
        actor=town.users["driver"],
        base=0,
        epoch=new_id(),
        at=str(Hlc(unix_ms=staff.world.system.now_ms(), counter=0)),
        ops=(receive,),
    )
    return encode_change_set(change_set)


def sku(staff: StaffWorld) -> str:
    return f"NEW {staff.here.id}"


async def keep(staff: StaffWorld, count: int = 1) -> list[bytes]:
    """Lines that the device has sent and that are kept without effect, each in a version of its own."""
    town, lines, before = staff.here, list[bytes](), GENESIS
    for seq in range(1, count + 1):
        lines.append(line_of(staff, seq, before))
        before = line_hash(lines[-1])
        upload = Upload(town_id=town.id, device_id=town.device, from_seq=seq, lines=lines[-1:], signature="A" * 86)
        await staff.world.parts.appliers.submit(upload)
    return lines


async def mend(staff: StaffWorld) -> None:
    """The product is there."""
    await staff.author(staff.here, DefineProduct(id=staff.world.new_id(), sku=sku(staff), name="New"))


def place(staff: StaffWorld, seq: int = 1, how: str = "") -> str:
    return f"quarantine/{staff.here.device}/{seq}{how}"


async def on_hand(browser: Browser, staff: StaffWorld) -> list[int]:
    levels = (await browser.get(f"stock-levels?product={product_id(sku(staff))}")).json()["items"]
    return [level["on_hand"] for level in levels]


async def listed(browser: Browser, query: str = "") -> list[tuple[int, str]]:
    """Place and state of every line of the list, page by page."""
    found: list[tuple[int, str]] = []
    cursor: str | None = "0"
    for _ in range(PAGES_MAX):
        if cursor is None:
            return found
        page = (await browser.get(f"quarantine?cursor={cursor}{query}")).json()
        found += [(item["seq"], item["state"]) for item in page["items"]]
        cursor = page["next_cursor"]
    raise AssertionError(found)


async def test_a_line_is_shown_word_for_word_with_the_reason(staff: StaffWorld) -> None:
    (line,) = await keep(staff)
    browser = await staff.browser("dispatcher")

    (item,) = (await browser.get("quarantine")).json()["items"]
    shown = (await browser.get(place(staff))).json()

    assert {name: item[name] for name in ("device_id", "seq", "rule", "reason", "state")} == {
        "device_id": staff.here.device,
        "seq": 1,
        "rule": "engine.unknown_reference",
        "reason": "This points to a product that does not exist here.",
        "state": "open",
    }
    assert item["hash"] == encode_bytes(line_hash(line))
    said: dict[str, Any] = shown.pop("line")
    assert (shown, said["ops"][0]["quantity"]) == (item, 7)


async def test_after_a_fix_it_takes_effect_once_in_the_name_of_whoever_asks(staff: StaffWorld) -> None:
    await keep(staff)
    browser = await staff.browser()
    before = await browser.post(place(staff, how="/retry"))
    await mend(staff)

    done = await browser.post(place(staff, how="/retry"))
    again = await browser.post(place(staff, how="/retry"))

    assert (before.status_code, before.json()["code"]) == (409, "still_fails")
    assert (done.status_code, done.json()["status"]) == (200, "accepted")
    assert (again.status_code, again.json()["code"]) == (409, "casework.already_resolved")
    assert await on_hand(browser, staff) == [7]
    conflict_id = (await browser.get(place(staff))).json()["conflict_id"]
    conflict = (await browser.get(f"conflicts/{conflict_id}")).json()
    user = (await browser.get("/v1/sessions/current")).json()["towns"][0]["user_id"]
    assert (conflict["state"], conflict["resolution"]["by"], conflict["task"]["state"]) == ("resolved", user, "done")
    assert conflict["resolution"]["note"].startswith("Run again as change set ")


async def test_refused_it_has_no_effect_for_good_and_says_why(staff: StaffWorld) -> None:
    await keep(staff)
    await mend(staff)
    browser = await staff.browser()

    done = await browser.post(place(staff, how="/refuse"), {"reason": "counted twice"})
    late = await browser.post(place(staff, how="/retry"))

    assert (done.status_code, late.json()["code"]) == (200, "casework.already_resolved")
    assert await on_hand(browser, staff) == []
    shown = (await browser.get(place(staff))).json()
    conflict = (await browser.get(f"conflicts/{shown['conflict_id']}")).json()
    assert (shown["state"], conflict["resolution"]["note"]) == ("resolved", "counted twice")


@pytest.mark.parametrize(("how", "said"), [("/retry", {}), ("/refuse", {"reason": "counted twice"})])
async def test_the_same_request_again_is_answered_as_at_first(
    staff: StaffWorld, how: str, said: dict[str, str]
) -> None:
    await keep(staff)
    await mend(staff)
    browser = await staff.browser()

    first = await browser.post(place(staff, how=how), said, Idempotency_Key="one")
    again = await browser.post(place(staff, how=how), said, Idempotency_Key="one")
    bad = await browser.post(place(staff, how=how), said, Idempotency_Key="a b")

    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_idempotency_key")
    assert len(await on_hand(browser, staff)) == (1 if how == "/retry" else 0)


async def test_the_list_comes_page_by_page_with_what_is_open_unless_all_is_asked_for(staff: StaffWorld) -> None:
    await keep(staff, 3)
    browser = await staff.browser()
    await browser.post(place(staff, 2, "/refuse"), {"reason": "counted twice"})

    assert await listed(browser) == [(1, "open"), (3, "open")]
    assert await listed(browser, "&limit=1") == [(1, "open"), (3, "open")]
    assert await listed(browser, "&limit=1&state=all") == [(1, "open"), (2, "resolved"), (3, "open")]


@pytest.mark.parametrize("query", ["state=closed", "colour=red", "limit=0", "cursor=x", "cursor=1&cursor=2"])
async def test_a_query_that_the_list_does_not_know_is_refused(staff: StaffWorld, query: str) -> None:
    answer = await (await staff.browser()).get(f"quarantine?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("seq", ["2", "0", "x", "-1", "9" * 30, "%D9%A1"])
async def test_a_place_without_a_line_is_not_there(staff: StaffWorld, seq: str) -> None:
    await keep(staff)
    browser = await staff.browser()

    answers = [
        await browser.get(f"quarantine/{staff.here.device}/{seq}"),
        await browser.get(f"quarantine/{UNKNOWN}/1"),
        await browser.post(f"quarantine/{staff.here.device}/{seq}/retry"),
        await browser.post(f"quarantine/{staff.here.device}/{seq}/refuse", {"reason": "r"}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}


@pytest.mark.parametrize("role", ["warehouse_staff", "driver"])
async def test_only_the_office_decides(staff: StaffWorld, role: str) -> None:
    await keep(staff)
    browser = await staff.browser(role)

    answers = [
        await browser.get("quarantine"),
        await browser.get(place(staff)),
        await browser.post(place(staff, how="/retry")),
        await browser.post(place(staff, how="/refuse"), {"reason": "r"}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "not_permitted")}
    assert await listed(await staff.browser()) == [(1, "open")]
