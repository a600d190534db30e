"""Reminders leave by themselves: once, by day, as long as they are so; what does not get through is seen and re-run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.adapters.memory import MemorySystem
from server.adapters.postgres.outbox import PostgresJobs
from server.adapters.reminder_sandbox import GatewayFault, ReminderSandbox
from server.application.commands.work_off_outbox import ATTEMPTS_MAX, BACKOFF_SECONDS_MAX
from server.application.reminder_ports import Reminder
from server.cli.app import whole_app
from server.jobs.forget import AGENDA_SECONDS
from server.jobs.reminders import PERIOD_SECONDS
from sync.kernel.clock import format_time
from sync.modules.billing import CancelInvoice
from tests.support.debts import DAY_SECONDS, PHONE, Debt, debt_in, gateway_at, owe

FOR_EVER: tuple[GatewayFault, ...] = ("500",) * 100
NOBODY = "redis://127.0.0.1:1/0"


@dataclass(kw_only=True)
class Sent:
    """Somebody who owes, and the gateway that their reminders go to."""

    debt: Debt
    sandbox: ReminderSandbox
    environment: dict[str, str]

    async def list_as_json(self) -> Any:
        """What the command line says; a command has an event loop of its own, so it gets a thread."""
        words = ["reminders", "list", "--town", self.debt.town.id, "--json"]
        done = await asyncio.to_thread(CliRunner().invoke, whole_app(), words, env=self.environment)
        return json.loads(done.stdout)


@pytest.fixture
async def sent(migrated_database: str, tmp_path: Path) -> AsyncIterator[Sent]:
    system = MemorySystem()
    environment = {"DATABASE_URL": migrated_database, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(tmp_path)}
    async with (
        gateway_at(system) as (gateway, sandbox, _),
        debt_in(migrated_database, gateway=gateway, system=system) as debt,
    ):
        yield Sent(debt=debt, sandbox=sandbox, environment=environment)


async def test_a_reminder_leaves_once_and_says_when(sent: Sent) -> None:
    debt = sent.debt
    await debt.remind(DAY_SECONDS)
    assert (await debt.fates(), debt.bell.rung) == ([("waiting", "")], [debt.town.id])

    for _ in range(3):
        await debt.work()
    await debt.remind(3600)

    (told,) = await debt.told()
    assert (told.fate, told.at) == ("sent", format_time(debt.system.now_ms() - 3_600_000))
    assert sent.sandbox.posts == [told.reminder.id]
    assert sent.sandbox.taken[told.reminder.id]["text"] == told.reminder.text
    assert debt.bell.rung == [debt.town.id]


async def test_each_time_has_an_id_of_its_own(sent: Sent) -> None:
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()
    await sent.debt.remind(PERIOD_SECONDS)
    await sent.debt.work()

    assert [said["number"] for said in sent.sandbox.taken.values()] == [1, 2]


async def test_what_was_paid_before_it_left_is_not_sent(sent: Sent) -> None:
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.pay("30.00")
    await sent.debt.work()

    assert await sent.debt.fates() == [("not_needed", "the invoice is PAID")]
    assert not sent.sandbox.posts


async def test_what_was_paid_in_part_before_it_left_is_not_sent_with_the_old_sum(sent: Sent) -> None:
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.pay("12.00")
    await sent.debt.work()

    assert await sent.debt.fates() == [("not_needed", "what is owed has changed since")]
    assert not sent.sandbox.posts


async def test_what_was_cancelled_while_the_gateway_was_away_is_not_sent(sent: Sent) -> None:
    sent.sandbox.have("500")
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()
    await sent.debt.town.author(CancelInvoice(invoice=sent.debt.invoice, reason="asked for"))
    await sent.debt.work(60)

    assert await sent.debt.fates() == [("not_needed", "the invoice is CANCELLED")]
    assert len(sent.sandbox.posts) == 1


async def test_a_reminder_that_is_written_at_midnight_leaves_in_the_morning(sent: Sent) -> None:
    debt = sent.debt
    debt.system.unix_ms += DAY_SECONDS * 1000 - debt.system.unix_ms % (DAY_SECONDS * 1000)  # London is on UTC
    await debt.remind()
    await debt.work()
    await debt.work(7.9 * 3600)
    assert (await debt.fates(), sent.sandbox.posts) == ([("waiting", "")], [])

    await debt.work(0.1 * 3600)

    assert await debt.fates() == [("sent", "")]


async def test_a_gateway_that_is_away_is_asked_again_and_the_reminder_leaves(sent: Sent) -> None:
    sent.sandbox.have("500", "408", "302")
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()
    assert await sent.debt.fates() == [
        ("failing", "gateway_unavailable: the gateway of text messages does not answer (HTTP 500)")
    ]

    for _ in range(3):
        await sent.debt.work(60)

    assert await sent.debt.fates() == [("sent", "")]
    assert len(sent.sandbox.posts) == 4
    assert len(set(sent.sandbox.posts)) == 1


async def test_what_was_not_begun_when_a_worker_has_no_more_time_has_used_up_no_attempt(sent: Sent) -> None:
    debt, is_begun = sent.debt, asyncio.Event()

    class Hanging:
        async def send(self, _town_id: str, _reminder: Reminder) -> None:
            is_begun.set()
            await asyncio.Event().wait()

    await owe(debt.town, "Ada")
    await debt.remind(DAY_SECONDS)
    debt.town.reminder_desk = replace(debt.town.reminder_desk, gateway=Hanging())
    working = asyncio.create_task(debt.work())
    await is_begun.wait()
    working.cancel()
    await asyncio.wait([working])

    left = await PostgresJobs(debt.town.pool).undone(debt.town.id, 10)
    now = format_time(debt.system.now_ms())
    assert [(job.attempts, job.due_at == now) for job in left] == [(0, True), (1, False)]


async def test_a_gateway_that_stays_away_leaves_dead_letters_that_somebody_has_run_again(sent: Sent) -> None:
    debt, jobs = sent.debt, PostgresJobs(sent.debt.town.pool)
    sent.sandbox.have(*FOR_EVER)
    await debt.remind(DAY_SECONDS)
    for _ in range(3 * ATTEMPTS_MAX):  # the nights between them are waited for
        await debt.work(BACKOFF_SECONDS_MAX)
    (dead,) = await jobs.undone(debt.town.id, 10)
    assert (dead.id, dead.kind, dead.is_dead) == ((await debt.told())[0].reminder.id, "reminder.send", True)
    assert await debt.fates() == [("failed", dead.problem)]
    assert len(sent.sandbox.posts) == ATTEMPTS_MAX

    sent.sandbox.have()
    assert await jobs.retry(debt.town.id, dead.id, format_time(debt.system.now_ms()))
    for _ in range(24):
        await debt.work(3600)

    assert await debt.fates() == [("sent", "")]


async def test_what_the_gateway_refuses_is_a_dead_letter_at_once(sent: Sent) -> None:
    sent.sandbox.have("400")
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()

    why = "gateway_refused: the gateway of text messages answered HTTP 400: no_such_number"
    assert await sent.debt.fates() == [("failed", why)]
    (dead,) = await PostgresJobs(sent.debt.town.pool).undone(sent.debt.town.id, 10)
    assert (dead.is_dead, dead.problem) == (True, why)


async def test_one_that_was_given_up_is_not_sent_after_a_later_one(sent: Sent) -> None:
    debt, jobs = sent.debt, PostgresJobs(sent.debt.town.pool)
    sent.sandbox.have("400")
    await debt.remind(DAY_SECONDS)
    await debt.work()
    (dead,) = await jobs.undone(debt.town.id, 10)
    await debt.remind(PERIOD_SECONDS)
    assert await jobs.retry(debt.town.id, dead.id, format_time(debt.system.now_ms()))
    await debt.work()

    assert await debt.fates() == [("sent", ""), ("not_needed", "a later one was written")]


async def test_who_has_no_telephone_is_never_sent_anything_and_it_says_so(sent: Sent) -> None:
    await owe(sent.debt.town, "Ada", " ")
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()

    assert sorted(await sent.debt.fates()) == [("no_telephone", ""), ("sent", "")]
    assert [said["to"] for said in sent.sandbox.taken.values()] == [PHONE]


async def test_what_became_of_it_is_known_when_the_work_is_forgotten(sent: Sent) -> None:
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()
    assert await sent.debt.town.agenda.forget(format_time(sent.debt.system.now_ms() + AGENDA_SECONDS * 1000)) == 1

    await sent.debt.remind()

    assert await sent.debt.fates() == [("sent", "")]


async def test_the_command_line_lists_what_became_of_each(sent: Sent) -> None:
    sent.sandbox.have("400")
    await sent.debt.remind(DAY_SECONDS)
    await sent.debt.work()

    (told,) = await sent.debt.told()
    (said,) = await sent.list_as_json()

    assert (said["id"], said["phone"], said["number"]) == (told.reminder.id, PHONE, 1)
    assert (said["state"], said["at"], said["why"]) == ("failed", None, told.why)
