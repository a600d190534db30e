"""A town at work, for tests that break something under it: tablets that sync, an office over HTTP, a live stream.

Each works in a thread of its own until the block ends, and keeps to what the server asks: who is told to come back
later does so. Nobody gives up, and each notes what it was answered. `check` is the law afterwards.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import orjson

from client_sdk import Offline, Replica, ServerProblem
from client_sdk.adapters.http import HttpTransport
from client_sdk.adapters.system import RealSystem
from server.application.commands.accounts import account_for
from tests.support.office import PASSPHRASE
from tests.support.site import TOWN, Site
from tests.support.staff_world import PASSWORD

TABLETS = 2
ANSWER_SECONDS_MAX = 30.0
"""No request of the office hangs for longer: PostgreSQL's limits end what waits."""

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 1.0
EMAIL = "ada@example.org"
AS_DESIGNED = frozenset({200, 201, 204, 429, 503})


class NotAsDesignedError(Exception):
    """An answer that nobody should ever get."""


@dataclass(kw_only=True)
class Worker:
    """One who works: what it does, and how it went so far."""

    name: str
    work: Callable[[Worker], None]
    done: int = 0
    answered: int = 0
    troubles: list[str] = field(default_factory=list)
    """What it could not do at the first attempt, and was told so as it should be."""
    wrongs: list[str] = field(default_factory=list)
    """What nobody should ever hear; it ends the work."""


