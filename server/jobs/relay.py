"""From outbox, inbox and agenda to effects: one town when the bell rings, every town with work due when it is swept."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.callback_ports import Inbox
from server.application.commands.make_papers import PaperDesk
from server.application.commands.rebuild_statements import StatementDesk
from server.application.commands.send_reminders import ReminderDesk
from server.application.commands.settle_payments import PaymentDesk
from server.application.commands.work_off_outbox import WorkedOff, work_off_outbox
from server.application.ports import Messages, Outbox, System
from sync.kernel.clock import format_time

_log = structlog.stdlib.get_logger(__name__)


class RelayParts(Protocol):
    """The ports this job needs."""

    @property
    def outbox(self) -> Outbox:
        """The work."""
        ...

    @property
    def inbox(self) -> Inbox:
        """What others have sent."""
        ...

    @property
    def agenda(self) -> Outbox:
        """What follows from what is there."""
        ...

    @property
    def statement_desk(self) -> StatementDesk:
        """What is done about statements."""
        ...

    @property
    def paper_desk(self) -> PaperDesk:
        """What is done about papers."""
        ...

    @property
    def reminder_desk(self) -> ReminderDesk:
        """What is done about reminders."""
        ...

    @property
    def payments(self) -> PaymentDesk:
        """What is done about payments."""
        ...

    @property
    def messages(self) -> Messages:
        """Where the work goes."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def answer(parts: RelayParts, town_id: str) -> WorkedOff:
    """Do what is due of one town; raises what the outbox raises."""
    desks = (parts.payments, parts.statement_desk, parts.paper_desk, parts.reminder_desk)
    handlers, done, failed = {kind: one for desk in desks for kind, one in desk.handlers().items()}, 0, 0
    for work in (parts.outbox, parts.inbox, parts.agenda):
        worked = await work_off_outbox(
            town_id, outbox=work, messages=parts.messages, system=parts.system, more=handlers
        )
        done, failed = done + worked.done, failed + worked.failed
    if done or failed:
        _log.info("outbox_worked_off", town_id=town_id, done=done, failed=failed)
    return WorkedOff(done=done, failed=failed)


async def sweep(parts: RelayParts) -> None:
    """Do what is due of every town, whether a bell has rung for it or not; raises only when no town can be asked."""
    now = format_time(parts.system.now_ms())
    due = {town for work in (parts.outbox, parts.inbox, parts.agenda) for town in await work.towns_due(now)}
    for town_id in sorted(due):
        try:
            await answer(parts, town_id)
        except Exception:  # noqa: BLE001  one town's trouble keeps no other waiting; its lease will lapse
            _log.exception("outbox_not_worked_off", town_id=town_id)
