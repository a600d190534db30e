"""A town to measure in: one warehouse with plenty on its shelves, and tablets that take and pick orders there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from client_sdk import Replica
from client_sdk.adapters.system import RealSystem
from server.cli.bench.frame import PASSPHRASE, Bench
from sync.kernel.changeset import Operation
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules.catalogue import product_id
from sync.modules.commerce import PickLine, PlaceOrder
from sync.modules.commerce.operations import OrderLine

PRODUCTS = 200
STOCK = 1_000_000
STREETS = ("North Quay", "Castle Street", "Strand Road", "Harbour View", "Mill Lane", "Chapel Hill", "Market Place")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """The ids that a device needs to work there."""

    town: str
    warehouse: str
    clerk: str

    def order(self, number: int) -> tuple[Operation, Operation]:
        """One sale: the order, and that its goods are in the tote."""
        order = make_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
        product = product_id(_sku(number))
        return (
            PlaceOrder(
                id=order,
                number=f"B-{number:06}",
                warehouse=self.warehouse,
                customer_name=f"Customer {number % 997}",
                address=f"{number % 89 + 1} {STREETS[number % len(STREETS)]}",
                lines=[OrderLine(product=product, quantity=1, price="2.50")],
            ),
            PickLine(order=order, product=product, quantity=1),
        )


def open_shop(bench: Bench, town: str) -> Shop:
    """A new town with the shop in it."""
    bench.say(f"{town}: opening the shop")
    bench.office.found(town)
    clerk = bench.office.add_user(town, "Clerk", "warehouse_staff")
    warehouse = bench.office.add_warehouse(town, "Shelf")
    names = {_sku(number): f"Thing no. {number}" for number in range(PRODUCTS)}
    bench.office.stock_products(town, warehouse, names, dict.fromkeys(names, STOCK), price="2.50")
    return Shop(town=town, warehouse=warehouse, clerk=clerk)


def code_for_tablet(bench: Bench, shop: Shop) -> str:
    """A code with which one more tablet may enrol."""
    return bench.office.code(shop.town, "warehouse_staff", user=shop.clerk, warehouse=shop.warehouse)


def enrol(url: str, code: str, path: Path, system: RealSystem | None = None) -> Replica:
    """A fresh, encrypted replica that has not synced yet."""
    return Replica.enrol(url, code=code, path=path, passphrase=PASSPHRASE, name=path.stem, system=system)


def _sku(number: int) -> str:
    return f"T{number % PRODUCTS:03}"
