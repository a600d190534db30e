"""Noting whose statements have changed; workers make them."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.ports import Bell, System
from server.application.statement_ports import StatementShelf
from sync.kernel.clock import format_time

_log = structlog.stdlib.get_logger(__name__)


class StatementParts(Protocol):
    """The ports this job needs."""

    @property
    def shelf(self) -> StatementShelf:
        """The statements that are made."""
        ...

    @property
    def bell(self) -> Bell:
        """Calls a worker."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def note_changes(parts: StatementParts) -> None:
    """Put what was booked since the last run on the agenda of every town; raises only when no town can be asked."""
    for town_id in await parts.shelf.towns_changed():
        try:
            accounts = await parts.shelf.note(town_id, format_time(parts.system.now_ms()))
            parts.system.reached("statements.after_note")
        except Exception:  # noqa: BLE001  one town's trouble keeps no other waiting
            _log.exception("statements_not_noted", town_id=town_id)
            continue
        if accounts:
            await parts.bell.ring(town_id)
