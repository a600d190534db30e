"""Reminders leave: a gateway of text messages is handed what was written, in the town's daytime, if it still is so.

A reminder is handed over under its id, as often as it takes until its end is written down: a worker that dies in
between hands it over again, and the gateway knows it by the id. What was paid, cancelled or followed by a later one
before it left is not sent any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from server.application.commands.work_off_outbox import Handler, NotYet
from server.application.ports import Messages, OutboxItem, System
from server.application.reminder_ports import Gateway, GatewayUnavailable, Outcome, Reminders, Seen
from sync.modules.billing.entities import OPEN_INVOICES

KIND: Final = "reminder.send"
DAY_BEGINS_HOUR, DAY_ENDS_HOUR = 8, 20
"""An invoice is overdue from midnight on; nobody's telephone is to ring then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReminderDesk:
    """The ports; without a gateway what is on the agenda waits for one, and nothing more is put there."""

    gateway: Gateway | None
    reminders: Reminders
    system: System

    def handlers(self) -> Mapping[str, Handler]:
        """What is done here, by the kind of work."""
        return {KIND: self._send}

    async def _send(self, item: OutboxItem, _messages: Messages, at: str) -> None:
        seen = await self.reminders.look(item.town_id, item.id)
        if seen.outcome is not None:
            return
        why = why_not(seen, item.data["remaining_minor"])
        if why:
            await self.reminders.end(item.town_id, item.id, Outcome.NOT_NEEDED, why, at)
            return
        if self.gateway is None:
            raise GatewayUnavailable("no gateway is set: TALLYSTICK_REMINDERS_URL")
        wait_seconds = seconds_to_day(self.system.now_ms(), seen.time_zone)
        if wait_seconds:
            raise NotYet(wait_seconds)
        self.system.reached("reminders.before_send")
        await self.gateway.send(item.town_id, seen.reminder)
        self.system.reached("reminders.after_send")
        await self.reminders.end(item.town_id, item.id, Outcome.SENT, "", at)
        self.system.reached("reminders.after_end")


def why_not(seen: Seen, remaining_minor: int) -> str:
    """Why a reminder that was written when so much remained to be paid is not needed now; nothing when it is."""
    if seen.invoice_state not in OPEN_INVOICES:
        return f"the invoice is {seen.invoice_state}"
    if seen.remaining_minor != remaining_minor:
        return "what is owed has changed since"
    if seen.is_followed:
        return "a later one was written"
    return ""


def seconds_to_day(now_ms: int, time_zone: str) -> float:
    """How long it is until people are up where the town is; 0 while they are."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    there = now.astimezone(ZoneInfo(time_zone))
    if DAY_BEGINS_HOUR <= there.hour < DAY_ENDS_HOUR:
        return 0
    morning = there.replace(hour=DAY_BEGINS_HOUR, minute=0, second=0, microsecond=0)
    if there.hour >= DAY_ENDS_HOUR:
        morning += timedelta(days=1)  # by the clock on the wall, also when the clocks change in between
    return (morning.astimezone(UTC) - now).total_seconds()
