"""Giving up orders that were to be paid first, and are not in the town's time, so that others can have the goods.

Money that comes afterwards is no less a fact: it is booked, becomes credit, and leaves a conflict for the office.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from server.application.commands.apply_change_sets import Appliers
from server.application.ports import System, Towns
from server.application.unpaid_ports import UnpaidOrders
from server.domain.devices import server_device_id
from server.jobs.every_town import in_every_town
from sync.kernel.clock import format_time
from sync.modules.commerce import CancelOrder

ORDERS_MAX = 100
"""Orders of one town that one run gives up; the rest is given up by the next."""

REASON = "unpaid"

_log = structlog.stdlib.get_logger(__name__)


class UnpaidParts(Protocol):
    """The ports this job needs."""

    @property
    def towns(self) -> Towns:
        """Which towns there are."""
        ...

    @property
    def unpaid_orders(self) -> UnpaidOrders:
        """What is to be given up."""
        ...

    @property
    def appliers(self) -> Appliers:
        """The write path."""
        ...

    @property
    def system(self) -> System:
        """Time and crash points."""
        ...


async def cancel_unpaid(parts: UnpaidParts) -> None:
    """One change set per order, by the town itself; the rule refuses what was paid, picked or cancelled meanwhile.

    Raises only when no town can be asked.
    """
    await in_every_town(
        parts.towns,
        lambda town_id: _cancel(parts, town_id),
        log=_log,
        failed="unpaid_orders_not_cancelled",
        done="unpaid_orders_cancelled",
        what="orders",
    )


async def _cancel(parts: UnpaidParts, town_id: str) -> int:
    found = await parts.unpaid_orders.due(town_id, format_time(parts.system.now_ms()), ORDERS_MAX)
    for order_id in found:
        given_up = CancelOrder(order=order_id, reason=REASON, unpaid_only=True)
        parts.system.reached("unpaid.before_cancel")
        await parts.appliers.author(town_id, server_device_id(town_id), [given_up])
        parts.system.reached("unpaid.after_cancel")
    return len(found)
