"""What is asked about orders that were to be paid by mobile money or card, and for which nothing came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class UnpaidOrders(Protocol):
    """Finds the orders that are to be given up."""

    async def due(self, town_id: str, now: str, orders_max: int) -> Sequence[str]:
        """The ids of orders by mobile money or card that are neither paid nor picked nor called off, oldest first.

        They came to the server so many minutes before `now`, or longer ago, as the town has set.
        """
        ...
