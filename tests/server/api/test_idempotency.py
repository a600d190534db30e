"""A request under a key is done once, whoever sends it again and whatever dies on the way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from server.adapters.memory_outbox import MemoryInbox
from server.adapters.postgres.listings import PostgresRequests
from server.adapters.postgres.outbox import PostgresAgenda
from server.adapters.postgres.papers import PostgresPapers
from server.application.people_ports import Listings
from server.application.ports import Unavailable
from server.domain.requests import KEPT_SECONDS
from server.jobs.forget import forget
from sync.kernel.clock import format_time
from tests.support.staff_world import PRODUCT, StaffWorld

KEY = "6f3c2a52-9d2e-4a1f-8a3f-6d1301970a6e"


async def lines(staff: StaffWorld) -> int:
    ((count,),) = await staff.stored("SELECT count(*) FROM change_sets", staff.here)
    return int(count)


def order(staff: StaffWorld, number: str = "W-1", quantity: int = 1) -> dict[str, Any]:
    return {
        "number": number,
        "warehouse": staff.here.warehouse,
        "customer_name": "Grace",
        "lines": [{"product": PRODUCT, "quantity": quantity}],
    }


def told(answer: httpx2.Response) -> tuple[int, Any, str | None]:
    return answer.status_code, answer.json(), answer.headers.get("location")


async def test_the_same_request_again_is_answered_again_and_not_done_again(staff: StaffWorld) -> None:
    browser = await staff.browser()
    first = await browser.post("orders", order(staff), Idempotency_Key=KEY)
    before = await lines(staff)
    staff.world.system.advance(3600 // 2)

    again = await browser.post("orders", dict(reversed(order(staff).items())), Idempotency_Key=KEY)

    assert told(again) == told(first)
    assert (first.status_code, await lines(staff)) == (201, before)


async def test_a_refusal_is_said_again_even_when_it_would_not_be_one_any_more(staff: StaffWorld) -> None:
    browser = await staff.browser()
    path = f"orders/{staff.here.order}/reassign"
    said = {"driver": staff.here.users["driver"]}
    first = await browser.post(path, said, Idempotency_Key=KEY)
    await browser.post(f"orders/{staff.here.order}/assign", said)

    again = await browser.post(path, said, Idempotency_Key=KEY)

    assert (first.status_code, told(again)) == (409, told(first))


async def test_many_at_once_under_one_key_are_one(staff: StaffWorld) -> None:
    browser, before = await staff.browser(), await lines(staff)

    answers = await asyncio.gather(
        *(browser.post("orders", order(staff), Idempotency_Key=KEY) for _ in range(10)),
        *(browser.post("orders", order(staff, f"W-{number}")) for number in range(10)),
    )

    assert [answer.status_code for answer in answers] == [201] * 20
    assert len({answer.json()["id"] for answer in answers[:10]}) == 1
    assert await lines(staff) - before == 11


async def test_of_different_requests_at_once_under_one_key_one_is_done(staff: StaffWorld) -> None:
    browser, before = await staff.browser(), await lines(staff)

    answers = await asyncio.gather(
        *(browser.post("orders", order(staff, f"W-{number}"), Idempotency_Key=KEY) for number in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    assert await lines(staff) - before == 1


@pytest.mark.parametrize(
    ("path", "changes"), [("orders", {"number": "W-2"}), ("orders", {"phone": "1"}), ("warehouses", {"name": "South"})]
)
async def test_another_request_under_the_key_is_said_to_be_another(
    staff: StaffWorld, path: str, changes: dict[str, Any]
) -> None:
    browser = await staff.browser()
    await browser.post("orders", order(staff), Idempotency_Key=KEY)

    said = changes if path == "warehouses" else order(staff) | changes
    answer = await browser.post(path, said, Idempotency_Key=KEY)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_is_one_persons_in_one_town(staff: StaffWorld) -> None:
    both = await staff.account((staff.here, "admin"), (staff.there, "admin"))
    one, other = await staff.browser(), await staff.browser()
    other.email = both
    await other.sign_in()

    made = [
        (await browser.post(f"/v1/towns/{town.id}/warehouses", {"name": "South"}, Idempotency_Key=KEY)).json()["id"]
        for browser, town in ((one, staff.here), (other, staff.here), (other, staff.there))
    ]

    assert len(set(made)) == 3


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "a b", "ä"])
async def test_what_cannot_be_a_key_is_said(staff: StaffWorld, key: str) -> None:
    browser = await staff.browser()

    answer = await staff.world.client.post(
        f"/v1/towns/{staff.here.id}/warehouses",
        content=b'{"name":"South"}',
        headers=[
            (b"Content-Type", b"application/json"),
            (b"Cookie", f"__Host-tallystick={browser.cookie}".encode()),
            (b"X-CSRF-Token", browser.csrf.encode()),
            (b"Idempotency-Key", key.encode()),
        ],
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


async def test_a_second_key_is_one_too_many(staff: StaffWorld) -> None:
    browser = await staff.browser()
    headers = [(b"Cookie", f"__Host-tallystick={browser.cookie}".encode()), (b"X-CSRF-Token", browser.csrf.encode())]
    keys = [(b"Idempotency-Key", b"a"), (b"Idempotency-Key", b"a"), (b"Content-Type", b"application/json")]

    answer = await staff.world.client.post(
        f"/v1/towns/{staff.here.id}/warehouses", content=b'{"name":"South"}', headers=[*headers, *keys]
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


async def test_the_key_is_kept_in_the_transaction_of_the_change_or_not_at_all(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, before = await staff.browser(), await lines(staff)
    real = type(staff.world.system).reached

    def cut(system: Any, failpoint: str) -> None:
        real(system, failpoint)
        if failpoint == "apply.before_commit":
            raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(type(staff.world.system), "reached", cut)
        lost = await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)
    kept = await staff.stored("SELECT * FROM idempotency", staff.here)
    again = await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)

    assert (lost.status_code, kept, again.status_code) == (503, [], 201)
    assert await lines(staff) - before == 1


async def test_a_request_whose_answer_was_lost_after_the_commit_is_done_once(
    staff: StaffWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, before = await staff.browser(), await lines(staff)

    def cut(_system: Any, failpoint: str) -> None:
        if failpoint == "apply.after_commit":
            raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(type(staff.world.system), "reached", cut)
        lost = await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)
    again = await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)

    assert (lost.status_code, again.status_code) == (503, 201)
    assert await lines(staff) - before == 1


@dataclass
class ForgetParts:
    """What the job is given."""

    staff: StaffWorld
    listings: Listings

    def __post_init__(self) -> None:
        self.enrolments = self.staff.world.parts.enrolments
        self.people = self.staff.people
        self.system = self.staff.world.system
        self.requests = PostgresRequests(self.listings._pool)  # type: ignore[attr-defined]
        self.agenda = PostgresAgenda(self.listings._pool)  # type: ignore[attr-defined]
        self.papers = PostgresPapers(self.listings._pool)  # type: ignore[attr-defined]
        self.inbox = MemoryInbox()


async def test_what_is_older_than_a_week_is_forgotten_and_making_it_again_is_refused(staff: StaffWorld) -> None:
    parts = ForgetParts(staff, staff.door.listings)
    browser = await staff.browser()
    await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)
    staff.world.system.advance(KEPT_SECONDS)
    await forget(parts)
    kept = await staff.stored("SELECT key FROM idempotency", staff.here)
    staff.world.system.advance(1)
    await forget(parts)
    await browser.sign_in()

    again = await browser.post("warehouses", {"name": "South"}, Idempotency_Key=KEY)

    assert (kept, again.status_code, again.json()["code"]) == ([(KEY,)], 409, "engine.id_taken")


async def test_the_job_forgets_sessions_that_are_over_and_tries_that_do_not_count(staff: StaffWorld) -> None:
    parts = ForgetParts(staff, staff.door.listings)
    await forget(parts)
    browser = await staff.browser()
    await browser.sign_in("not the password")
    now = format_time(staff.world.system.now_ms())
    counts = (
        f"SELECT (SELECT count(*) FROM sessions WHERE proven_at = '{now}'), "
        f"(SELECT count(*) FROM sign_in_tries WHERE failed_at = '{now}')"
    )
    before = await staff.stored(counts)
    staff.world.system.advance(24 * 3600 + 1)

    await forget(parts)

    assert before[0][0] >= 1
    assert before[0][1] >= 2
    assert await staff.stored(counts) == [(0, 0)]
