"""Which invoices are overdue: what is open and whose day is over where the town is. Computed, never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.application.people_ports import ListingReader, Where
from server.application.queries.paging import InvalidQuery
from server.domain.local_time import day
from sync.kernel.clock import format_time
from sync.modules.billing.entities import OPEN_INVOICES


async def today_in(reader: ListingReader, town_id: str, now_ms: int) -> str:
    """The day that it is in the town, like `2026-11-21`."""
    town = await reader.row("town", town_id)
    assert town is not None
    return day(format_time(now_ms), town.fields["time_zone"])


def is_overdue(invoice: Mapping[str, Any], today: str) -> bool:
    """Whether something should have been paid by now."""
    due_on = invoice["due_on"]
    return due_on is not None and due_on < today and invoice["state"] in OPEN_INVOICES


def only_overdue(told: str, today: str) -> Sequence[Where]:
    """What a list is narrowed to by `is_overdue=true`, which is all that can be asked. Raises `InvalidQuery`."""
    if told != "true":
        raise InvalidQuery("is_overdue is true or is left out")
    return [
        Where(field="state", how="among", value=sorted(OPEN_INVOICES)),
        Where(field="due_on", how="before", value=today),
    ]
