"""A crew: tablets and a van of one town that work through a part of its trade, offline in spells, in a process.

Several crews may work in one town at the same time: the invoices are shared out by customer, so that whoever handles a
cancellation also handled what it takes back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from client_sdk import Offline, Replica, ServerProblem
from loadtests.office import Desk, Refused
from loadtests.retail import Invoice, Tablet, Van
from sync.kernel.changeset import Fields
from sync.modules.identity import held_buckets

PASSPHRASE = "a season of trade"  # noqa: S105 - guards made-up data
SPELL_SHARE = 0.05
"""After how many of its crew's invoices a device meets the network."""

TRIES_MAX = 60
PAUSE_SECONDS = 1.0

OVERTAKEN = frozenset({"orders.already_assigned", "orders.already_cancelled", "orders.already_delivered"})
"""What the office may hear when the order has gone on meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """What a crew is told. `tablets` is how many it has; it has one van."""

    name: str
    url: str
    email: str
    password: str
    town: str
    invoices: Sequence[Invoice]
    folder: Path
    tablets: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class CrewDevice:
    """A device as it is left: its file, and the buckets that it should hold."""

    town: str
    path: Path
    buckets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CrewReport:
    """What a crew did: change sets recorded, orders cancelled and the pieces in them, and its devices."""

    town: str
    change_sets: int
    cancelled_orders: int
    cancelled_pieces: int
    devices: Sequence[CrewDevice]


def synced(replica: Replica) -> None:
    """Sync to quiet, coming back as often as the server asks for it or cannot be reached."""
    for _ in range(TRIES_MAX):
        try:
            replica.sync()
        except Offline:
            time.sleep(PAUSE_SECONDS)
        except ServerProblem as problem:
            if problem.retry_after_seconds is None:
                raise
            time.sleep(problem.retry_after_seconds)
        else:
            return
    replica.sync()


def work(crew: Crew, done: Callable[[int], None]) -> CrewReport:
    """A season of this crew; `done` is told each invoice. Every device has nothing pending in the end."""
    with ExitStack() as shift, Desk(crew.url, crew.email, crew.password) as desk:
        season = _Season(crew, desk, shift)
        for place, invoice in enumerate(crew.invoices):
            season.handle(place, invoice)
            season.spell()
            done(1)
        season.close_up()
        return season.report()


class _Season:
    """A crew at work."""

    def __init__(self, crew: Crew, desk: Desk, shift: ExitStack) -> None:
        self._crew, self._desk = crew, desk
        self._chance = random.Random(crew.seed)
        clerk = desk.add_user(crew.town, f"Clerk {crew.name}", "warehouse_staff")
        driver = desk.add_user(crew.town, f"Driver {crew.name}", "driver")
        warehouse = desk.warehouse(crew.town)
        whose = {"user_id": None, "warehouse_id": warehouse}
        self._devices: list[CrewDevice] = []
        self._tablets = []
        for number in range(crew.tablets):
            code = desk.code(crew.town, "warehouse_staff", warehouse=warehouse)
            replica = self._enrolled(f"tablet {number}", code, clerk, {"role": "warehouse_staff"} | whose, shift)
            self._tablets.append(Tablet(replica, warehouse=warehouse))
        code = desk.code(crew.town, "driver", user=driver)
        van = self._enrolled("van", code, driver, {"role": "driver", "user_id": driver, "warehouse_id": None}, shift)
        self._van = Van(van, driver=driver)
        self._open: dict[tuple[str, frozenset[tuple[str, int]]], list[str]] = {}
        self._by_order: dict[str, Tablet] = {}
        self._delivered: set[str] = set()
        self._cancelled_orders = self._cancelled_pieces = 0

    def _enrolled(self, name: str, code: str, who: str, device: Fields, shift: ExitStack) -> Replica:
        path = self._crew.folder / f"{self._crew.name} {name}.db"
        replica = shift.enter_context(
            Replica.enrol(self._crew.url, code=code, path=path, passphrase=PASSPHRASE, name=path.stem)
        )
        synced(replica)
        shift.enter_context(replica.acting_as(who))
        buckets = held_buckets(replica.device_id, device)
        self._devices.append(CrewDevice(town=self._crew.town, path=path, buckets=buckets))
        return replica

    def handle(self, place: int, invoice: Invoice) -> None:
        """An order to be placed, picked and packed; or goods that come back, or an order that shall not be."""
        if invoice.is_cancellation and self._cancels(invoice):
            return
        tablet = self._tablets[place % len(self._tablets)]
        order = tablet.handle(invoice)
        if order:
            self._open.setdefault((invoice.customer, invoice.goods()), []).append(order)
            self._by_order[order] = tablet

    def _cancels(self, invoice: Invoice) -> bool:
        """Whether this takes back exactly an order that has not been delivered, and the office could cancel it."""
        same = self._open.get((invoice.customer, invoice.goods()), [])
        order = next((one for one in same if one not in self._delivered), None)
        if order is None or not invoice.customer:
            return False
        synced(self._by_order[order].replica)
        try:
            self._desk.cancel(self._crew.town, order)
        except Refused as refused:
            if refused.code not in OVERTAKEN:
                raise
            return False
        same.remove(order)
        self._by_order[order].packed = [one for one in self._by_order[order].packed if one != order]
        self._cancelled_orders += 1
        self._cancelled_pieces += sum(-line.quantity for line in invoice.lines)
        return True

    def spell(self) -> None:
        """Now and then somebody meets the network."""
        for tablet in self._tablets:
            if self._chance.random() < SPELL_SHARE:
                self._hear(tablet)
        if self._chance.random() < SPELL_SHARE:
            synced(self._van.replica)
        if self._chance.random() < SPELL_SHARE:
            self._delivered.update(self._van.deliver_all())

    def _hear(self, tablet: Tablet) -> None:
        """The tablet reports, and what it has packed goes on the crew's tour."""
        synced(tablet.replica)
        packed, tablet.packed = tablet.packed, []
        for order in packed:
            self._desk.assign(self._crew.town, order, self._van.driver)

    def close_up(self) -> None:
        """The end of the season: everybody reports, and everything packed is delivered."""
        for tablet in self._tablets:
            self._hear(tablet)
        synced(self._van.replica)
        self._delivered.update(self._van.deliver_all())
        synced(self._van.replica)

    def report(self) -> CrewReport:
        """What it came to."""
        replicas = [tablet.replica for tablet in self._tablets] + [self._van.replica]
        assert not any(replica.pending() for replica in replicas)
        return CrewReport(
            town=self._crew.town,
            change_sets=sum(len(replica.verdicts()) for replica in replicas),
            cancelled_orders=self._cancelled_orders,
            cancelled_pieces=self._cancelled_pieces,
            devices=tuple(self._devices),
        )


@contextmanager
def reopened(device: CrewDevice) -> Iterator[Replica]:
    """The replica of a device after its crew has gone home."""
    with Replica.open(device.path, passphrase=PASSPHRASE) as replica:
        yield replica
