"""More tablets in a market town's warehouse, what was done on them without a network, and what the shelf says."""

from __future__ import annotations

from typing import Any

from sync.engine.town import Answered, Submitted
from sync.kernel.changeset import Operation
from sync.kernel.clock import format_time
from sync.modules.commerce import CountStock
from sync.modules.commerce.counts import CountLine
from sync.modules.identity import AddUser, EnrolDevice
from tests.support.town_in_memory import MarketTown, MemoryDevice

MINUTE_MS = 60_000


def add_tablet(town: MarketTown, name: str) -> MemoryDevice:
    """Another tablet of the warehouse, which knows the town as it is now."""
    tablet = town.device(name)
    enrol = EnrolDevice(
        id=tablet.id,
        name=name,
        role="warehouse_staff",
        warehouse=town.warehouse,
        public_key="A" * 43,
        certificate=f"certificate of {tablet.id}",
    )
    assert town.office(enrol).verdict.status.has_effect
    return tablet


def add_picker(town: MarketTown, name: str) -> str:
    """Somebody else who works in the warehouse."""
    user = AddUser(id=town.new_id(), name=name, login=name.lower(), user_roles=["warehouse_staff"])
    assert town.office(user).verdict.status.has_effect
    return user.id


def count_of(town: MarketTown, *figures: tuple[str, int], expected: int | None = None) -> CountStock:
    """So many of each product were seen."""
    lines = [CountLine(product=product, counted=figure, expected=expected) for product, figure in figures]
    return CountStock(id=town.new_id(), warehouse=town.warehouse, lines=lines)


def offline(
    town: MarketTown,
    tablet: MemoryDevice,
    operation: Operation,
    *,
    base: int,
    minute: int | None = None,
    actor: str | None = None,
) -> Submitted:
    """A line from a tablet that has seen the town at `base` and nothing since.

    With `minute` its monotonic clock places it so many minutes after the time of that version; without, it may have
    been at any moment since.
    """
    contact = town.versions["town_version", str(base)].fields["at"]
    anchor: dict[str, Any] | None = None
    if minute is not None:
        anchor = {"server": contact, "mono_ms": minute * MINUTE_MS, "boot": "b"}
    return town.line(tablet, actor or town.picker, operation, base=base, anchor=anchor)


def online(town: MarketTown, tablet: MemoryDevice, operation: Operation, *, actor: str | None = None) -> Answered:
    """Done and decided now, on a tablet that has just heard the server's time."""
    anchor = {"server": format_time(town.now_ms), "mono_ms": 0, "boot": "b"}
    return arrives(town, town.line(tablet, actor or town.picker, operation, anchor=anchor))


def arrives(town: MarketTown, line: Submitted) -> Answered:
    """It is decided now, in a version of its own."""
    return town.take([line]).answered[0]


def counts(town: MarketTown, product: str) -> list[tuple[int, str]]:
    """Figure and state of every count of a product, in the order in which they came."""
    return [
        (row["counted"], row["state"]) for row in town.rows_of("stock_count").values() if row["product_id"] == product
    ]
