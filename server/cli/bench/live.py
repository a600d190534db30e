"""live: from a record on one device until a query on another sees it; beside it, PostgreSQL's own notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg

from client_sdk import Replica
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import p50_p99
from server.cli.bench.shop import Shop, code_for_tablet, enrol, open_shop

TOWN = "Live"
SAMPLES = 50
STEP_SECONDS_MAX = 30.0
GOAL_P50_MS, GOAL_P99_MS = 25, 100


def live(bench: Bench) -> Measured:
    """Time what a second person waits until the first one's work is on the screen."""
    shop = open_shop(bench, TOWN)
    with (
        enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "one.db") as one,
        enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "other.db") as other,
    ):
        for replica in (one, other):
            replica.sync()
            replica.start()
        samples = list(_samples_ms(bench, one, other, shop))
        for replica in (one, other):
            replica.stop()
    bench.say("live: a commit and its notice in PostgreSQL alone")
    limit = _notice_ms(bench.stack.database_url)
    p50_ms, p99_ms = p50_p99(samples)
    return Measured(
        what="from a record on one device to a query on another, median",
        unit="ms",
        value=p50_ms,
        limit=limit,
        limit_what="a commit with NOTIFY until another connection hears it, median",
        goals=[
            Goal(what="p50, ms", value=p50_ms, bound=GOAL_P50_MS, is_ceiling=True),
            Goal(what="p99, ms", value=p99_ms, bound=GOAL_P99_MS, is_ceiling=True),
        ],
        where="two exchanges and a hint on the way: one's push and commit, the hint, the other's pull and settling",
        details={"samples": SAMPLES, "p99_ms": p99_ms},
    )


def _samples_ms(bench: Bench, one: Replica, other: Replica, shop: Shop) -> Iterator[float]:
    """Record on `one`, and wait until `other` has a row more."""
    seen = _Seen(other)
    for number in range(SAMPLES):
        bench.say(f"live: {number + 1} of {SAMPLES}")
        started = time.perf_counter()
        one.record(shop.order(number)[0])
        yield (seen.await_count(number + 1) - started) * 1000


class _Seen:
    """When a watched count was first how high, told by a thread that watches it."""

    def __init__(self, replica: Replica) -> None:
        self._moved = threading.Condition()
        self._at: dict[int, float] = {}
        self._watching = threading.Thread(target=self._watch, args=(replica,), daemon=True)
        self._watching.start()

    def await_count(self, count: int) -> float:
        """When it was so many."""
        with self._moved:
            assert self._moved.wait_for(lambda: count in self._at, STEP_SECONDS_MAX), "it never came"
            return self._at[count]

    def _watch(self, replica: Replica) -> None:
        for rows in replica.watch("SELECT count(*) AS orders FROM orders"):
            with self._moved:
                self._at[int(rows[0]["orders"])] = time.perf_counter()
                self._moved.notify_all()


def _notice_ms(database_url: str) -> float:
    with (
        psycopg.connect(database_url, autocommit=True) as hearing,
        psycopg.connect(database_url, autocommit=True) as telling,
    ):
        telling.execute("CREATE TABLE bench_notice (id int PRIMARY KEY)")
        hearing.execute("LISTEN bench_notice")
        samples = []
        for number in range(SAMPLES):
            started = time.perf_counter()
            with telling.transaction():
                telling.execute("INSERT INTO bench_notice VALUES (%s)", [number])
                telling.execute("NOTIFY bench_notice")
            assert list(hearing.notifies(timeout=STEP_SECONDS_MAX, stop_after=1))
            samples.append((time.perf_counter() - started) * 1000)
        telling.execute("DROP TABLE bench_notice")
    return p50_p99(samples)[0]
