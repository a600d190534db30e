"""The door for providers that call by themselves: kept raw, answered at once, opened by a secret in the path."""

from __future__ import annotations

from typing import Any

import pytest

from server.adapters.memory import SilentBell
from server.adapters.memory_outbox import MemoryInbox
from server.api.parts import CallbackDoor
from server.api.webhooks import CALLBACK_BYTES_MAX
from server.application.callback_ports import Callback
from server.domain.payments import callback_path
from server.domain.tracking import tracking_code
from sync.kernel.ids import derived_id
from tests.support.api_world import api_world

SECRET = bytes(range(32))
PAYMENT = derived_id("payment", 1)
BODY = b'{"amount":"150","currency":"EUR","status":"SUCCESSFUL","financialTransactionId":"100000001"}'


class Slow(MemoryInbox):
    """An inbox whose database does not answer."""

    async def keep(self, callback: Callback) -> bool:
        raise TimeoutError(callback)


class Door:
    """The edge, with an inbox and a bell that a test looks into."""

    def __init__(self, world: Any, inbox: MemoryInbox, bell: SilentBell) -> None:
        self.world, self.inbox, self.bell = world, inbox, bell

    def path(self, secret: bytes = SECRET, town: str = "", payment: str = PAYMENT) -> str:
        town_id = self.world.town_id
        return callback_path(town or town_id, tracking_code(secret, town_id, payment))

    async def call(self, method: str = "PUT", path: str = "", body: bytes = BODY, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.world.client.request(method, path or self.path(), content=body, headers=named)
        return int(answer.status_code)


@pytest.fixture
async def door(migrated_database: str) -> Any:
    inbox, bell = MemoryInbox(), SilentBell()
    callbacks = CallbackDoor(inbox=inbox, bell=bell, secrets=(bytes(32), SECRET))
    async with api_world(migrated_database, callbacks=callbacks) as world:
        yield Door(world, inbox, bell)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_what_comes_is_kept_as_it_came_and_somebody_is_rung_for(door: Door, method: str) -> None:
    assert await door.call(method, content_type="text/plain") == 200

    ((key, kept),) = door.inbox.kept.items()
    assert key == (door.world.town_id, kept.id)
    assert (kept.method, kept.content_type, kept.body) == (method, "text/plain", BODY)
    assert (kept.kind, kept.data) == ("momo.callback", {"payment": PAYMENT})
    assert door.bell.rung == [door.world.town_id]


async def test_the_same_again_is_kept_once_and_answered_alike(door: Door) -> None:
    assert [await door.call(method) for method in ("PUT", "PUT", "POST")] == [200, 200, 200]
    assert await door.call(body=b"{}") == 200

    assert [kept.body for kept in door.inbox.kept.values()] == [BODY, b"{}"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\x00", b'{"status":"SUCCESSFUL"'])
async def test_whatever_comes_is_a_hint_and_is_kept(door: Door, body: bytes) -> None:
    assert await door.call(body=body) == 200
    assert [kept.body for kept in door.inbox.kept.values()] == [body]


async def test_without_the_secret_there_is_no_such_door(door: Door) -> None:
    code = door.path().rpartition("/")[2]
    wrong = [
        door.path(bytes([9]) * 32),
        door.path(town=derived_id("town", 2)),
        callback_path(door.world.town_id, tracking_code(SECRET, derived_id("town", 2), PAYMENT)),
        callback_path(door.world.town_id, "x"),
        callback_path(door.world.town_id, "A" + code[1:] if not code.startswith("A") else "B" + code[1:]),
        callback_path("nowhere", code),
    ]

    assert {await door.call(path=path) for path in wrong} == {404}
    assert (door.inbox.kept, door.bell.rung) == ({}, [])


async def test_too_much_is_not_taken(door: Door) -> None:
    assert await door.call(body=b"x" * (CALLBACK_BYTES_MAX + 1)) == 413
    assert door.inbox.kept == {}


async def test_a_callback_that_cannot_be_kept_in_time_is_not_said_to_be(migrated_database: str) -> None:
    callbacks = CallbackDoor(inbox=Slow(), bell=SilentBell(), secrets=(SECRET,))
    async with api_world(migrated_database, callbacks=callbacks) as world:
        door = Door(world, MemoryInbox(), SilentBell())

        assert await door.call() == 503
