"""Taking closed business off the devices, some orders at a time, as change sets of the town itself."""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.commands.apply_change_sets import Appliers
from server.application.ports import System, Towns
from server.application.retention_ports import ClosedOrder, ClosedOrders
from server.domain.devices import server_device_id
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time
from sync.modules.commerce import ArchiveOrder
from sync.modules.commerce.retention import DISPATCHES_MAX

ORDERS_MAX = 50
"""Orders in one change set."""

BATCHES_MAX = 40
"""Change sets for one town in one run; what is left then is the next one's."""

_log = structlog.stdlib.get_logger(__name__)


class ArchiveParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """Which towns there are."""
        ...

    @property
    def closed_orders(self) -> ClosedOrders:
        """What is closed."""
        ...

    @property
    def appliers(self) -> Appliers:
        """The write path."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def archive_closed(parts: ArchiveParts) -> None:
    """Archive what is due in every town; raises only when no town can be asked."""
    await in_every_town(
        parts.towns,
        lambda town_id: _archive(parts, town_id),
        log=_log,
        failed="orders_not_archived",
        done="orders_archived",
        what="orders",
    )


async def _archive(parts: ArchiveParts, town_id: str) -> int:
    count = 0
    for _ in range(BATCHES_MAX):
        found = await parts.closed_orders.due(town_id, format_time(parts.system.now_ms()), ORDERS_MAX)
        if not found:
            break
        operations = [operation for order in found for operation in _operations(order)]
        parts.system.reached("archive.before_batch")
        await parts.appliers.author(town_id, server_device_id(town_id), operations)
        parts.system.reached("archive.after_batch")
        count += len(found)
        if len(found) < ORDERS_MAX:
            break
    return count


def _operations(order: ClosedOrder) -> list[ArchiveOrder]:
    """One for an order as good as always."""
    starts = range(0, max(len(order.dispatches), 1), DISPATCHES_MAX)
    return [
        ArchiveOrder(order=order.order_id, dispatches=list(order.dispatches[start : start + DISPATCHES_MAX]))
        for start in starts
    ]
