"""size: what a row takes on a device, a change set on the server and an operation on the wire; beside it, their JSON.

A row's JSON is one object with its id, its version and its fields. A change set's is the line itself, without the
rows, the feed, the journal and the ledger that come of it: those are what is paid for.
"""

from __future__ import annotations

import orjson
import psycopg

from server.cli.bench.first_sync import AUTHORED_AT_ONCE, code_for_list, product
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.shop import code_for_tablet, enrol, open_shop

TOWN, TOWN_OF_ROWS = "Size", "Size of rows"
OPERATIONS = 2
TOLD_EVERY = 500
GOAL_REPLICA, GOAL_SERVER, GOAL_WIRE = 1.0, 3.0, 0.5

_STORED = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
WHERE c.relnamespace = 'tallystick'::regnamespace AND c.relkind IN ('r', 'm')
"""


def size(bench: Bench) -> Measured:
    """Weigh a replica of a price list, and what a day's work adds to the server."""
    replica_bytes, row_json_bytes, wire_row_bytes = _per_row(bench)
    server_bytes, line_bytes, wire_bytes = _per_change_set(bench)
    replica_ratio, server_ratio = replica_bytes / row_json_bytes, server_bytes / line_bytes
    wire_ratio = wire_bytes / line_bytes
    return Measured(
        what="bytes that a row of a price list takes in a replica",
        unit="bytes/row",
        value=replica_bytes,
        limit=row_json_bytes,
        limit_what="the row as JSON, with its id and version",
        goals=[
            Goal(what="times the row's JSON, replica", value=replica_ratio, bound=GOAL_REPLICA, is_ceiling=True),
            Goal(what="times the line's JSON, server", value=server_ratio, bound=GOAL_SERVER, is_ceiling=True),
            Goal(what="times the line's JSON, wire up", value=wire_ratio, bound=GOAL_WIRE, is_ceiling=True),
        ],
        where=(
            f"a row is {row_json_bytes:.0f} bytes of JSON and {wire_row_bytes:.0f} on the wire; a change set of "
            f"{OPERATIONS} operations is {line_bytes:.0f} bytes of JSON, {wire_bytes:.0f} on the wire and "
            f"{server_bytes:.0f} on the server, with its rows, feed rows, books, journal entry, verdict and indexes"
        ),
        details={
            "rows": bench.sizes.sized_rows,
            "replica_bytes_per_row": replica_bytes,
            "json_bytes_per_row": row_json_bytes,
            "wire_bytes_down_per_row": wire_row_bytes,
            "change_sets": bench.sizes.sized_change_sets,
            "server_bytes_per_change_set": server_bytes,
            "json_bytes_per_change_set": line_bytes,
            "wire_bytes_up_per_operation": wire_bytes / OPERATIONS,
        },
    )


def _per_row(bench: Bench) -> tuple[float, float, float]:
    """For each row: bytes in the replica's file, of JSON, and on the wire."""
    office, count = bench.office, bench.sizes.sized_rows
    office.found(TOWN_OF_ROWS)
    warehouse = office.add_warehouse(TOWN_OF_ROWS, "Shelf")
    for first in range(0, count, AUTHORED_AT_ONCE):
        bench.say(f"size: writing {first:,} of {count:,} rows")
        office.must(TOWN_OF_ROWS, *map(product, range(first, min(count, first + AUTHORED_AT_ONCE))))
    office.offer_snapshots()
    path = bench.folder / "rows.db"
    with enrol(bench.stack.url, code_for_list(bench, TOWN_OF_ROWS, warehouse), path) as replica:
        report = replica.sync()
        rows = replica.query("SELECT * FROM products")
    json_bytes = sum(len(orjson.dumps(row)) for row in rows)
    return path.stat().st_size / len(rows), json_bytes / len(rows), report.bytes_down / len(rows)


def _per_change_set(bench: Bench) -> tuple[float, float, float]:
    """For each change set: bytes in the database, of the line, and on the wire."""
    count, shop = bench.sizes.sized_change_sets, open_shop(bench, TOWN)
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "work.db") as replica:
        replica.sync()
        for number in range(count):
            if number % TOLD_EVERY == 0:
                bench.say(f"size: recording {number:,} of {count:,} change sets")
            replica.record(*shop.order(number))
        line_bytes = sum(len(entry.line) for entry in replica.pending())
        before = _stored_bytes(bench)
        report = replica.sync()
    return (_stored_bytes(bench) - before) / count, line_bytes / count, report.bytes_up / count


def _stored_bytes(bench: Bench) -> int:
    """All tables with their indexes and what dead rows leave free."""
    with psycopg.connect(bench.stack.database_url) as connection:
        row = connection.execute(_STORED).fetchone()
    assert row is not None
    return int(row[0])
