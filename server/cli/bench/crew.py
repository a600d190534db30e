"""A crew: a process full of devices that work at the same time, a thread each, in step with the other crews.

Several processes, so that the interpreter lock of one does not make the server look slow. A barrier opens before the
recording and another before the syncing, so that only syncing is timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Protocol

import apsw
import httpx2
import orjson

from client_sdk import ServerProblem
from server.cli.bench.naive import SINCE_EVER
from server.cli.bench.shop import Shop, enrol
from sync.kernel.ids import RANDOM_BYTES, make_id

ROUND_CHANGE_SETS = 10
OPERATIONS = 2 * ROUND_CHANGE_SETS
"""What each device does in one round."""

ENROLLED_AT_ONCE = 4
"""Each guards its key with 64 MiB for a moment."""

STEP_SECONDS_MAX = 900.0
"""No step of a crew takes longer; a crew that has failed is noticed by then."""


class Device(Protocol):
    """A client that works and syncs."""

    def work(self, number: int) -> None:
        """Do, unsynced, what belongs to this round."""
        ...

    def sync(self) -> None:
        """Push and pull."""
        ...

    def missing(self, rows: int) -> int:
        """How many of the `rows` that there are it lacks after a last sync."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a crew is told: the devices by name with their enrolment code and their shop, where they need them.

    `change_sets` are those of each device in each round; `rows_expected` is what a device should have in the end.
    """

    url: str
    folder: Path
    codes: Mapping[str, str]
    shops: Mapping[str, Shop]
    change_sets: int
    rounds: int
    rows_expected: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CrewReport:
    """What a crew has seen: each exchange's time, and the rows that its devices never got."""

    exchanges_ms: Sequence[float]
    missing: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CrewRun:
    """What all crews have done: seconds of syncing, the span of time from its first to its last, and the reports."""

    seconds: float
    span: tuple[datetime, datetime]
    reports: Sequence[CrewReport]

    @property
    def exchanges_ms(self) -> list[float]:
        """How long each sync of each device took until it was through."""
        return [each for report in self.reports for each in report.exchanges_ms]

    @property
    def missing(self) -> int:
        """Rows that devices never got."""
        return sum(report.missing for report in self.reports)


class Tablet:
    """A device of ours."""

    def __init__(self, job: Job, name: str) -> None:
        self._shop, self._change_sets = job.shops[name], job.change_sets
        self._replica = enrol(job.url, job.codes[name], job.folder / f"{name}.db")
        self._replica.sync()

    def work(self, number: int) -> None:
        """Sales: an order and its picking each."""
        for place in range(self._change_sets):
            self._replica.record(*self._shop.order(number * self._change_sets + place))

    def sync(self) -> None:
        """Push and pull until quiet, coming back when the server asks for it, as an app in the background does."""
        while True:
            try:
                self._replica.sync()
            except ServerProblem as problem:
                if problem.retry_after_seconds is None:
                    raise
                time.sleep(problem.retry_after_seconds)
            else:
                return

    def missing(self, rows: int) -> int:
        """Orders that are not here; the checksums have to fit as well."""
        self.sync()
        assert self._replica.verify() == ()
        return rows - int(self._replica.query("SELECT count(*) AS orders FROM orders")[0]["orders"])

    def close(self) -> None:
        """Close the replica."""
        self._replica.close()


class NaiveClient:
    """A client of the naive endpoint, with a plain SQLite file."""

    def __init__(self, job: Job, name: str) -> None:
        self._http = httpx2.Client(base_url=job.url, timeout=60)
        self._file = apsw.Connection(str(job.folder / f"{name}.db"))
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, body TEXT)")
        self._since = SINCE_EVER
        self._pending: list[dict[str, Any]] = []

    def work(self, number: int) -> None:
        """Twenty rows of about 300 bytes."""
        for place in range(OPERATIONS):
            row_id = make_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
            body = {"number": f"B-{number}-{place}", "address": "12 Castle Street", "note": "so many words " * 16}
            self._pending.append({"id": row_id, "body": body})

    def sync(self) -> None:
        """Push, then pull from the cursor on."""
        if self._pending:
            self._http.post("/push", json={"rows": self._pending}).raise_for_status()
            self._pending = []
        answer = self._http.get("/pull", params={"since": self._since}).raise_for_status()
        rows = orjson.loads(answer.content)
        with self._file:
            self._file.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?)",
                [(row_id, orjson.dumps(body).decode()) for row_id, body, _ in rows],
            )
        if rows:
            self._since = rows[-1][2]

    def missing(self, rows: int) -> int:
        """Rows that are not here after a last pull, and never will be."""
        self.sync()
        return rows - int(self._file.execute("SELECT count(*) FROM rows").get)

    def close(self) -> None:
        """Close the file and the connection."""
        self._file.close()
        self._http.close()


def shared_out(names: Iterable[str], processes: int) -> list[list[str]]:
    """The devices of each crew."""
    listed = list(names)
    return [listed[part::processes] for part in range(processes)]


def run_crews(kind: Callable[[Job, str], Device], jobs: Sequence[Job]) -> CrewRun:
    """Run one crew per job; only what is between the first sync of a round and its last is timed."""
    context = get_context("spawn")
    barrier = context.Barrier(len(jobs) + 1, timeout=STEP_SECONDS_MAX)
    crews = []
    for job in jobs:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_crew, args=(kind, job, barrier, theirs), daemon=True)
        process.start()
        crews.append((process, ours))
    try:
        seconds, spans = 0.0, []
        for _ in range(jobs[0].rounds):
            barrier.wait()
            began_at, started = datetime.now(UTC), time.perf_counter()
            barrier.wait()
            seconds += time.perf_counter() - started
            spans.append((began_at, datetime.now(UTC)))
        span = spans[0][0], spans[-1][1]
        return CrewRun(seconds=seconds, span=span, reports=[pipe.recv() for _, pipe in crews])
    finally:
        for process, _ in crews:
            process.join(0)
            process.terminate()
            process.join()


def _crew(kind: Callable[[Job, str], Device], job: Job, barrier: Barrier, answers: Connection) -> None:
    """One crew, from enrolling its devices to its report; a fault in it breaks the barrier for everybody."""
    try:
        with ThreadPoolExecutor(len(job.codes)) as threads, ThreadPoolExecutor(ENROLLED_AT_ONCE) as few:
            devices = list(few.map(lambda name: kind(job, name), job.codes))
            exchanges_ms: list[float] = []
            for number in range(job.rounds):
                list(threads.map(lambda device: device.work(number), devices))  # noqa: B023 - done before the next
                barrier.wait()
                exchanges_ms.extend(threads.map(_sync_ms, devices))
                barrier.wait()
            missing = sum(threads.map(lambda device: device.missing(job.rows_expected), devices))
            for device in devices:
                device.close()
        answers.send(CrewReport(exchanges_ms=exchanges_ms, missing=missing))
    except BaseException:
        barrier.abort()
        raise


def _sync_ms(device: Device) -> float:
    started = time.perf_counter()
    device.sync()
    return (time.perf_counter() - started) * 1000
