"""first_sync: a device that has nothing gets a whole price list; beside it, SQLite alone with the same rows."""

from __future__ import annotations

import time

import orjson

from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, NotingSystem, told
from server.cli.bench.limits import sqlite_rows_per_second
from server.cli.bench.shop import enrol
from sync.modules.catalogue import DefineProduct

TOWN = "First Sync"
AUTHORED_AT_ONCE = 2_000
KINDS = (
    "Stoneware, fired twice and glazed by hand, safe in oven, microwave and dishwasher; colours vary a little, {}",
    "Solid beech from managed forests, oiled, delivered flat with all fittings; half an hour's work for two, {}",
    "Combed cotton, woven and dyed in one mill, washed before it is cut so that it keeps its shape at 60 degrees, {}",
    "Galvanised steel with a powder coat, for indoors and out; screws and plugs for brick and timber included, {}",
)
TERMS = "two years' guarantee, sold by the piece"
SIZES = ("small", "medium", "large", "extra large", "set of two", "set of six")
GOAL_SHARE = 0.5
GOAL_ROWS_PER_SECOND = 100_000
GOAL_WIRE_BYTES = 30


def first_sync(bench: Bench) -> Measured:
    """Time one `sync` of a fresh, encrypted replica."""
    office, count = bench.office, bench.sizes.first_sync_rows
    office.found(TOWN)
    warehouse = office.add_warehouse(TOWN, "Shelf")
    with enrol(bench.stack.url, code_for_list(bench, TOWN, warehouse), bench.folder / "scout.db") as scout:
        scout.sync()  # libraries are loaded once per process: that is no part of what a device waits for
    for first in range(0, count, AUTHORED_AT_ONCE):
        bench.say(f"first_sync: writing {first:,} of {count:,} rows")
        office.must(TOWN, *(product(number) for number in range(first, min(count, first + AUTHORED_AT_ONCE))))
    bench.say("first_sync: building the snapshot, as the scheduler does each minute")
    office.offer_snapshots()
    bench.say("first_sync: syncing a fresh replica")
    system = NotingSystem()
    with enrol(bench.stack.url, code_for_list(bench, TOWN, warehouse), bench.folder / "fresh.db", system) as replica:
        watch = ApiWatch(bench.stack.log_dir, bench.stack.api_pid)
        cpu_started, started = time.process_time(), time.perf_counter()
        report = replica.sync()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        api_cpu_seconds = watch.cpu_seconds()
        rows = [
            (row.pop("id"), row.pop("version"), orjson.dumps(row).decode())
            for row in replica.query("SELECT * FROM products ORDER BY version, id")
        ]
        assert len(rows) == count, (len(rows), count)
        assert replica.verify() == ()
    bench.say("first_sync: the same rows into SQLite alone")
    limit = sqlite_rows_per_second(bench.folder / "plain.db", rows)
    rows_per_second, wire_bytes = report.rows / seconds, report.bytes_down / report.rows
    return Measured(
        what="rows that a fresh replica takes",
        unit="rows/s",
        value=rows_per_second,
        limit=limit,
        limit_what="the same rows into a plain SQLite table with the same cipher, one transaction",
        goals=[
            Goal(what="share of the limit", value=rows_per_second / limit, bound=GOAL_SHARE),
            Goal(what="rows/s", value=rows_per_second, bound=GOAL_ROWS_PER_SECOND),
            Goal(what="bytes/row on the wire", value=wire_bytes, bound=GOAL_WIRE_BYTES, is_ceiling=True),
        ],
        where=(
            f"of {seconds:.2f} s the device settled for {system.settling_seconds:.2f} s; "
            f"processor time: device {cpu_seconds:.2f} s, API {told(api_cpu_seconds, 's')}"
        ),
        details={
            "rows": report.rows,
            "seconds": seconds,
            "body_bytes_per_row": sum(len(body) for _, _, body in rows) / len(rows),
            "wire_bytes_per_row": wire_bytes,
            "settling_seconds": system.settling_seconds,
            "device_cpu_seconds": cpu_seconds,
            **({} if api_cpu_seconds is None else {"api_cpu_seconds": api_cpu_seconds}),
        },
    )


def code_for_list(bench: Bench, town: str, warehouse: str) -> str:
    """A code with which a tablet may enrol that holds the price list."""
    return bench.office.code(town, "warehouse_staff", warehouse=warehouse)


def product(number: int) -> DefineProduct:
    """An article of the list, its row about 300 bytes."""
    kind, size = KINDS[number % len(KINDS)], SIZES[number % len(SIZES)]
    return DefineProduct(sku=f"SKU-{number:07}", name=f"Article {number}, {size}. {kind.format(TERMS)}", unit="piece")
