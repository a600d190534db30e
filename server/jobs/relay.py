"""From the outbox to its effects: one town when the bell rings, every town that has work due when it is swept."""

from __future__ import annotations

from typing import Protocol

import structlog

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
    def messages(self) -> Messages:
        """Where the work goes."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def answer(parts: RelayParts, town_id: str) -> WorkedOff:
    """Do what is due of one town; raises what the outbox raises."""
    worked = await work_off_outbox(town_id, outbox=parts.outbox, messages=parts.messages, system=parts.system)
    if worked.done or worked.failed:
        _log.info("outbox_worked_off", town_id=town_id, done=worked.done, failed=worked.failed)
    return worked


async def sweep(parts: RelayParts) -> None:
    """Do what is due of every town, whether a bell has rung for it or not; raises only when no town can be asked."""
    for town_id in await parts.outbox.towns_due(format_time(parts.system.now_ms())):
        try:
            await answer(parts, town_id)
        except Exception:  # noqa: BLE001  one town's trouble keeps no other waiting; its lease will lapse
            _log.exception("outbox_not_worked_off", town_id=town_id)
