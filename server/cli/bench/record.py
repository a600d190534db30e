"""record: how long a person waits until an action is on the disk, with an empty outbox and with a full one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

from client_sdk import Replica
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import p50_p99
from server.cli.bench.limits import sqlite_commit_ms
from server.cli.bench.shop import Shop, code_for_tablet, enrol, open_shop

TOWN = "Record"
TOLD_EVERY = 500
GOAL_TIMES_COMMIT = 3
GOAL_GROWTH = 1.2
"""What still counts as flat: with everything pending, a record may take this many times as long as with nothing."""


def record(bench: Bench) -> Measured:
    """Time single records offline: the first ones, then as many after `pending_change_sets` have piled up."""
    sizes, shop, numbers = bench.sizes, open_shop(bench, TOWN), count()
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "record.db") as replica:
        replica.sync()
        bench.say("record: recording with nothing pending")
        empty_p50_ms, empty_p99_ms = p50_p99(_samples_ms(replica, shop, numbers, sizes.record_samples))
        while replica.status.pending < sizes.pending_change_sets:
            bench.say(f"record: piling up {replica.status.pending:,} of {sizes.pending_change_sets:,}")
            _samples_ms(replica, shop, numbers, min(TOLD_EVERY, sizes.pending_change_sets - replica.status.pending))
        full_p50_ms, full_p99_ms = p50_p99(_samples_ms(replica, shop, numbers, sizes.record_samples))
    limit_ms = sqlite_commit_ms(bench.folder / "commit.db")
    return Measured(
        what=f"one record with {sizes.pending_change_sets:,} pending, median",
        unit="ms",
        value=full_p50_ms,
        limit=limit_ms,
        limit_what="one SQLite commit of a small row in a file with the same settings, median",
        goals=[
            Goal(what="times a commit", value=full_p50_ms / limit_ms, bound=GOAL_TIMES_COMMIT, is_ceiling=True),
            Goal(what="times with none pending", value=full_p50_ms / empty_p50_ms, bound=GOAL_GROWTH, is_ceiling=True),
        ],
        where=(
            f"a commit takes {limit_ms:.2f} ms of {full_p50_ms:.2f}; "
            f"rules, chain, signature and more pages to write take the other {full_p50_ms - limit_ms:.2f}"
        ),
        details={
            "pending": sizes.pending_change_sets,
            "empty_p50_ms": empty_p50_ms,
            "empty_p99_ms": empty_p99_ms,
            "full_p50_ms": full_p50_ms,
            "full_p99_ms": full_p99_ms,
        },
    )


def _samples_ms(replica: Replica, shop: Shop, numbers: Iterator[int], samples: int) -> list[float]:
    taken = []
    for _ in range(samples):
        operations = shop.order(next(numbers))
        started = time.perf_counter()
        replica.record(*operations)
        taken.append((time.perf_counter() - started) * 1000)
    return taken
