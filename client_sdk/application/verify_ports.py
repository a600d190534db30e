"""What a store hands over to be verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client_sdk.application.ports import Entry, LocalHead
    from sync.engine.feed import BucketSum
    from sync.kernel.changeset import Fields, RowKey


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseMark:
    """What a bucket's checksum covers of one base row."""

    bucket: str
    entity: str
    row_id: str
    version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """Everything `verify` needs, read in one transaction. `entries` follow on from `before` (place and hash).

    `joints` are the lines of another copy, place and hash, behind which the chain of this one goes on.
    """

    head: LocalHead
    before: tuple[int, bytes]
    joints: Mapping[int, bytes]
    entries: Sequence[Entry]
    marks: Sequence[BaseMark]
    sums: Mapping[str, BucketSum]
    overlay: Mapping[RowKey, Fields]
    base: Mapping[RowKey, Fields]
    """The base rows that the overlay covers or a pending change set has read."""
