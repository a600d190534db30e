"""Who owes for something whose day is over is told so the day after, then every two weeks, three times in all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from server.adapters.postgres.reminders import PostgresReminders
from server.application.ports import WriteRejected
from server.application.reminder_ports import Overdue
from server.jobs.reminders import PERIOD_SECONDS, REMINDERS_MAX
from sync.kernel.clock import format_time
from tests.support.debts import DAY_SECONDS, PHONE, Debt, debt_in, reminder
from tests.support.write_path import stored


@pytest.fixture
async def debt(migrated_database: str) -> AsyncIterator[Debt]:
    async with debt_in(migrated_database) as debt:
        yield debt


async def test_nobody_is_told_before_the_day_is_over(debt: Debt) -> None:
    assert [await debt.remind(), await debt.remind(DAY_SECONDS)] == [0, 1]


async def test_a_reminder_says_what_is_left_to_pay(debt: Debt) -> None:
    await debt.pay("12.00")
    await debt.remind(DAY_SECONDS)

    [told] = await debt.told()

    due = (await stored(debt.town, "SELECT due_on FROM invoices WHERE due_on IS NOT NULL"))[0][0]
    assert (told.reminder.number, told.reminder.phone) == (1, PHONE)
    assert told.reminder.text == f"Zoë: 18.00 GBP for Rent were due on {due}."


async def test_once_in_a_period_and_so_often_and_no_more(debt: Debt) -> None:
    counts = [await debt.remind(DAY_SECONDS), await debt.remind(PERIOD_SECONDS - 1), await debt.remind(1)]
    counts += [await debt.remind(PERIOD_SECONDS) for _ in range(3)]

    assert counts == [1, 1, 2, REMINDERS_MAX, REMINDERS_MAX, REMINDERS_MAX]


async def test_two_schedulers_at_once_write_it_once(debt: Debt) -> None:
    debt.system.advance(DAY_SECONDS)
    now = format_time(debt.system.now_ms())
    due = await debt.reminders.due(debt.town.id, now, told_before=now, most=3, rows_max=10)
    assert (len(due), await debt.remind()) == (1, 1)

    class Before(PostgresReminders):
        async def due(self, *_: Any, **__: Any) -> Sequence[Overdue]:
            """What the other one saw before this one wrote."""
            return due

    debt.reminder_desk = replace(debt.reminder_desk, reminders=Before(debt.town.pool))

    assert await debt.remind(1) == 1


async def test_what_is_written_already_is_not_put_on_the_agenda_later(debt: Debt) -> None:
    await debt.remind(DAY_SECONDS)
    written = [told.reminder for told in await debt.told()]

    assert await debt.reminders.write(debt.town.id, written, {written[0].id: 3000}) == 0
    assert await stored(debt.town, "SELECT count(*) FROM agenda") == [(0,)]


async def test_a_row_and_its_work_are_written_together_or_not_at_all(debt: Debt) -> None:
    good, bad = reminder(1), replace(reminder(2), invoice_id="none")
    with pytest.raises(WriteRejected):
        await debt.reminders.write(debt.town.id, [good, bad], {good.id: 3000, bad.id: 3000})

    assert (await debt.told(), await stored(debt.town, "SELECT count(*) FROM agenda")) == ([], [(0,)])


async def test_who_has_paid_is_not_told(debt: Debt) -> None:
    await debt.pay("30.00")

    assert await debt.remind(DAY_SECONDS) == 0


async def test_without_a_gateway_a_reminder_is_a_row_and_nothing_more(debt: Debt) -> None:
    await debt.remind(DAY_SECONDS)
    await debt.work()

    assert await debt.fates() == [("written", "")]
    assert (debt.bell.rung, await stored(debt.town, "SELECT count(*) FROM agenda")) == ([], [(0,)])
