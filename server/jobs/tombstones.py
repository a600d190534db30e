"""Letting go of tombstones that every device has seen, or has been away for too long to need."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.ports import System, Towns
from server.application.retention_ports import Tombstones
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time

ROWS_MAX = 5_000
"""Tombstones in one transaction, which holds up the town as a write does."""

BATCHES_MAX = 100
"""Transactions for one town in one run; what is left then is the next one's."""

DAY_MS = 24 * 3600 * 1000

_log = structlog.stdlib.get_logger(__name__)


class TombstoneParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """All towns."""
        ...

    @property
    def tombstones(self) -> Tombstones:
        """What is let go."""
        ...

    @property
    def tombstone_days(self) -> int:
        """How long they are kept."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def expire_tombstones(parts: TombstoneParts) -> None:
    """Drop what is old in every town; raises only when no town can be asked."""
    before = format_time(max(0, parts.system.now_ms() - parts.tombstone_days * DAY_MS))
    await in_every_town(
        parts.towns,
        lambda town_id: _expire(parts, town_id, before),
        log=_log,
        failed="tombstones_not_expired",
        done="tombstones_expired",
        what="rows",
    )


async def _expire(parts: TombstoneParts, town_id: str, before: str) -> int:
    dropped = 0
    for _ in range(BATCHES_MAX):
        parts.system.reached("tombstones.before_batch")
        count = await parts.tombstones.expire(town_id, before, ROWS_MAX)
        parts.system.reached("tombstones.after_batch")
        dropped += count
        if count < ROWS_MAX:
            break
    return dropped
