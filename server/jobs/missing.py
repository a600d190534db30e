"""Telling that goods which were not delivered have not come back, on the day that the town has set."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.commands.apply_change_sets import Appliers
from server.application.missing_ports import MissingGoods
from server.application.ports import System, Towns
from server.domain.devices import server_device_id
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time
from sync.modules.commerce import ReportMissing

ORDERS_MAX = 100
"""Orders of one town that one run reports; the rest is reported by the next."""

_log = structlog.stdlib.get_logger(__name__)


class MissingParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """Which towns there are."""
        ...

    @property
    def missing_goods(self) -> MissingGoods:
        """What is missing."""
        ...

    @property
    def appliers(self) -> Appliers:
        """The write path."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def report_missing(parts: MissingParts) -> None:
    """One change set per order, by the town itself; whoever was faster has left the conflict, and this one is refused.

    Raises only when no town can be asked.
    """
    await in_every_town(
        parts.towns,
        lambda town_id: _report(parts, town_id),
        log=_log,
        failed="missing_goods_not_reported",
        done="missing_goods_reported",
        what="orders",
    )


async def _report(parts: MissingParts, town_id: str) -> int:
    found = await parts.missing_goods.overdue(town_id, format_time(parts.system.now_ms()), ORDERS_MAX)
    for goods in found:
        report = ReportMissing(order=goods.order_id, attempt=goods.attempt, undelivered_at=goods.since)
        parts.system.reached("missing.before_report")
        await parts.appliers.author(town_id, server_device_id(town_id), [report])
        parts.system.reached("missing.after_report")
    return len(found)
