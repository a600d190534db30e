"""Who owes for something whose day is over is told so the day after, then every two weeks, three times in all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from server.adapters.postgres.reminders import PostgresReminders
from server.jobs.reminders import PERIOD_SECONDS, REMINDERS_MAX, write_reminders
from sync.kernel.clock import format_time
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty, TakePayment
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import stored

DAY_SECONDS = 24 * 3600


@dataclass(kw_only=True)
class Debt:
    """A town and an invoice over 30.00 that is due today."""

    town: RealTown
    invoice: str

    def __post_init__(self) -> None:
        self.towns, self.system = self.town.towns, self.town.system
        self.reminders = PostgresReminders(self.town.pool)

    async def remind(self, after_seconds: float = 0) -> int:
        """How many there are, so much later and after another run."""
        self.system.advance(after_seconds)
        await write_reminders(self)
        return len(await self.reminders.written(self.town.id, 100))


@pytest.fixture
async def debt(migrated_database: str) -> AsyncIterator[Debt]:
    async with real_town(migrated_database) as town:
        party, invoice = town.new_id(), town.new_id()
        await town.author(RegisterParty(id=party, name="Zoë", phone="447624100017"))
        lines = [InvoiceLine(text="rent", amount="30.00")]
        today = format_time(town.system.now_ms())[:10]
        await town.author(
            IssueInvoice(id=invoice, party=party, title="Rent", lines=lines, currency="GBP", due_on=today)
        )
        yield Debt(town=town, invoice=invoice)


async def test_nobody_is_told_before_the_day_is_over(debt: Debt) -> None:
    assert [await debt.remind(), await debt.remind(DAY_SECONDS)] == [0, 1]


async def test_a_reminder_says_what_is_left_to_pay(debt: Debt) -> None:
    await debt.town.author(TakePayment(id=debt.town.new_id(), invoice=debt.invoice, amount="12.00", currency="GBP"))
    await debt.remind(DAY_SECONDS)

    [told] = await debt.reminders.written(debt.town.id, 10)

    due = (await stored(debt.town, "SELECT due_on FROM invoices WHERE due_on IS NOT NULL"))[0][0]
    assert (told.number, told.phone) == (1, "447624100017")
    assert told.text == f"Zoë: 18.00 GBP for Rent were due on {due}."


async def test_once_in_a_period_and_so_often_and_no_more(debt: Debt) -> None:
    counts = [await debt.remind(DAY_SECONDS), await debt.remind(PERIOD_SECONDS - 1), await debt.remind(1)]
    counts += [await debt.remind(PERIOD_SECONDS) for _ in range(3)]

    assert counts == [1, 1, 2, REMINDERS_MAX, REMINDERS_MAX, REMINDERS_MAX]


async def test_two_schedulers_at_once_write_it_once(debt: Debt) -> None:
    debt.system.advance(DAY_SECONDS)
    now = format_time(debt.system.now_ms())
    due = await debt.reminders.due(debt.town.id, now, told_before=now, most=3, rows_max=10)
    await debt.remind()
    written = await debt.reminders.written(debt.town.id, 10)

    assert len(due) == 1
    assert await debt.reminders.write(debt.town.id, written) == 0


async def test_who_has_paid_is_not_told(debt: Debt) -> None:
    await debt.town.author(TakePayment(id=debt.town.new_id(), invoice=debt.invoice, amount="30.00", currency="GBP"))

    assert await debt.remind(DAY_SECONDS) == 0
