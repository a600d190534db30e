"""A town on a running stack with one clerk and one product, and an empty shelf for every tablet that is asked for.

One law decides each story told on it. A device books pieces in, one a time; afterwards the shelf holds exactly as many
pieces as the device has change sets, each of them is in the journal once, and nothing that `record` returned from is
missing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from typer.testing import CliRunner, Result

from client_sdk import Replica
from server.cli.app import whole_app
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
        return self.receive_at(replica, self.warehouse, count)

    def receive_at(self, replica: Replica, warehouse: str, count: int = 1) -> list[int]:
        """As `receive`, at this shelf."""
        with replica.acting_as(self.clerk):
            return [
                replica.record(ReceiveStock(warehouse=warehouse, product=self.product, quantity=1)).seq
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

    def api_status(self) -> int:
        """How the API has ended; waits for its end."""
        process = self.stack._api[0]._process
        assert process is not None
        return process.wait()

    def devices(self) -> set[str]:
        """Which devices the town has."""
        return {str(device_id) for (device_id,) in self.stored("SELECT id FROM tallystick.devices")}

    def stored(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query over the town."""
        with psycopg.connect(self.stack.database_url) as connection:
            town = "{" + self.office.books.towns[TOWN] + "}"
            connection.execute("SELECT set_config('app.town_ids', %s, false)", [town])
            return connection.execute(statement.encode(), values).fetchall()

    def device_id(self, path: Path) -> str:
        """Which device a replica is."""
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            return replica._store.identity().device_id

    def record_and_sync(self, path: Path, count: int) -> None:
        """Run a process that records so many pieces and syncs, and must come to its end."""
        status, recorded = self.run(path, f"record:{count}", "sync")
        assert (status, len(recorded)) == (0, count)

    def pieces(self, path: Path) -> int:
        """Sync to quiet: everything that the replica shows is what the server has. How many pieces are on the shelf."""
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            replica.sync()
            assert (list(replica.pending()), list(replica.verify())) == ([], [])
            check_replica(replica, self.office.books.feed_bodies(TOWN))
            levels = replica.query("SELECT on_hand FROM stock_levels WHERE warehouse_id = ?", [self.warehouse])
            return sum(level["on_hand"] for level in levels)

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


def tallystick(site: Site, *words: str) -> Result:
    """What a command of the operator's comes to, on the data directory of the stack.

    The town is named by its id: others on the same stack may have its name.
    """
    said = [site.office.books.towns[TOWN] if word == TOWN else word for word in words]
    return CliRunner().invoke(whole_app(), [*said, "--data", str(site.stack.data_dir)])


def clone(path: Path, name: str) -> Path:
    """A copy of a closed replica, key and all, as a restored backup would be."""
    twin = path.with_name(f"{path.stem} {name}.db")
    shutil.copy(path, twin)
    shutil.copy(f"{path}.key", f"{twin}.key")
    return twin


def copy_database(site: Site, source: str, target: str) -> None:
    """Make `target` what `source` is, while the API is down and everybody else is thrown out."""
    site.stack.kill_api()
    server = site.stack.database_url.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {target} WITH (FORCE)")
        connection.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", [source])
        connection.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
        connection.execute(f"ALTER DATABASE {source} ALLOW_CONNECTIONS true")
    site.stack.restart_api()


@contextmanager
def site_on(stack: Stack) -> Iterator[Site]:
    """A new town on a stack that others use as well: its name is theirs too, so commands ask for its id."""
    with scratch_directory() as directory, office_of(stack) as office:
        yield Site(stack, office, directory)


@contextmanager
def running_site() -> Iterator[Site]:
    """A new stack and its town, for as long as the block lasts."""
    with scratch_directory() as directory, Stack.start(directory / "data") as stack, office_of(stack) as office:
        yield Site(stack, office, directory)
