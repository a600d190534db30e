"""What is asked about goods that have not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Undelivered:
    """An order whose goods somebody has had for too long: which attempt failed, and when that was known here."""

    order_id: str
    attempt: int
    since: str


class MissingGoods(Protocol):
    """Finds what has to be reported as missing."""

    async def overdue(self, town_id: str, now: str, orders_max: int) -> Sequence[Undelivered]:
        """What was not delivered so many days before `now` as the town has set, longest ago first; none twice."""
        ...
