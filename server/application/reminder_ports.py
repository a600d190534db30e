"""The port of reminders: whose invoices are overdue, and what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """An open invoice whose day is over where the town is; `reminded` is how often its party was told."""

    invoice_id: str
    title: str
    name: str
    phone: str
    remaining_minor: int
    currency: str
    due_on: str
    reminded: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reminder:
    """What somebody is to be told about an invoice, and which time it is."""

    id: str
    invoice_id: str
    number: int
    phone: str
    text: str
    written_at: str


class Reminders(Protocol):
    """What was written for those who owe; append-only."""

    async def due(self, town_id: str, now: str, *, told_before: str, most: int, rows_max: int) -> Sequence[Overdue]:
        """Overdue invoices of which nobody was told since `told_before`, nor `most` times; the longest due first."""
        ...

    async def write(self, town_id: str, reminders: Sequence[Reminder]) -> int:
        """Write what is not written yet, by id; how many were new."""
        ...

    async def written(self, town_id: str, rows_max: int) -> Sequence[Reminder]:
        """The newest first."""
        ...
