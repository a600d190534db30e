"""Signing in at the edge: cookie, CSRF token, origin, how long it lasts, and how failed tries slow down."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from server.api.staff import COOKIE
from server.application.people import HASHES_WAITING_MAX
from server.domain import passwords
from server.domain.people import FRESH_SECONDS, IDLE_SECONDS, SESSION_SECONDS, TRIES_FORGOTTEN_SECONDS
from sync.modules.identity import DeactivateUser
from tests.support.api_world import PUBLIC_URL
from tests.support.staff_world import PASSWORD, Browser, StaffWorld, cookie_of, staff_world

WRONG = "not the password at all"
FREE_TRIES = 5


async def stranger(staff: StaffWorld, email: str = "") -> Browser:
    """Somebody with an account who has not signed in."""
    return Browser(world=staff.world, town=staff.here, email=email or await staff.account((staff.here, "admin")))


async def is_in(browser: Browser) -> bool:
    return (await browser.get("/v1/sessions/current")).status_code == 200


async def test_who_signs_in_is_told_who_and_where_and_gets_a_cookie_of_this_host_alone(staff: StaffWorld) -> None:
    browser = await stranger(staff)

    answer = await browser.sign_in()

    said = answer.json()
    (town,) = said.pop("towns")
    assert said == {
        "email": browser.email,
        "has_second_factor": False,
        "is_fresh": True,
        "expires_at": "2026-11-21T20:00:00.000Z",
        "csrf_token": browser.csrf,
    }
    assert (town["id"], town["name"], town["roles"]) == (staff.here.id, "Here", ["admin"])
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name == f"{COOKIE}={browser.cookie}"
    assert {one.lower() for one in attributes} == {"httponly", "path=/", "samesite=strict", "secure"}
    assert (await browser.get("/v1/sessions/current")).json() == answer.json()


async def test_on_one_machine_without_tls_the_cookie_has_the_name_that_a_browser_takes_there(
    migrated_database: str,
) -> None:
    async with staff_world(migrated_database, public_url="http://127.0.0.1:8000") as staff:
        browser = await stranger(staff)
        answers = [await browser.sign_in(headers={"Origin": f"http://{host}:8000"}) for host in ("localhost", "[::1]")]
        elsewhere = await browser.sign_in(headers={"Origin": "http://localhost:8001"})

    name, *attributes = answers[0].headers["set-cookie"].split("; ")
    assert ([answer.status_code for answer in answers], elsewhere.status_code) == ([201, 201], 403)
    assert name.startswith("tallystick=")
    assert {one.lower() for one in attributes} == {"httponly", "path=/", "samesite=strict"}


async def test_of_a_session_only_the_hash_of_its_token_is_kept(staff: StaffWorld) -> None:
    browser = await staff.browser()

    kept = await staff.stored("SELECT token_hash, account_id::text FROM sessions")

    assert len(browser.cookie) == 43
    assert browser.cookie not in str(kept)
    assert browser.csrf not in str(kept)


@pytest.mark.parametrize(
    "changes", [{"email": "somebody.else@example.org"}, {"password": WRONG}, {"email": "no address"}, {"email": ""}]
)
async def test_wrong_is_wrong_whatever_it_is(staff: StaffWorld, changes: dict[str, str]) -> None:
    browser = await stranger(staff)
    said = {"email": browser.email, "password": PASSWORD} | changes

    answer = await browser.call("POST", "/v1/sessions", said)

    assert (answer.status_code, answer.json()["code"], answer.headers["www-authenticate"]) == (
        401,
        "sign_in_refused",
        "Session",
    )
    assert "set-cookie" not in answer.headers


async def test_an_unknown_address_costs_a_hash_as_a_known_one_does(
    dear_guards: None, staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dear_guards is None
    compared: list[str] = []
    real = passwords.is_password

    def noted(password: str, phc: str) -> bool:
        compared.append(phc)
        return real(password, phc)

    monkeypatch.setattr(passwords, "is_password", noted)

    known = await (await stranger(staff)).sign_in(WRONG)
    unknown = await (await stranger(staff, staff.nobody())).sign_in(WRONG)

    assert known.json() | {"request_id": None} == unknown.json() | {"request_id": None}
    costs = [phc.rpartition("$")[0].rpartition("$")[0] for phc in compared]
    assert costs == ["$argon2id$v=19$m=19456,t=3,p=1"] * 2


async def test_capitals_in_an_address_make_no_difference(staff: StaffWorld) -> None:
    browser = await stranger(staff)
    browser.email = f" {browser.email.upper()}"

    assert (await browser.sign_in()).status_code == 201


async def test_signing_in_again_ends_the_session_before(staff: StaffWorld) -> None:
    browser = await staff.browser()
    before = dataclasses.replace(browser)

    await browser.sign_in()

    assert browser.cookie != before.cookie
    assert (await is_in(before), await is_in(browser)) == (False, True)


async def test_signing_out_ends_the_session_and_drops_the_cookie(staff: StaffWorld) -> None:
    browser, other = await staff.browser(), await staff.browser()

    answer = await browser.call("DELETE", "/v1/sessions/current")

    assert (answer.status_code, cookie_of(answer).strip('"')) == (204, "")
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert (await is_in(browser), await is_in(other)) == (False, True)


@pytest.mark.parametrize("cookie", ["", "x", "y" * 43, "z" * 5000, "ü"])
async def test_what_is_no_session_is_nobody(staff: StaffWorld, cookie: str) -> None:
    answer = await staff.world.client.get("/v1/sessions/current", headers=[(b"Cookie", f"{COOKIE}={cookie}".encode())])

    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")


async def test_a_session_that_is_used_lasts_twelve_hours_and_no_longer(staff: StaffWorld) -> None:
    browser = await staff.browser()
    half_an_hour = IDLE_SECONDS // 2
    for _ in range(SESSION_SECONDS // half_an_hour - 1):
        staff.world.system.advance(half_an_hour)
        assert await is_in(browser)

    staff.world.system.advance(half_an_hour)

    assert not await is_in(browser)


async def test_a_session_that_is_not_used_ends_after_an_hour(staff: StaffWorld) -> None:
    browser, idle = await staff.browser(), await staff.browser()
    staff.world.system.advance(IDLE_SECONDS - 60)
    assert await is_in(browser)

    staff.world.system.advance(60)

    assert (await is_in(browser), await is_in(idle)) == (True, False)


async def test_a_session_says_when_it_is_not_fresh_any_more(staff: StaffWorld) -> None:
    browser = await staff.browser()
    staff.world.system.advance(FRESH_SECONDS)

    assert (await browser.get("/v1/sessions/current")).json()["is_fresh"] is False


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"X-CSRF-Token": ""}, 403),
        ({"X-CSRF-Token": "A" * 43}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": PUBLIC_URL + "/"}, 403),
        ({"Origin": "http://sync.example:99999"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
    ],
)
async def test_whatever_changes_something_comes_from_a_page_of_ours(
    staff: StaffWorld, headers: dict[str, str], status: int
) -> None:
    browser = await staff.browser()

    answer = await browser.call("POST", "warehouses", {"name": "South"}, headers=headers)

    assert answer.status_code == status
    assert status == 201 or answer.json()["code"] == "cross_site"
    listed = (await browser.get("warehouses")).json()["items"]
    assert len(listed) == (2 if status == 201 else 1)


async def test_a_page_of_another_site_cannot_sign_anybody_in(staff: StaffWorld) -> None:
    answer = await (await stranger(staff)).sign_in(headers={"Origin": "https://evil.example"})

    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


async def test_a_token_of_another_session_is_none_of_this_one(staff: StaffWorld) -> None:
    browser, other = await staff.browser(), await staff.browser()

    answer = await browser.call("DELETE", "/v1/sessions/current", headers={"X-CSRF-Token": other.csrf})

    assert (answer.status_code, await is_in(browser)) == (403, True)


async def test_an_address_is_locked_after_five_tries_and_opens_again_with_time(staff: StaffWorld) -> None:
    browser = await stranger(staff)
    for _ in range(FREE_TRIES):
        assert (await browser.sign_in(WRONG)).json()["code"] == "sign_in_refused"

    locked = await browser.sign_in()
    staff.world.system.advance(29)
    still = await browser.sign_in()
    staff.world.system.advance(1)
    opened = await browser.sign_in()

    assert [(one.status_code, one.headers.get("retry-after")) for one in (locked, still, opened)] == [
        (429, "30"),
        (429, "1"),
        (201, None),
    ]
    assert locked.json()["code"] == "sign_in_locked"


async def test_each_failure_locks_for_longer_up_to_a_quarter_of_an_hour(staff: StaffWorld) -> None:
    browser, waits = await stranger(staff), []
    for _ in range(FREE_TRIES - 1):
        await browser.sign_in(WRONG)
    for _ in range(7):
        await browser.sign_in(WRONG)
        waits.append(int((await browser.sign_in()).headers["retry-after"]))
        staff.world.system.advance(waits[-1])

    assert waits == [30, 60, 120, 240, 480, 900, 900]


async def test_an_address_without_account_is_locked_in_the_same_way(staff: StaffWorld) -> None:
    browser = await stranger(staff, staff.nobody())
    for _ in range(FREE_TRIES):
        await browser.sign_in(WRONG)

    assert (await browser.sign_in()).status_code == 429


async def test_failures_are_forgotten_after_a_success_or_a_day(staff: StaffWorld) -> None:
    browser = await stranger(staff)
    for _ in range(2):
        for _ in range(FREE_TRIES - 1):
            await browser.sign_in(WRONG)
        assert (await browser.sign_in()).status_code == 201
    for _ in range(FREE_TRIES - 1):
        await browser.sign_in(WRONG)
    staff.world.system.advance(TRIES_FORGOTTEN_SECONDS + 1)

    for _ in range(FREE_TRIES - 1):
        await browser.sign_in(WRONG)

    assert (await browser.sign_in()).status_code == 201


async def test_a_network_address_is_locked_after_twenty_failures_whomever_they_were_for(staff: StaffWorld) -> None:
    good = await stranger(staff)
    for _ in range(20):
        assert (await (await stranger(staff, staff.nobody())).sign_in(WRONG)).status_code == 401

    locked = await good.sign_in()
    staff.world.system.advance(30)

    assert (locked.status_code, (await good.sign_in()).status_code) == (429, 201)


async def test_signing_in_well_from_one_network_address_locks_nobody_out(staff: StaffWorld) -> None:
    email = await staff.account((staff.here, "admin"))

    answers = {(await (await stranger(staff, email)).sign_in()).status_code for _ in range(25)}

    assert answers == {201}


async def test_many_tries_at_once_are_no_way_around_the_lock(staff: StaffWorld) -> None:
    email = await staff.account((staff.here, "admin"))
    browsers = [await stranger(staff, email) for _ in range(12)]

    codes = [answer.json()["code"] for answer in await asyncio.gather(*(b.sign_in(WRONG) for b in browsers))]

    assert sorted(codes) == ["sign_in_locked"] * 7 + ["sign_in_refused"] * FREE_TRIES


async def test_more_than_can_be_hashed_in_time_are_told_to_come_back(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await stranger(staff)
    monkeypatch.setattr(staff.people.hashing, "_waiting", HASHES_WAITING_MAX)

    answer = await browser.sign_in()

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]


async def test_another_password_ends_every_other_session(staff: StaffWorld) -> None:
    browser = await staff.browser()
    other = Browser(world=staff.world, town=staff.here, email=browser.email)
    await other.sign_in()
    said = {"password": PASSWORD, "new_password": "a new one that is long"}

    answer = await browser.call("PUT", "/v1/sessions/current/password", said)

    assert (answer.status_code, await is_in(browser), await is_in(other)) == (204, True, False)
    assert (await other.sign_in()).status_code == 401
    assert (await other.sign_in("a new one that is long")).status_code == 201


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": WRONG}, "sign_in_refused"),
        ({"new_password": "short"}, "password_unusable"),
        ({"new_password": "x" * 201}, "malformed"),
        ({"more": "x"}, "malformed"),
        ({"password": 7}, "malformed"),
    ],
)
async def test_a_password_that_cannot_be_changed_stays(staff: StaffWorld, changes: dict[str, Any], code: str) -> None:
    browser = await staff.browser()
    said = {"password": PASSWORD, "new_password": "a new one that is long"} | changes

    answer = await browser.call("PUT", "/v1/sessions/current/password", said)

    assert answer.json()["code"] == code
    assert (await browser.sign_in()).status_code == 201


async def test_who_is_deactivated_loses_the_town_at_once_and_keeps_the_others(staff: StaffWorld) -> None:
    email = await staff.account((staff.here, "admin"), (staff.there, "driver"))
    browser = await stranger(staff, email)
    session = (await browser.sign_in()).json()
    user = next(town["user_id"] for town in session["towns"] if town["id"] == staff.here.id)
    assert (await browser.get("orders")).status_code == 200

    await staff.author(staff.here, DeactivateUser(id=staff.world.new_id(), user=user))

    assert (await browser.get("orders")).status_code == 404
    assert [town["name"] for town in (await browser.get("/v1/sessions/current")).json()["towns"]] == ["There"]
