"""The door of the provider of cards: signed, kept raw before it is answered, and each kind of wrong told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from server.adapters.memory import SilentBell
from server.adapters.memory_outbox import MemoryInbox
from server.api.parts import CallbackDoor
from server.domain.webhooks import SIGNATURE_HEADER, signed_header
from sync.kernel.ids import derived_id
from tests.support.api_world import ApiWorld, api_world

OLD, NEW = b"an old secret of ours", b"a new secret of ours"
PAYMENT = derived_id("payment", 1)


class Door:
    """The edge, with an inbox and a bell that a test looks into."""

    def __init__(self, world: ApiWorld, inbox: MemoryInbox, bell: SilentBell) -> None:
        self.world, self.inbox, self.bell = world, inbox, bell

    def event(self, status: str = "succeeded", event: str = "evt_1", town: str = "", **metadata: str) -> bytes:
        named = {"town": town or self.world.town_id, "payment": PAYMENT, **metadata}
        return orjson.dumps({"id": event, "type": f"payment.{status}", "data": {"status": status, "metadata": named}})

    async def call(
        self, body: bytes, *, secret: bytes = NEW, age_seconds: int = 0, header: str | None = None
    ) -> tuple[int, str]:
        at_seconds = self.world.system.now_ms() // 1000 - age_seconds
        signed = signed_header([secret], at_seconds, body) if header is None else header
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: signed}
        answer = await self.world.client.post("/v1/webhooks/card", content=body, headers=headers)
        return answer.status_code, answer.json()["code"] if answer.content else ""

    def kept(self) -> list[tuple[str, bytes]]:
        return [(kept.kind, kept.body) for kept in self.inbox.kept.values()]


@pytest.fixture
async def door(migrated_database: str) -> AsyncIterator[Door]:
    inbox, bell = MemoryInbox(), SilentBell()
    callbacks = CallbackDoor(inbox=inbox, bell=bell, secrets=(bytes(32),), card_secrets=(NEW, OLD))
    async with api_world(migrated_database, callbacks=callbacks) as world:
        yield Door(world, inbox, bell)


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_what_is_signed_with_a_secret_of_ours_is_kept_as_it_came(door: Door, secret: bytes) -> None:
    body = door.event() + b"\n "

    assert await door.call(body, secret=secret) == (200, "")

    (kept,) = door.inbox.kept.values()
    assert (kept.town_id, kept.kind, kept.body) == (door.world.town_id, "card.callback", body)
    assert kept.data == {"payment": PAYMENT, "event": "evt_1"}
    assert door.bell.rung == [door.world.town_id]


async def test_what_is_forged_stale_or_changed_is_told_apart_and_not_kept(door: Door) -> None:
    body = door.event()
    good = signed_header([NEW], door.world.system.now_ms() // 1000, body)

    assert await door.call(body, secret=b"a secret of somebody") == (401, "webhook_forged")
    assert await door.call(door.event("failed"), header=good) == (401, "webhook_forged")
    assert await door.call(body, header="") == (401, "webhook_forged")
    assert await door.call(body, age_seconds=301) == (401, "webhook_stale")
    assert await door.call(body, age_seconds=-302) == (401, "webhook_stale")
    assert (door.kept(), door.bell.rung) == ([], [])


async def test_the_same_again_is_kept_once(door: Door) -> None:
    assert [await door.call(door.event(), age_seconds=age) for age in (200, 0)] == [(200, ""), (200, "")]

    assert door.kept() == [("card.callback", door.event())]


async def test_another_body_under_the_same_number_is_kept_beside_it_for_a_person(door: Door) -> None:
    await door.call(door.event("succeeded"))

    assert await door.call(door.event("failed")) == (200, "")

    assert door.kept() == [("card.callback", door.event("succeeded")), ("card.altered", door.event("failed"))]


async def test_what_is_about_no_town_of_ours_is_foreign(door: Door) -> None:
    for body in (
        door.event(town=derived_id("nowhere")),
        door.event(town="nowhere"),
        door.event(payment="none"),
        orjson.dumps({"id": "evt_1", "type": "payout.paid", "data": {}}),
        orjson.dumps({"id": "evt_1", "data": {"metadata": []}}),
    ):
        assert await door.call(body) == (404, "webhook_foreign")
    assert door.kept() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id": 7}', b'{"id": ""}', b"\xff"])
async def test_what_is_signed_and_no_event_is_malformed(door: Door, body: bytes) -> None:
    assert await door.call(body) == (400, "malformed")


async def test_a_body_without_an_end_is_refused_before_it_is_looked_at(door: Door) -> None:
    assert await door.call(b"x" * 20_000) == (413, "limit_exceeded")
