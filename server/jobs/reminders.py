"""Reminding those whose invoices are overdue: the day after, then every two weeks, three times in all."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.commands.send_reminders import ReminderDesk
from server.application.ports import Bell, System, Towns
from server.application.reminder_ports import Overdue, Reminder
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.kernel.money import to_amount

PERIOD_SECONDS = 14 * 24 * 3600
REMINDERS_MAX = 3
"""Of one invoice; after that it is for a person."""

INVOICES_MAX = 1_000
"""Invoices of one town in one run; the rest is the next one's."""

_log = structlog.stdlib.get_logger(__name__)


class ReminderParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """Which towns there are."""
        ...

    @property
    def reminder_desk(self) -> ReminderDesk:
        """What is overdue, what was told, and whether somebody sends it."""
        ...

    @property
    def bell(self) -> Bell:
        """Calls a worker."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def write_reminders(parts: ReminderParts) -> None:
    """Write what is due in every town, and have it sent if somebody does; raises only when no town can be asked."""
    await in_every_town(
        parts.towns,
        lambda town_id: _write(parts, town_id),
        log=_log,
        failed="reminders_not_written",
        done="reminders_written",
        what="reminders",
    )


async def _write(parts: ReminderParts, town_id: str) -> int:
    now_ms, desk = parts.system.now_ms(), parts.reminder_desk
    now, told_before = format_time(now_ms), format_time(now_ms - PERIOD_SECONDS * 1000)
    due = await desk.reminders.due(town_id, now, told_before=told_before, most=REMINDERS_MAX, rows_max=INVOICES_MAX)
    written = [_reminder(one, now) for one in due]
    to_send = {
        reminder.id: one.remaining_minor
        for one, reminder in zip(due, written, strict=True)
        if desk.gateway is not None and reminder.phone
    }
    new = await desk.reminders.write(town_id, written, to_send)
    parts.system.reached("reminders.after_write")
    if to_send:
        await parts.bell.ring(town_id)
    return new


def _reminder(one: Overdue, at: str) -> Reminder:
    """Its id follows from the invoice and which time it is, so each is written once."""
    number = one.reminded + 1
    amount = f"{to_amount(one.remaining_minor, one.currency)} {one.currency}"
    return Reminder(
        id=derived_id("reminder", one.invoice_id, number),
        invoice_id=one.invoice_id,
        number=number,
        phone=one.phone.strip(),
        text=f"{one.name}: {amount} for {one.title} were due on {one.due_on}.",
        written_at=at,
    )
