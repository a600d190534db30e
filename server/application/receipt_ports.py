"""The port behind the public check of a receipt: what the town has booked for its number and its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class BookedPayment:
    """One payment of a receipt and what became of it; `refunded_minor` was paid back."""

    amount_minor: int
    currency: str
    status: str
    refunded_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line that has arrived: its hash, the hash of the line that it stands for, and how it was decided.

    `sums` are what it took in, by currency in minor units; None for a line that cannot be read.
    """

    digest: bytes
    replaces: str | None
    status: str
    reason: str
    sums: Mapping[str, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What a number of a device was given for, as the town knows it: the place on the receipt, and its payments."""

    seq: int
    line: Line
    payments: Sequence[BookedPayment]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Everything the town knows about a receipt; `line` is what has arrived at its place, if anything has.

    `device_status` is that of the device now, empty for one that the town does not know.
    """

    town_name: str
    time_zone: str
    device_status: str
    given: Sequence[Given]
    line: Line | None


class ReceiptBook(Protocol):
    """All receipts of all towns."""

    async def find(self, town_id: str, device_id: str, *, number: int, seq: int) -> Found:
        """What is known of this number and of this place, in one snapshot."""
        ...
