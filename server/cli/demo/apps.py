"""The apps on the devices of the demo: what a screen would call, each a few lines over the SDK.

They know nothing but their own replica and the town's world of goods; none of them needs a network to work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client_sdk import Replica
from client_sdk.application.record import Recorded
from server.cli.demo import script
from server.cli.demo.world import Cash, Tally, World, pounds
from sync.kernel.changeset import Operation
from sync.modules.billing import TakePayment
from sync.modules.catalogue import product_id
from sync.modules.commerce import (
    AdjustStock,
    CompleteDelivery,
    CompletePack,
    FailDelivery,
    PickLine,
    ReceiveStock,
    ShortPick,
    StartDelivery,
)

PASSPHRASE = "a demo in Douglas"  # noqa: S105 - it guards rows that are made up

JOBS = """
    SELECT orders.id, number, customer_name, status, dispatches.id AS dispatch, cod_due_minor
    FROM dispatches JOIN orders ON orders.id = dispatches.order_id
    ORDER BY number
"""
TAKEN = "SELECT coalesce(sum(amount_minor), 0) AS pence FROM payments"
LEVEL = "SELECT on_hand, on_hand - reserved AS free FROM stock_levels WHERE product_id = ?"


@dataclass(kw_only=True, slots=True)
class Device:
    """A device in somebody's hands; `recorded` is the demo's own count of what `record` returned from.

    `first_rows` is how many rows it got when it synced for the first time.
    """

    name: str
    user: str
    pin: str
    path: Path
    replica: Replica
    first_rows: int
    recorded: int = 0

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Its person has typed the PIN."""
        with self.replica.acting_as(self.user, pin=self.pin):
            yield

    def record(self, *operations: Operation) -> Recorded:
        """Record one change set and count it."""
        done = self.replica.record(*operations)
        self.recorded += 1
        return done

    def job(self, *, order: str = "", scans: Sequence[tuple[str, int]] = (), syncs: bool = False) -> dict[str, Any]:
        """What this device's app is told to do as a process of its own (`device_process`)."""
        person = {"path": str(self.path), "passphrase": PASSPHRASE, "user": self.user, "pin": self.pin}
        return {**person, "order": order, "scans": scans, "syncs": syncs}

    def reopen(self) -> None:
        """Open the replica after it was closed, as an app does when it starts."""
        self.replica = Replica.open(self.path, passphrase=PASSPHRASE)

    @property
    def waiting(self) -> int:
        """How many of its change sets the server has not answered."""
        return self.replica.status.pending


class DriverApp:
    """What a driver's phone does."""

    def __init__(self, device: Device, tally: Tally) -> None:
        self.device = device
        self._tally = tally

    def jobs(self) -> list[dict[str, Any]]:
        """The tour as the phone shows it: what the server last said, plus what was recorded since."""
        return list(self.device.replica.query(JOBS))

    def load(self, *numbers: str) -> None:
        """These parcels are on the van."""
        for number in numbers:
            self.device.record(StartDelivery(dispatch=self._job(number)["dispatch"]))

    def deliver(self, number: str, *, is_paid: bool = True) -> Recorded:
        """Hand it over, and take what is due; one change set."""
        job = self._job(number)
        operations: list[Operation] = [CompleteDelivery(dispatch=job["dispatch"], received_by=job["customer_name"])]
        if is_paid:
            amount = pounds(job["cod_due_minor"])
            operations.append(TakePayment(order=job["id"], amount=amount, currency=script.CURRENCY))
            self._tally.cash.append(Cash(driver=self.device.name, order=number, pence=job["cod_due_minor"]))
        self._tally.handed_over.add(number)
        done = self.device.record(*operations)
        if done.receipt:
            self._tally.slips.append(done.receipt)
        return done

    def fail(self, number: str, reason: str) -> None:
        """Nobody took it."""
        self.device.record(FailDelivery(dispatch=self._job(number)["dispatch"], reason=reason))

    def cash_in_hand(self) -> int:
        """What the phone says was taken, in pence."""
        return int(self.device.replica.query(TAKEN)[0]["pence"])

    def _job(self, number: str) -> dict[str, Any]:
        return next(job for job in self.jobs() if job["number"] == number)


class WarehouseApp:
    """What a tablet in the warehouse does."""

    def __init__(self, device: Device, world: World, tally: Tally) -> None:
        self.device = device
        self._world = world
        self._tally = tally

    def receive(self, sku: str, pieces: int) -> None:
        """Goods came in."""
        self.device.record(
            ReceiveStock(warehouse=self._world.warehouse, product=product_id(sku), quantity=pieces, reason="delivery")
        )
        self._tally.booked[sku] += pieces

    def write_off(self, sku: str, pieces: int, reason: str) -> None:
        """Goods are no good any more."""
        self.device.record(
            AdjustStock(warehouse=self._world.warehouse, product=product_id(sku), delta=-pieces, reason=reason)
        )
        self._tally.booked[sku] -= pieces

    def sell(self, number: str) -> None:
        """A customer stands here and orders."""
        self.device.record(self._world.place(number))

    def pick_and_pack(self, number: str, *, missing: str = "", missing_pieces: int = 0) -> None:
        """Everything into the tote and the parcel closed, as one change set; what is missing is said."""
        order = self._world.orders[number]
        operations: list[Operation] = []
        for sku, pieces in order.pieces.items():
            found = pieces - missing_pieces if sku == missing else pieces
            operations.append(PickLine(order=order.id, product=product_id(sku), quantity=found))
            if sku == missing:
                operations.append(ShortPick(order=order.id, product=product_id(sku), quantity=missing_pieces))
        self.device.record(*operations, CompletePack(order=order.id))

    def pack(self, number: str) -> None:
        """The parcel is closed."""
        self.device.record(CompletePack(order=self._world.orders[number].id))

    def left_to_scan(self, number: str) -> list[tuple[str, int]]:
        """Product ids and pieces of the order that this tablet has not recorded as picked."""
        order = self.device.replica.get("order", self._world.orders[number].id)
        assert order is not None, number
        return [
            (line["product_id"], line["quantity"] - line["picked"])
            for line in order["lines"]
            if line["picked"] < line["quantity"]
        ]

    def scan(self, number: str, product: str, pieces: int) -> None:
        """One line into the tote, a change set of its own."""
        self.device.record(PickLine(order=self._world.orders[number].id, product=product, quantity=pieces))

    def level(self, sku: str) -> dict[str, Any]:
        """Pieces on hand and free of a product, as this tablet shows them."""
        return dict(self.device.replica.query(LEVEL, [product_id(sku)])[0])
