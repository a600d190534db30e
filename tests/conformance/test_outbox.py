"""What every outbox and message store keeps to, in memory and in PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

import orjson
import pytest

from server.adapters.memory import MemorySystem
from server.adapters.memory_outbox import MemoryInbox, MemoryMessages, MemoryOutbox
from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, make_pool, town_transaction
from server.adapters.postgres.outbox import PostgresInbox, PostgresMessages, PostgresOutbox, PostgresWork
from server.application.callback_ports import Callback
from server.application.commands.work_off_outbox import (
    ATTEMPTS_MAX,
    LEASE_WORKED_SECONDS,
    NEVER,
    Handler,
    Hopeless,
    NotYet,
    WorkedOff,
    work_off_outbox,
)
from server.application.ports import Messages, Outbox, OutboxItem, Unavailable
from sync.kernel.changeset import Effect
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id

TOWN, OTHER_TOWN = derived_id("town", 1), derived_id("town", 2)
ORDER = derived_id("order", 1)
EIGHT, HALF_PAST, NINE, TEN = (f"2026-11-21T{clock}:00.000Z" for clock in ("08:00", "08:30", "09:00", "10:00"))


class Stage(Protocol):
    """An outbox and messages, and what the ports do not show of them."""

    @property
    def outbox(self) -> Outbox: ...

    @property
    def messages(self) -> Messages: ...

    async def add(self, town_id: str, effects: Iterable[Effect], due_at: str) -> None: ...

    async def state(self, item_id: str, town_id: str = TOWN) -> dict[str, Any]:
        """`due_at`, `attempts`, `done_at` and `problem` of an item."""
        ...

    async def told(self) -> list[tuple[str, str, str, str]]:
        """(id, order id, text, time) of every message of the town."""
        ...


class MemoryStage:
    def __init__(self) -> None:
        self.outbox: MemoryOutbox = MemoryOutbox()
        self.messages = MemoryMessages()

    async def add(self, town_id: str, effects: Iterable[Effect], due_at: str) -> None:
        self.outbox.add(town_id, effects, due_at)

    async def state(self, item_id: str, town_id: str = TOWN) -> dict[str, Any]:
        row = self.outbox.rows[town_id, item_id]
        return {"due_at": row.due_at, "attempts": row.attempts, "done_at": row.done_at, "problem": row.problem}

    async def told(self) -> list[tuple[str, str, str, str]]:
        return [(key[1], m.order_id, m.text, m.written_at) for key, m in self.messages.written.items()]


class MemoryInboxStage(MemoryStage):
    def __init__(self) -> None:
        super().__init__()
        self.outbox: MemoryInbox = MemoryInbox()

    async def add(self, town_id: str, effects: Iterable[Effect], due_at: str) -> None:
        for one in effects:
            await self.outbox.keep(callback(town_id, one, due_at))


class PostgresStage:
    def __init__(self, pool: Any) -> None:
        self.outbox: PostgresWork = PostgresOutbox(pool)
        self.messages = PostgresMessages(pool)
        self._pool = pool
        self._version = 0

    async def add(self, town_id: str, effects: Iterable[Effect], due_at: str) -> None:
        connection: Connection
        rows = [{"id": effect.id, "kind": effect.kind, "data": effect.data, "due_at": due_at} for effect in effects]
        self._version += 1
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(
                "INSERT INTO town_names (town_id, name) VALUES (%s, 'Ashford') ON CONFLICT DO NOTHING", [town_id]
            )
            values = {"town": town_id, "version": self._version, "rows": orjson.dumps(rows).decode()}
            await connection.execute(statements.INSERT_OUTBOX, values)

    async def state(self, item_id: str, town_id: str = TOWN) -> dict[str, Any]:
        names = ("due_at", "attempts", "done_at", "problem")
        async with town_transaction(self._pool, town_id) as connection:
            statement = f"SELECT {', '.join(names)} FROM {self.outbox.table} WHERE id = %s"
            cursor = await connection.execute(statement.encode(), [item_id])
            row = await cursor.fetchone()
        assert row is not None
        return dict(zip(names, row, strict=True))

    async def told(self) -> list[tuple[str, str, str, str]]:
        async with town_transaction(self._pool, TOWN) as connection:
            cursor = await connection.execute("SELECT id, order_id, text, written_at FROM messages")
            return await cursor.fetchall()


class PostgresInboxStage(PostgresStage):
    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.inbox = self.outbox = PostgresInbox(pool)

    async def add(self, town_id: str, effects: Iterable[Effect], due_at: str) -> None:
        await super().add(town_id, [], due_at)  # the town's name
        for one in effects:
            await self.inbox.keep(callback(town_id, one, due_at))


def callback(town_id: str, effect: Effect, received_at: str) -> Callback:
    return Callback(
        id=effect.id,
        town_id=town_id,
        kind=effect.kind,
        data=effect.data,
        received_at=received_at,
        method="PUT",
        content_type="text/plain",
        body=b"\x00\xff",
    )


@pytest.fixture(params=["memory", "postgres", "memory inbox", "postgres inbox"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    if request.param.startswith("memory"):
        yield MemoryInboxStage() if request.param == "memory inbox" else MemoryStage()
        return
    async with make_pool(request.getfixturevalue("migrated_database")) as pool:
        yield PostgresInboxStage(pool) if request.param == "postgres inbox" else PostgresStage(pool)


def effect(number: int, kind: str = "customer.notify", **data: Any) -> Effect:
    return Effect(id=derived_id("effect", number), kind=kind, data=data or {"order": ORDER, "text": f"text {number}"})


def item(number: int, attempts: int = 1, town_id: str = TOWN) -> OutboxItem:
    made = effect(number)
    return OutboxItem(id=made.id, town_id=town_id, kind=made.kind, data=made.data, attempts=attempts)


def system_at(time: str) -> MemorySystem:
    hour, minute = int(time[11:13]), int(time[14:16])
    system = MemorySystem()
    system.advance((hour - 8) * 3600 + minute * 60)
    assert format_time(system.now_ms()) == time
    return system


async def work_off(stage: Stage, system: MemorySystem, handler: Handler | None = None) -> WorkedOff:
    more = {"customer.notify": handler} if handler else None
    return await work_off_outbox(TOWN, outbox=stage.outbox, messages=stage.messages, system=system, more=more)


async def test_what_is_due_is_claimed_once(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == [item(1)]
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == []


async def test_what_is_not_due_yet_is_left(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], TEN)
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == []


async def test_a_claim_takes_the_longest_due_and_no_more_than_it_may(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], HALF_PAST)
    await stage.add(TOWN, [effect(2)], EIGHT)
    await stage.add(TOWN, [effect(3)], NINE)
    assert await stage.outbox.claim(TOWN, NINE, TEN, 2) == [item(2), item(1)]


async def test_a_lease_that_has_lapsed_is_claimed_again_and_counted(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, NINE, 10)
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == [item(1, attempts=2)]


async def test_two_claims_at_once_share_the_work(stage: Stage) -> None:
    await stage.add(TOWN, [effect(number) for number in range(8)], EIGHT)
    claims = await asyncio.gather(*(stage.outbox.claim(TOWN, NINE, TEN, 4) for _ in range(4)))
    claimed = [one.id for claim in claims for one in claim]
    assert len(claimed) == len(set(claimed))
    rest = await stage.outbox.claim(TOWN, NINE, TEN, 8)
    assert {*claimed, *(one.id for one in rest)} == {effect(number).id for number in range(8)}


async def test_a_claim_sees_its_own_town_only(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.add(OTHER_TOWN, [effect(2)], EIGHT)
    assert await stage.outbox.claim(OTHER_TOWN, NINE, TEN, 10) == [item(2, town_id=OTHER_TOWN)]


async def test_what_is_finished_is_never_due_again(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, HALF_PAST, 10)
    await stage.outbox.finish(TOWN, effect(1).id, HALF_PAST)
    assert await stage.outbox.claim(TOWN, TEN, NEVER, 10) == []
    assert await stage.state(effect(1).id) == {
        "due_at": HALF_PAST,
        "attempts": 1,
        "done_at": HALF_PAST,
        "problem": None,
    }


async def test_what_failed_is_due_when_it_was_said(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, HALF_PAST, 10)
    await stage.outbox.fail(TOWN, effect(1).id, "no answer", NINE)
    assert await stage.outbox.claim(TOWN, HALF_PAST, TEN, 10) == []
    assert (await stage.state(effect(1).id))["problem"] == "no answer"
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == [item(1, attempts=2)]


async def test_a_failure_that_is_not_counted_gives_the_attempt_back(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, HALF_PAST, 10)
    await stage.outbox.fail(TOWN, effect(1).id, "not known", NINE, is_counted=False)
    assert await stage.outbox.claim(TOWN, NINE, TEN, 10) == [item(1, attempts=1)]


async def test_a_late_failure_does_not_undo_what_another_has_finished(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, HALF_PAST, 10)
    await stage.outbox.finish(TOWN, effect(1).id, HALF_PAST)
    await stage.outbox.fail(TOWN, effect(1).id, "no answer", NINE)
    state = await stage.state(effect(1).id)
    assert (state["done_at"], state["problem"]) == (HALF_PAST, None)


async def test_the_towns_with_work_due_are_found_over_all_towns(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.add(OTHER_TOWN, [effect(2), effect(3)], EIGHT)
    await stage.add(derived_id("town", 3), [effect(4)], TEN)
    assert await stage.outbox.towns_due(NINE) == sorted([TOWN, OTHER_TOWN])
    await stage.outbox.claim(OTHER_TOWN, NINE, TEN, 10)
    assert await stage.outbox.towns_due(NINE) == [TOWN]


async def test_no_town_has_work_where_there_is_no_town(stage: Stage) -> None:
    assert await stage.outbox.towns_due(NINE) == []


async def test_the_first_message_with_an_id_stands(stage: Stage) -> None:
    message_id = derived_id("message", 1)
    await stage.messages.write(TOWN, message_id, ORDER, "cancelled", EIGHT)
    await stage.messages.write(TOWN, message_id, ORDER, "something else", NINE)
    assert await stage.told() == [(message_id, ORDER, "cancelled", EIGHT)]


async def test_work_is_done_and_finished(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=1, failed=0)
    assert await stage.told() == [(effect(1).id, ORDER, "text 1", NINE)]
    assert (await stage.state(effect(1).id))["done_at"] == NINE


async def test_work_is_done_in_as_many_claims_as_it_takes(stage: Stage) -> None:
    await stage.add(TOWN, [effect(number) for number in range(120)], EIGHT)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=120, failed=0)
    assert len(await stage.told()) == 120


async def test_work_of_an_unknown_kind_waits_for_a_release_that_knows_it(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1, kind="fax.send")], EIGHT)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=0, failed=1)
    assert await stage.state(effect(1).id) == {
        "due_at": TEN,
        "attempts": 0,
        "done_at": None,
        "problem": "this release does not know work of the kind 'fax.send'",
    }


async def test_bad_work_harms_no_other(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1, order=ORDER), effect(2)], EIGHT)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=1, failed=1)
    assert (await stage.state(effect(1).id))["problem"] == "KeyError: 'text'"


async def test_a_failure_waits_twice_as_long_each_time(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1, order=ORDER)], EIGHT)
    system, waits = system_at(NINE), []
    for _ in range(3):
        before = system.now_ms()
        await work_off(stage, system)
        while (await stage.state(effect(1).id))["due_at"] > format_time(system.now_ms()):
            system.advance(1)
        waits.append((system.now_ms() - before) // 1000)
    assert waits == [5, 10, 20]


async def test_what_fails_too_often_stays_with_its_problem(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1, order=ORDER)], EIGHT)
    system = system_at(NINE)
    for _ in range(ATTEMPTS_MAX):
        assert await work_off(stage, system) == WorkedOff(done=0, failed=1)
        system.advance(3600)
    assert await work_off(stage, system) == WorkedOff(done=0, failed=0)
    assert await stage.state(effect(1).id) == {
        "due_at": NEVER,
        "attempts": ATTEMPTS_MAX,
        "done_at": None,
        "problem": "KeyError: 'text'",
    }


async def test_work_that_ends_every_worker_is_given_up(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    for _ in range(ATTEMPTS_MAX):
        await stage.outbox.claim(TOWN, EIGHT, EIGHT, 10)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=0, failed=1)
    state = await stage.state(effect(1).id)
    assert (state["due_at"], state["done_at"]) == (NEVER, None)
    assert await stage.told() == []


async def test_a_worker_that_died_after_the_effect_leaves_one_message(stage: Stage) -> None:
    await stage.add(TOWN, [effect(1)], EIGHT)
    await stage.outbox.claim(TOWN, EIGHT, NINE, 10)
    await stage.messages.write(TOWN, effect(1).id, ORDER, "text 1", EIGHT)
    assert await work_off(stage, system_at(NINE)) == WorkedOff(done=1, failed=0)
    assert await stage.told() == [(effect(1).id, ORDER, "text 1", EIGHT)]


async def test_work_that_waits_for_somebody_is_due_later_and_has_used_up_no_attempt(stage: Stage) -> None:
    async def wait(_item: OutboxItem, _messages: Messages, _at: str) -> None:
        raise NotYet(3600)

    await stage.add(TOWN, [effect(1)], EIGHT)
    assert await work_off(stage, system_at(NINE), wait) == WorkedOff(done=0, failed=0)
    assert await stage.state(effect(1).id) == {"due_at": TEN, "attempts": 0, "done_at": None, "problem": None}


async def test_what_needs_something_that_is_away_is_never_given_up(stage: Stage) -> None:
    system, asked = system_at(NINE), []

    async def ask(_item: OutboxItem, _messages: Messages, _at: str) -> None:
        asked.append(1)
        if len(asked) <= ATTEMPTS_MAX + 5:
            raise Unavailable("the provider does not answer")

    await stage.add(TOWN, [effect(1)], EIGHT)
    for _ in range(ATTEMPTS_MAX + 5):
        assert await work_off(stage, system, ask) == WorkedOff(done=0, failed=1)
        assert (await stage.state(effect(1).id))["problem"] == "unavailable: the provider does not answer"
        system.advance(3600)
    assert await work_off(stage, system, ask) == WorkedOff(done=1, failed=0)


async def test_work_that_is_hopeless_is_given_up_at_once_with_its_problem(stage: Stage) -> None:
    async def despair(_item: OutboxItem, _messages: Messages, _at: str) -> None:
        raise Hopeless("nobody can do this")

    await stage.add(TOWN, [effect(1)], EIGHT)
    assert await work_off(stage, system_at(NINE), despair) == WorkedOff(done=0, failed=1)
    state = await stage.state(effect(1).id)
    assert (state["due_at"], state["problem"]) == (NEVER, "hopeless: nobody can do this")


async def test_what_a_lease_is_too_short_for_is_begun_again_under_a_new_one(stage: Stage) -> None:
    system, leases = system_at(NINE), []

    async def dawdle(item: OutboxItem, _messages: Messages, _at: str) -> None:
        leases.append((await stage.state(item.id))["due_at"])
        system.advance(LEASE_WORKED_SECONDS + 1)

    await stage.add(TOWN, [effect(1), effect(2)], EIGHT)
    assert await work_off(stage, system, dawdle) == WorkedOff(done=2, failed=0)
    assert len(set(leases)) == 2
    assert [(await stage.state(effect(number).id))["attempts"] for number in (1, 2)] == [1, 1]
