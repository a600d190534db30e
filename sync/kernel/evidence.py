"""When something was done, as far as that is proven: bounds in time, and which of two acts came first.

A device's clock proves nothing. What proves something: its own chain (the lines of one device have an order), what it
had seen (an act came after every version its device held), and that the server has it (an act came before its version).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FIRST_MOMENT = "1970-01-01T00:00:00.000Z"
"""The earliest anything can have been; all that is known of an act for which nothing is proven."""

OFF_CHAIN = -1
"""After this version lies an act that was written anew: its new place in the chain does not tell when it was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Between which server times an act lies, both included, and after which town version.

    `after_version` is 0 when none is proven, `OFF_CHAIN` when the chain proves nothing either.

    `is_suspect` says that the device's own clock claims a time outside of these, by more than clocks may differ.
    """

    earliest: str
    latest: str
    after_version: int = 0
    is_suspect: bool = False


class Order(StrEnum):
    """How two acts lie to each other; unknown when neither version, chain nor time tells."""

    BEFORE = "before"
    AFTER = "after"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """An act in the order of things: its place in its device's chain, and the bounds of when it was.

    `version` is the town version that brought it.
    """

    device: str
    seq: int
    version: int
    after_version: int
    earliest: str
    latest: str

    def as_fields(self) -> dict[str, Any]:
        """The fields under which a row keeps it, beside its `device_id` and `seq`."""
        return {
            "booked_version": self.version,
            "after_version": self.after_version,
            "earliest": self.earliest,
            "latest": self.latest,
        }


def moment_of(row: Mapping[str, Any]) -> Moment:
    """The moment that a row keeps."""
    return Moment(
        device=row["device_id"],
        seq=row["seq"],
        version=row["booked_version"],
        after_version=row["after_version"],
        earliest=row["earliest"],
        latest=row["latest"],
    )


def order_of(one: Moment, other: Moment) -> Order:
    """Whether `one` was before or after `other`; unknown for two acts of one line, whose order its operations give.

    Chain first, for it is exact; then what each device had seen; then time, in which touching bounds tell nothing.
    """
    is_in_chain = OFF_CHAIN not in {one.after_version, other.after_version}
    if is_in_chain and one.device == other.device and one.seq != other.seq:
        return Order.BEFORE if one.seq < other.seq else Order.AFTER
    if one.version <= other.after_version or one.latest < other.earliest:
        return Order.BEFORE
    if other.version <= one.after_version or other.latest < one.earliest:
        return Order.AFTER
    return Order.UNKNOWN
