"""Devices under Locust: every user holds a real replica and syncs it over the wire, as an app would.

What takes time is told to Locust under a name of its own. When a device stops, it syncs to quiet and the law is asked:
nothing pending, every recorded change set answered once, the replica sound. A broken law is a failed request.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any, ClassVar, TypeVar

from locust import User, events
from locust.env import Environment
from locust.exception import StopUser

from client_sdk import Offline, Replica, ServerProblem
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from loadtests.crew import synced
from loadtests.office import Desk
from sync.modules.commerce import ReceiveStock

PASSPHRASE = "load test"  # noqa: S105 - guards made-up data
RECEIVED = 1

T = TypeVar("T")


class LawBroken(Exception):
    """Something was lost or doubled."""


class Fleet:
    """What all devices of a run share: the desk that lets them in, the town, its shelf, a folder for their files."""

    def __init__(self, environment: Environment) -> None:
        options: Any = environment.parsed_options
        self.url = str(environment.host)
        self.desk = Desk(self.url, options.email, options.password)
        self.town = options.town_id or self.desk.towns[0]
        self.warehouse = self.desk.warehouse(self.town)
        self.clerk = self.desk.add_user(self.town, f"Load {time.time_ns()}", "warehouse_staff")
        self.folder = Path(tempfile.mkdtemp(prefix="tallystick-load-"))
        self._numbers = itertools.count(1)

    def next_path(self) -> Path:
        """A file for one more replica."""
        return self.folder / f"device-{next(self._numbers)}.db"

    def close(self) -> None:
        """Remove what was made here."""
        shutil.rmtree(self.folder)


all_are_there = Event()
"""Set once every user of the run has been started."""

_FLEETS: dict[int, Fleet] = {}


def fleet_of(environment: Environment) -> Fleet:
    """The fleet of this run, made when the first device asks."""
    return _FLEETS.get(id(environment)) or _FLEETS.setdefault(id(environment), Fleet(environment))


def _spawned(**_: object) -> None:
    all_are_there.set()


def _quitting(environment: Environment, **_: object) -> None:
    fleet = _FLEETS.pop(id(environment), None)
    if fleet is not None:
        fleet.close()


events.spawning_complete.add_listener(_spawned)  # type: ignore[no-untyped-call]
events.quitting.add_listener(_quitting)  # type: ignore[no-untyped-call]


class Counted:
    """A user that ends after so many tasks when `--tasks` says how many; a scenario calls `did` at the end of each."""

    environment: Environment
    _done = 0

    def did(self) -> None:
        """One more; raises `StopUser` at the last."""
        options: Any = self.environment.parsed_options
        self._done += 1
        if self._done == options.tasks:
            raise StopUser


class Tablet(Counted, User):
    """A warehouse tablet; a scenario says what it does and when."""

    abstract = True
    scenario: ClassVar[str] = ""
    """Before the names of its requests."""

    def on_start(self) -> None:
        """Enrol and take the first sync, which are requests of their own."""
        fleet = fleet_of(self.environment)
        code = fleet.desk.code(fleet.town, "warehouse_staff", warehouse=fleet.warehouse)
        self._path, self._recorded = fleet.next_path(), 0
        self.timed("enrol", lambda: self._enrol(code)).close()
        self.replica = Replica.open(self._path, passphrase=PASSPHRASE, transport=self._wire())
        self.timed("first sync", lambda: synced(self.replica))
        self._products = [str(row["id"]) for row in self.replica.query("SELECT id FROM products ORDER BY sku LIMIT 50")]
        if not self._products:
            raise StopUser

    def on_stop(self) -> None:
        """Everything up, and the law."""
        self.replica.close()
        with Replica.open(self._path, passphrase=PASSPHRASE) as replica:
            self.timed("last sync", lambda: synced(replica))
            self.timed("law", lambda: _check(replica, self._recorded))

    def work(self, change_sets: int) -> None:
        """Pieces come in, one a change set, recorded without a network."""
        fleet = fleet_of(self.environment)
        with self.replica.acting_as(fleet.clerk):
            for _ in range(change_sets):
                product = self._products[self._recorded % len(self._products)]
                self.replica.record(ReceiveStock(warehouse=fleet.warehouse, product=product, quantity=RECEIVED))
                self._recorded += 1

    def sync(self) -> None:
        """One sync to quiet, timed; who is told to come back later does so."""
        try:
            self.timed("sync", self.replica.sync)
        except ServerProblem as problem:
            time.sleep(problem.retry_after_seconds or 1)

    def timed(self, what: str, act: Callable[[], T], *, expected: Sequence[type[Exception]] = ()) -> T:
        """Do it and tell Locust; a fault is a failed request, and goes on to whoever called."""
        started, fault = time.perf_counter(), None
        try:
            return act()
        except (Offline, ServerProblem, LawBroken) as problem:
            fault = None if isinstance(problem, tuple(expected)) else problem
            raise
        finally:
            self.environment.events.request.fire(  # type: ignore[no-untyped-call]
                request_type="SDK",
                name=f"{self.scenario}: {what}",
                response_time=(time.perf_counter() - started) * 1000,
                response_length=0,
                exception=fault,
                context={},
            )

    def transport(self, wire: HttpTransport) -> Any:
        """The wire to the server; a scenario may put something in between."""
        return wire

    def _enrol(self, code: str) -> Replica:
        url = fleet_of(self.environment).url
        return Replica.enrol(url, code=code, path=self._path, passphrase=PASSPHRASE, name=self._path.stem)

    def _wire(self) -> Any:
        with Replica.open(self._path, passphrase=PASSPHRASE) as replica:
            identity = replica._store.identity()  # noqa: SLF001 - an instrument
        return self.transport(HttpTransport(fleet_of(self.environment).url, RealSystem(), identity))


def _check(replica: Replica, recorded: int) -> None:
    """Raise `LawBroken` for whatever is not as it should be."""
    found = [*replica.verify(), *_unanswered(replica)]
    if len(replica.verdicts()) != recorded:
        found.append(f"{recorded} change sets were recorded, {len(replica.verdicts())} are answered")
    if found:
        raise LawBroken("; ".join(found))


def _unanswered(replica: Replica) -> Iterator[str]:
    for entry in replica.pending():
        yield f"change set {entry.seq} is still pending"
