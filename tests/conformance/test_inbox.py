"""What every inbox keeps to, beyond what it keeps to as work: the same again, and too much of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from server.adapters import memory_outbox
from server.adapters.memory_outbox import MemoryInbox
from server.adapters.postgres import outbox as postgres_outbox
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.outbox import PostgresInbox
from server.application.callback_ports import Callback, Inbox
from sync.kernel.errors import LimitExceeded
from sync.kernel.ids import derived_id

TOWN, OTHER_TOWN = derived_id("town", 1), derived_id("town", 2)
EIGHT, NINE, TEN = (f"2026-11-21T{clock}:00:00.000Z" for clock in ("08", "09", "10"))
CALLBACK = Callback(
    id=derived_id("callback", 1),
    town_id=TOWN,
    kind="momo.callback",
    data={"payment": derived_id("payment", 1)},
    received_at=EIGHT,
    method="PUT",
    content_type="",
    body=b"\x00\xff",
)


@pytest.fixture(params=["memory", "postgres"])
async def inbox(request: pytest.FixtureRequest) -> AsyncIterator[Inbox]:
    if request.param == "memory":
        yield MemoryInbox()
        return
    async with make_pool(request.getfixturevalue("migrated_database")) as pool:
        yield PostgresInbox(pool)


async def test_the_same_again_while_it_waits_is_one_piece_of_work(inbox: Inbox) -> None:
    await inbox.keep(CALLBACK)
    await inbox.keep(replace(CALLBACK, received_at=NINE))

    assert [item.id for item in await inbox.claim(TOWN, NINE, TEN, 10)] == [CALLBACK.id]


async def test_the_same_again_after_it_was_done_is_looked_at_again(inbox: Inbox) -> None:
    await inbox.keep(CALLBACK)
    (item,) = await inbox.claim(TOWN, EIGHT, NINE, 10)
    await inbox.finish(TOWN, item.id, EIGHT)

    await inbox.keep(replace(CALLBACK, received_at=NINE))

    (again,) = await inbox.claim(TOWN, NINE, TEN, 10)
    assert (again.id, again.attempts, again.data) == (item.id, 1, CALLBACK.data)


async def test_so_much_is_kept_of_a_town_and_no_more(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory_outbox, postgres_outbox):
        monkeypatch.setattr(module, "CALLBACKS_WAITING_MAX", 2)
    for number in range(2):
        await inbox.keep(replace(CALLBACK, id=derived_id("callback", number)))

    with pytest.raises(LimitExceeded):
        await inbox.keep(replace(CALLBACK, id=derived_id("callback", 9)))
    await inbox.keep(replace(CALLBACK, id=derived_id("callback", 9), town_id=OTHER_TOWN))

    assert len(await inbox.claim(TOWN, NINE, TEN, 10)) == 2


async def test_another_body_under_an_id_changes_nothing_and_is_told(inbox: Inbox) -> None:
    assert await inbox.keep(CALLBACK)
    (item,) = await inbox.claim(TOWN, EIGHT, NINE, 10)
    await inbox.finish(TOWN, item.id, EIGHT)

    assert not await inbox.keep(replace(CALLBACK, received_at=NINE, body=b"another"))

    assert await inbox.claim(TOWN, NINE, TEN, 10) == []
    assert await inbox.keep(CALLBACK)


async def test_what_was_looked_at_is_forgotten_after_a_time_and_what_waits_is_not() -> None:
    inbox = MemoryInbox()  # the other is in `tests/server/test_job_kills.py`, with towns that are there
    for number in range(2):
        await inbox.keep(replace(CALLBACK, id=derived_id("callback", number)))
    await inbox.finish(TOWN, CALLBACK.id, NINE)

    assert (await inbox.forget(NINE), await inbox.forget(TEN)) == (0, 1)
    assert [item.id for item in await inbox.claim(TOWN, TEN, TEN, 10)] == [derived_id("callback", 0)]
