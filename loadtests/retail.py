"""Real trade as work for devices: the online-retail file read as invoices, and what each of them makes people do.

An invoice is an order that is placed, picked, packed, sent out and paid on delivery; one that begins with C brings
goods back; a negative quantity without C is a write-off. Lines that no shop could have are counted and left out.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar, cast

from client_sdk import Replica
from sync.kernel.ids import derived_id
from sync.modules.billing import TakePayment
from sync.modules.catalogue import product_id
from sync.modules.commerce import (
    AdjustStock,
    CompleteDelivery,
    CompletePack,
    PickLine,
    PlaceOrder,
    ReceiveStock,
    StartDelivery,
)
from sync.modules.commerce.operations import LINES_MAX, OrderLine
from sync.protocol.limits import OPERATIONS_MAX

Part = TypeVar("Part")

FULL_SIZE = Path(__file__).parents[2] / "shared" / "data" / "online_retail_2010-12_2011-05.csv.gz"
SAMPLE = Path(__file__).parents[1] / "server" / "sample" / "online_retail_sample.csv"
CASH_MAX = Decimal(10_000)
"""A driver takes no more than this at a door; a larger invoice goes to the account."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the file that a shop could have."""

    invoice: str
    sku: str
    name: str
    quantity: int
    price: Decimal
    country: str
    customer: str


@dataclass(frozen=True, kw_only=True)
class Invoice:
    """The lines of one invoice of one country, in the order of the file."""

    number: str
    country: str
    lines: Sequence[Line]

    @property
    def customer(self) -> str:
        """Whose invoice it is; empty when the file does not say."""
        return self.lines[0].customer

    @property
    def is_cancellation(self) -> bool:
        """Whether it takes an earlier one back, or a part of it."""
        return self.number.startswith("C")

    def goods(self) -> frozenset[tuple[str, int]]:
        """How many pieces of what it is about, whichever way they go."""
        pieces: Counter[str] = Counter()
        for line in self.lines:
            pieces[line.sku] += abs(line.quantity)
        return frozenset(pieces.items())


def best_file() -> Path:
    """The whole file where it is, else the sample that comes with the project."""
    return FULL_SIZE if FULL_SIZE.is_file() else SAMPLE


def open_text(path: Path) -> TextIO:
    """The file as text, compressed or not."""
    if path.suffix == ".gz":
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def read_lines(path: Path, lines_max: int | None = None) -> Iterator[Line]:
    """The first `lines_max` lines of the file, without bad debt and prices that are no money."""
    with open_text(path) as file:
        for row in islice(csv.DictReader(file), lines_max):
            price = Decimal(row["UnitPrice"])
            if row["InvoiceNo"].startswith("A") or price < 0 or price != price.quantize(Decimal("0.01")):
                continue
            yield Line(
                invoice=row["InvoiceNo"],
                sku=row["StockCode"],
                name=row["Description"].strip() or row["StockCode"],
                quantity=int(row["Quantity"]),
                price=price,
                country=row["Country"],
                customer=row["CustomerID"],
            )


def invoices(lines: Sequence[Line]) -> list[Invoice]:
    """The lines put together, in the order in which invoices begin; a long one in parts that an order can hold."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        found.setdefault((line.country, line.invoice), []).append(line)
    return [
        Invoice(number=f"{number}P{place}" if place else number, country=country, lines=list(part))
        for (country, number), whole in found.items()
        for place, part in enumerate(chunks(whole, LINES_MAX))
    ]


def chunks(operations: Sequence[Part], size: int = OPERATIONS_MAX) -> Iterator[list[Part]]:
    """As many at a time as a change set holds."""
    for start in range(0, len(operations), size):
        yield list(operations[start : start + size])


class Tablet:
    """A warehouse tablet that handles whole invoices: books stock, places, picks and packs.

    `packed` are the orders that the office has not given to a driver yet. Somebody acts on `replica` already.
    """

    def __init__(self, replica: Replica, *, warehouse: str) -> None:
        self.replica = replica
        self.packed: list[str] = []
        self._warehouse = warehouse

    def handle(self, invoice: Invoice) -> str | None:
        """Everything that this invoice makes the warehouse do, recorded without a network; the order, if it is one."""
        back = [self._moved(line, invoice) for line in invoice.lines if line.quantity < 0]
        for part in chunks(back):
            self.replica.record(*part)
        sold = [line for line in invoice.lines if line.quantity > 0]
        return self._sell(invoice, sold) if sold else None

    def _moved(self, line: Line, invoice: Invoice) -> ReceiveStock | AdjustStock:
        product = product_id(line.sku)
        if invoice.is_cancellation:
            return ReceiveStock(
                warehouse=self._warehouse, product=product, quantity=-line.quantity, reason=f"returned {invoice.number}"
            )
        return AdjustStock(warehouse=self._warehouse, product=product, delta=line.quantity, reason="written off")

    def _sell(self, invoice: Invoice, sold: Sequence[Line]) -> str:
        order = order_id(invoice)
        lines = [
            OrderLine(product=product_id(line.sku), quantity=line.quantity, price=f"{line.price:f}") for line in sold
        ]
        total = sum((line.quantity * line.price for line in sold), Decimal(0))
        place = PlaceOrder(
            id=order,
            number=invoice.number,
            warehouse=self._warehouse,
            customer_name=f"Customer of {invoice.number}",
            address=invoice.country,
            lines=lines,
            payment_method="cod" if 0 < total <= CASH_MAX else "account",
        )
        self.replica.record(place)
        picks = [PickLine(order=order, product=product_id(line.sku), quantity=line.quantity) for line in sold]
        for part in chunks(picks):
            self.replica.record(*part)
        self.replica.record(CompletePack(order=order, parcels=1 + len(sold) // 40))
        self.packed.append(order)
        return order


class Van:
    """A driver's phone: delivers what it has been given and takes the cash. Somebody acts on `replica` already."""

    def __init__(self, replica: Replica, *, driver: str) -> None:
        self.replica = replica
        self.driver = driver

    def deliver_all(self) -> list[str]:
        """Take out and hand over every order on this tour; returns which."""
        jobs = self.replica.query(
            "SELECT id, order_id, cod_due_minor, currency FROM dispatches WHERE state = 'ASSIGNED' ORDER BY id"
        )
        for job in jobs:
            self.replica.record(StartDelivery(dispatch=job["id"]))
            due = Decimal(job["cod_due_minor"]) / 100
            cash = [TakePayment(order=job["order_id"], amount=f"{due:.2f}", currency=job["currency"])] if due else []
            self.replica.record(CompleteDelivery(dispatch=job["id"], received_by="at the door"), *cash)
        return [job["order_id"] for job in jobs]


def order_id(invoice: Invoice) -> str:
    """The order of an invoice."""
    return derived_id("retail order", invoice.country, invoice.number)
