"""overlay: queries while a long outbox waits; beside them, the same queries on a plain table in such a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from client_sdk.adapters.sqlite.connection import connect, writing
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.limits import KEY_BYTES
from server.cli.bench.shop import code_for_tablet, enrol, open_shop

TOWN = "Overlay"
TOLD_EVERY = 500
SAMPLES = 50
GOAL_TIMES_PLAIN = 2
COLUMNS = ("id", "number", "status", "customer_name", "address")
LIST = f"SELECT {', '.join(COLUMNS)} FROM orders WHERE status = ? ORDER BY number LIMIT 50"  # noqa: S608 - as above
ONE = f"SELECT {', '.join(COLUMNS)} FROM orders WHERE id = ?"  # noqa: S608 - as above

Query = Callable[[str, Sequence[str]], object]


def overlay(bench: Bench) -> Measured:
    """Time a list and a row of a replica of which everything is pending."""
    count, shop = bench.sizes.pending_change_sets, open_shop(bench, TOWN)
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "overlay.db") as replica:
        replica.sync()
        for number in range(count):
            if number % TOLD_EVERY == 0:
                bench.say(f"overlay: piling up {number:,} of {count:,}")
            replica.record(*shop.order(number))
        rows = replica.query(f"SELECT {', '.join(COLUMNS)} FROM orders")  # noqa: S608 - as above
        assert len(rows) == count, (len(rows), count)
        bench.say("overlay: asking")
        list_ms, one_ms = _asked_ms(replica.query, rows)
    bench.say("overlay: the same of a plain table")
    plain_list_ms, plain_one_ms = _plain_ms(bench.folder / "plain.db", rows)
    return Measured(
        what=f"a list of 50 out of {count:,} orders that are all pending, median",
        unit="ms",
        value=list_ms,
        limit=plain_list_ms,
        limit_what="the same query on a plain table with the same cipher, median",
        goals=[
            Goal(what="times the list", value=list_ms / plain_list_ms, bound=GOAL_TIMES_PLAIN, is_ceiling=True),
            Goal(what="times one row by id", value=one_ms / plain_one_ms, bound=GOAL_TIMES_PLAIN, is_ceiling=True),
        ],
        where="a view reads each field out of the row's JSON, where a plain table has a column",
        details={
            "pending": count,
            "list_ms": list_ms,
            "plain_list_ms": plain_list_ms,
            "one_ms": one_ms,
            "plain_one_ms": plain_one_ms,
        },
    )


def _asked_ms(query: Query, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The medians of the list and of one row, each asked for often."""
    statuses = [str(rows[0]["status"])] * SAMPLES
    ids = [str(row["id"]) for row in rows[:: max(1, len(rows) // SAMPLES)]]
    return _median_ms(query, LIST, statuses), _median_ms(query, ONE, ids)


def _median_ms(query: Query, statement: str, values: Sequence[str]) -> float:
    samples = []
    for value in values:
        started = time.perf_counter()
        query(statement, [value])
        samples.append((time.perf_counter() - started) * 1000)
    return median(samples)


def _plain_ms(path: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    connection = connect(path, KEY_BYTES, may_create=True)
    try:
        with writing(connection):
            connection.execute(f"CREATE TABLE orders ({', '.join(COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID")
            connection.executemany(
                f"INSERT INTO orders VALUES ({', '.join('?' * len(COLUMNS))})",  # noqa: S608 - question marks
                [tuple(row[name] for name in COLUMNS) for row in rows],
            )

        def query(statement: str, values: Sequence[str]) -> object:
            cursor = connection.execute(statement, values)
            return [dict(zip(COLUMNS, row, strict=True)) for row in cursor]

        return _asked_ms(query, rows)
    finally:
        connection.close()
