"""The ports of what is let go after a time: tombstones that every device has seen, business that is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Tombstones(Protocol):
    """What is left in the feed of rows that have gone from their buckets."""

    async def expire(self, town_id: str, before: str, rows_max: int) -> int:
        """Drop so many of those that are older than this, and with them raise the horizon of their buckets.

        Both in one transaction under the town's lock: whoever reads the feed sees both or neither.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedOrder:
    """An order that is closed, and every dispatch that it ever had."""

    order_id: str
    dispatches: tuple[str, ...]


class ClosedOrders(Protocol):
    """Orders that are closed, and still on devices."""

    async def due(self, town_id: str, now: str, orders_max: int) -> Sequence[ClosedOrder]:
        """Some that nothing has changed for the days that the town has set, longest unchanged first."""
        ...
