"""A town on a running stack with one clerk and one product, and an empty shelf for every tablet that is asked for.

One law decides each story told on it. A device books pieces in, one a time; afterwards the shelf holds exactly as many
pieces as the device has change sets, each of them is in the journal once, and nothing that `record` returned from is
missing.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client_sdk import Replica
from server.stack import Stack
from sync.modules.catalogue import product_id
from sync.modules.commerce import ReceiveStock
from tests.support.office import PASSPHRASE, TestOffice, office_of
from tests.support.replicas import check_replica
from tests.support.stack import scratch_directory

SKU = "85123A"
TOWN = "Douglas"
PROGRAM = "tests.support.device_process"


class Site:
    """A town on a running stack, with one shelf; each test enrols a tablet of its own."""

    def __init__(self, stack: Stack, office: TestOffice, directory: Path) -> None:
        self.stack = stack
        self.office = office
        self._directory = directory
        self._numbers = itertools.count(1)
        books = office.books
        books.found(TOWN)
        self.clerk = books.add_user(TOWN, "Cleo", "warehouse_staff")
        self.warehouse = ""
        self.product = product_id(SKU)
        books.stock_products(TOWN, books.add_warehouse(TOWN, "Spare"), {SKU: "Hanging heart"}, {})

    def tablet(self) -> Path:
        """The replica of a new tablet at a new, empty shelf, enrolled and synced once, closed."""
        number = next(self._numbers)
        self.warehouse = self.office.books.add_warehouse(TOWN, f"Shelf {number}")
        path = self._directory / f"tablet {number}.db"
        with self.office.enrol(TOWN, path, "warehouse_staff", warehouse=self.warehouse) as replica:
            replica.sync()
        return path

    def receive(self, replica: Replica, count: int = 1) -> list[int]:
        """Book pieces in, one a change set; returns the positions."""
        with replica.acting_as(self.clerk):
            return [
                replica.record(ReceiveStock(warehouse=self.warehouse, product=self.product, quantity=1)).seq
                for _ in range(count)
            ]

    def run(self, path: Path, *steps: str, failpoint: str = "") -> tuple[int, list[int]]:
        """Run the device app in a process; its exit status and the positions it says it has recorded."""
        done = subprocess.run(
            [sys.executable, "-m", PROGRAM, str(path), self.clerk, self.warehouse, self.product, *steps],
            env={**os.environ, "TALLYSTICK_FAILPOINT": failpoint},
            stdout=subprocess.PIPE,
            check=False,
        )
        return done.returncode, [int(word) for word in done.stdout.split()]

    def check(self, path: Path, recorded: Sequence[int]) -> None:
        """Sync until quiet, and hold the law: chain, journal and shelf agree, and nothing recorded is missing."""
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            replica.sync()
            assert not replica.pending()
            answered = [entry.seq for entry in replica.verdicts()]
            assert answered == list(range(1, len(answered) + 1))
            assert set(recorded) <= set(answered)
            levels = replica.query("SELECT on_hand FROM stock_levels WHERE warehouse_id = ?", [self.warehouse])
            assert sum(level["on_hand"] for level in levels) == len(answered)
            assert self.office.books.verify(TOWN).findings == ()
            check_replica(replica, self.office.books.feed_bodies(TOWN))


@contextmanager
def running_site() -> Iterator[Site]:
    """A new stack and its town, for as long as the block lasts."""
    with scratch_directory() as directory, Stack.start(directory / "data") as stack, office_of(stack) as office:
        yield Site(stack, office, directory)
