"""The row that says what became of a line for which another one stands: that it is booked, or that it was rejected."""

from __future__ import annotations

from sync.kernel.changeset import ChangeSet, Fields, Replaced, RowKey
from sync.kernel.ids import derived_id

BOOKED, REJECTED = "booked", "rejected"


def replacement_key(digest: str) -> RowKey:
    """The row that says what became of the line with this hash (base64url)."""
    return "replacement", derived_id("replacement", digest)


def replacement_keys(change_set: ChangeSet) -> list[RowKey]:
    """The rows to load for what a change set stands for."""
    return [replacement_key(change_set.replaces.hash)] if change_set.replaces else []


def replacement_row(replaced: Replaced, outcome: str, by: tuple[str, int]) -> Fields:
    """What that row says: which line it was, what became of it, and which line says so."""
    return {
        "device_id": replaced.device,
        "seq": replaced.seq,
        "hash": replaced.hash,
        "outcome": outcome,
        "by_device_id": by[0],
        "by_seq": by[1],
    }
