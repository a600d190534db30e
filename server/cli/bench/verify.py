"""verify: a whole journal rebuilt and compared with what is stored; beside it, only reading it."""

from __future__ import annotations

import time

import psycopg

from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.shop import code_for_tablet, enrol, open_shop

TOWN = "Verify"
SENT_AT_ONCE = 1_000
READ_AT_ONCE = 1_000
GOAL_CHANGE_SETS_PER_SECOND = 10_000

_JOURNAL = "SELECT line, verdict FROM tallystick.change_sets WHERE town_id = %s ORDER BY version"


def verify(bench: Bench) -> Measured:
    """Time `tallystick verify` over a town with many change sets."""
    count, shop = bench.sizes.verified_change_sets, open_shop(bench, TOWN)
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "verify.db") as replica:
        replica.sync()
        for first in range(0, count, SENT_AT_ONCE):
            bench.say(f"verify: writing {first:,} of {count:,} change sets")
            for number in range(first, min(count, first + SENT_AT_ONCE)):
                replica.record(*shop.order(number))
            replica.sync()
    bench.say("verify: verifying")
    cpu_started, started = time.process_time(), time.perf_counter()
    report = bench.office.verify(TOWN)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    assert report.findings == (), report.findings
    bench.say("verify: reading alone")
    limit = _read_per_second(bench)
    change_sets_per_second = report.change_sets / seconds
    return Measured(
        what=f"change sets of a journal of {report.change_sets:,}, rebuilt and compared with every table",
        unit="change sets/s",
        value=change_sets_per_second,
        limit=limit,
        limit_what="reading the same lines and verdicts in order",
        goals=[Goal(what="change sets/s", value=change_sets_per_second, bound=GOAL_CHANGE_SETS_PER_SECOND)],
        where=f"of {seconds:.2f} s the processor of the one that verifies was busy for {cpu_seconds:.2f} s",
        details={
            "change_sets": report.change_sets,
            "rows": report.rows,
            "feed_rows": report.feed_rows,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        },
    )


def _read_per_second(bench: Bench) -> float:
    """Change sets per second that a cursor brings, in the order of the journal."""
    with psycopg.connect(bench.stack.database_url) as connection, connection.cursor(name="bench") as cursor:
        cursor.itersize = READ_AT_ONCE
        started = time.perf_counter()
        cursor.execute(_JOURNAL, [bench.office.towns[TOWN]])
        count = sum(1 for _ in cursor)
        return count / (time.perf_counter() - started)