class Traffic:
    """The workers at a site; `check` when nothing is broken any more and the block has ended."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.workers = [
            *(Worker(name=f"tablet {number}", work=self._on_tablet) for number in range(TABLETS)),
            Worker(name="office", work=self._in_office),
            Worker(name="live", work=self._listening),
        ]
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._shelves: dict[str, tuple[Path, str]] = {}
        for worker in self.workers[:TABLETS]:
            path = site.tablet()
            self._shelves[worker.name] = (path, site.warehouse)
        self._ear = path.with_name(f"ear of {path.name}")
        site.office.enrol(TOWN, self._ear, "warehouse_staff", warehouse=site.warehouse).close()
        self._hang_up: Callable[[], None] = lambda: None
        self._recorded: dict[str, list[int]] = {worker.name: [] for worker in self.workers}
        self._received = 0
        self._cancelled: set[str] = set()
        self._numbers = itertools.count(1)
        self.client, self.headers = self._signed_in()

    def await_work(self, times: int = 1, *names: str) -> None:
        """Return when each of them, or everybody, has done something so many times more."""
        self._await(lambda worker: worker.done, times, names)

    def await_answers(self, times: int, *names: str) -> None:
        """Return when each of them, or everybody, was answered so many times more, whatever the answer."""
        self._await(lambda worker: worker.answered, times, names)

    def troubles_of(self, *names: str) -> list[str]:
        """What went wrong as designed."""
        return [trouble for worker in self._named(names) for trouble in worker.troubles]

    def start(self) -> list[threading.Thread]:
        """Let everybody work."""
        threads = [
            threading.Thread(target=self._keep_working, args=[worker], name=worker.name, daemon=True)
            for worker in self.workers
        ]
        for thread in threads:
            thread.start()
        return threads

    def stop(self, threads: list[threading.Thread]) -> None:
        """Have everybody end what is under way."""
        self._stopping.set()
        self._hang_up()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), thread.name
        self.client.close()

    def check(self) -> None:
        """Nobody heard what nobody should; everything that was done is booked once, told once, and verifies."""
        wrongs = [wrong for worker in self.workers for wrong in worker.wrongs]
        assert wrongs == [], wrongs
        for name, (path, warehouse) in self._shelves.items():
            self.site.warehouse = warehouse
            self.site.check(path, self._recorded[name])
        self._await_empty_outbox()
        told = self.site.stored("SELECT order_id::text FROM tallystick.messages")
        assert sorted(order for (order,) in told if order in self._cancelled) == sorted(self._cancelled)
        level = "SELECT on_hand FROM tallystick.stock_levels WHERE warehouse_id = %s"
        assert self.site.stored(level, self.office_shelf) == [(self._received,)]
        assert self.site.office.books.verify(TOWN).findings == ()

    def _named(self, names: tuple[str, ...]) -> list[Worker]:
        return [worker for worker in self.workers if not names or worker.name.partition(" ")[0] in names]

    def _await(self, count: Callable[[Worker], int], times: int, names: tuple[str, ...]) -> None:
        workers = self._named(names)
        with self._changed:
            wanted = {worker.name: count(worker) + times for worker in workers}
            self._changed.wait_for(lambda: all(count(w) >= wanted[w.name] for w in workers), PATIENCE_SECONDS)
            late = {w.name: [*w.wrongs, *w.troubles[-3:]] for w in workers if count(w) < wanted[w.name]}
        assert late == {}, late

    def _keep_working(self, worker: Worker) -> None:
        while not self._stopping.is_set():
            try:
                worker.work(worker)
            except Exception as fault:  # noqa: BLE001  told to the test by `check`
                worker.wrongs.append(f"{worker.name}: {type(fault).__name__}: {fault}")
                return

    def _note(self, worker: Worker, trouble: str = "", pause_seconds: float = PAUSE_SECONDS) -> None:
        """It was done, or there was a trouble, after which the worker waits as long as it was told to."""
        with self._changed:
            worker.answered += 1
            worker.done += not trouble
            self._changed.notify_all()
        if trouble:
            worker.troubles.append(trouble)
            self._stopping.wait(min(pause_seconds, PAUSE_SECONDS_MAX))

    def _note_problem(self, worker: Worker, problem: ServerProblem) -> None:
        if problem.status not in AS_DESIGNED or problem.retry_after_seconds is None:
            raise NotAsDesignedError(f"{problem.status} {problem.code} {problem.retry_after_seconds}")
        self._note(worker, f"{problem.status} {problem.code}", problem.retry_after_seconds or PAUSE_SECONDS)

    def _on_tablet(self, worker: Worker) -> None:
        path, warehouse = self._shelves[worker.name]
        with Replica.open(path, passphrase=PASSPHRASE) as replica:
            while not self._stopping.is_set():
                self._recorded[worker.name] += self.site.receive_at(replica, warehouse)
                try:
                    replica.sync()
                except Offline as offline:
                    self._note(worker, offline.code)
                except ServerProblem as problem:
                    self._note_problem(worker, problem)
                else:
                    self._note(worker)

    def _listening(self, worker: Worker) -> None:
        with Replica.open(self._ear, passphrase=PASSPHRASE) as replica:
            wire = HttpTransport(self.site.stack.url, RealSystem(), replica._store.identity())
        self._hang_up = partial(wire.interrupt, threading.get_ident())
        try:
            hints = wire.hints()
            next(hints)
            for _ in hints:
                self._note(worker)
                if self._stopping.is_set():
                    return
            self._note(worker, "the stream ended")
        except Offline as offline:
            self._note(worker, offline.code)
        except ServerProblem as problem:
            self._note_problem(worker, problem)
        finally:
            wire.close()

    def _in_office(self, worker: Worker) -> None:
        """Goods come in, and an order is placed and cancelled, of which the customer hears."""
        line = {"product": self.site.product, "quantity": 1}
        came_in = {"warehouse": self.office_shelf, "product": self.site.product, "quantity": 1}
        self._ask(worker, "stock/receive", came_in)
        self._received += 1
        order = {"number": f"{next(self._numbers)}", "warehouse": self.office_shelf, "lines": [line]}
        placed = self._ask(worker, "orders", order | {"customer_name": "Grace", "phone": ""})
        self._ask(worker, f"orders/{placed['id']}/cancel", {"reason": "asked for"})
        self._cancelled.add(placed["id"])

    def _ask(self, worker: Worker, path: str, said: dict[str, Any]) -> dict[str, Any]:
        """Have it done once, however often it must be asked for."""
        headers = self.headers | {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/json"}
        address = f"/v1/towns/{self.site.office.books.towns[TOWN]}/{path}"
        while True:
            try:
                answer = self.client.post(address, content=orjson.dumps(said), headers=headers)
            except httpx2.TimeoutException as fault:
                raise NotAsDesignedError(f"{path} hangs") from fault
            except httpx2.TransportError as fault:
                self._note(worker, type(fault).__name__)
                continue
            if answer.is_success:
                self._note(worker)
                found: dict[str, Any] = answer.json()
                return found
            wait = answer.headers.get("Retry-After")
            if answer.status_code not in AS_DESIGNED or wait is None:
                raise NotAsDesignedError(f"{path} {answer.status_code} {answer.text}")
            self._note(worker, f"{answer.status_code} {answer.json()['code']}", float(wait))

    def _signed_in(self) -> tuple[httpx2.Client, dict[str, str]]:
        books = self.site.office.books
        self.office_shelf = books.add_warehouse(TOWN, f"Office {uuid.uuid4()}")
        people = books._core.people
        account = books.run(account_for(people, EMAIL, PASSWORD))
        if not books.run(people.accounts.emails(books.towns[TOWN])):
            books.run(people.accounts.link(account, books.towns[TOWN], books.add_user(TOWN, "Ada", "admin")))
        client = httpx2.Client(base_url=self.site.stack.url, timeout=ANSWER_SECONDS_MAX)
        origin = {"Origin": self.site.stack.url}
        answer = client.post("/v1/sessions", json={"email": EMAIL, "password": PASSWORD}, headers=origin)
        assert answer.status_code == 201, answer.text
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        client.cookies.clear()
        return client, origin | {"Cookie": cookie, "X-CSRF-Token": answer.json()["csrf_token"]}

    def _await_empty_outbox(self) -> None:
        """The worker hears the bell, and the scheduler sweeps; asks until nothing is left."""
        asked = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / PAUSE_SECONDS)):
            if self.site.stored("SELECT count(*) FROM tallystick.outbox WHERE done_at IS NULL") == [(0,)]:
                return
            asked.wait(PAUSE_SECONDS)
        raise AssertionError(
            self.site.stored("SELECT kind, attempts, problem FROM tallystick.outbox WHERE done_at IS NULL")
        )


@contextmanager
def traffic_at(site: Site) -> Iterator[Traffic]:
    """Everybody at work, at least once before the block begins and once more at its end; then it is checked."""
    traffic = Traffic(site)
    threads = traffic.start()
    try:
        traffic.await_work()
        yield traffic
        traffic.await_work()
    finally:
        traffic.stop(threads)
    traffic.check()
