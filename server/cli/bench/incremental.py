"""incremental: a little has changed in a large town, one device pulls it; beside it, a SELECT of as many rows."""

from __future__ import annotations

import time
from statistics import median

import httpx2
import orjson
import psycopg

from server.cli.bench.first_sync import code_for_list, product
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, told
from server.cli.bench.limits import median_ms
from server.cli.bench.shop import enrol
from sync.modules.catalogue import OfferProduct, product_id

TOWN = "Incremental"
CHANGED = 100
AUTHORED_AT_ONCE = 2_000
SAMPLES = 20
GOAL_TIMES_SELECT = 3


def incremental(bench: Bench) -> Measured:
    """Time one `sync` after `CHANGED` rows of many have changed."""
    office, count = bench.office, bench.sizes.first_sync_rows
    office.found(TOWN)
    warehouse = office.add_warehouse(TOWN, "Shelf")
    for first in range(0, count, AUTHORED_AT_ONCE):
        bench.say(f"incremental: writing {first:,} of {count:,} rows")
        office.must(TOWN, *(product(number) for number in range(first, min(count, first + AUTHORED_AT_ONCE))))
    samples = []
    code = code_for_list(bench, TOWN, warehouse)
    with enrol(bench.stack.url, code, bench.folder / "incremental.db") as replica:
        replica.sync()
        watch = ApiWatch(bench.stack.log_dir, bench.stack.api_pid)
        for sample in range(SAMPLES):
            bench.say(f"incremental: {CHANGED} changed, pull {sample + 1} of {SAMPLES}")
            office.must(TOWN, *(_changed(number, sample) for number in range(CHANGED)))
            started = time.perf_counter()
            report = replica.sync()
            samples.append((time.perf_counter() - started) * 1000)
            assert report.rows == CHANGED, report
        api_cpu_seconds = watch.cpu_seconds()
        bodies = [orjson.dumps(row).decode() for row in replica.query("SELECT * FROM products LIMIT ?", [CHANGED])]
    bench.say("incremental: the SELECT alone, and a round trip")
    select_ms, trip_ms, pull_ms = _select_ms(bench, bodies, count), _trip_ms(bench), median(samples)
    return Measured(
        what=f"a pull after {CHANGED} of {count:,} rows have changed, median",
        unit="ms",
        value=pull_ms,
        limit=select_ms,
        limit_what=f"one indexed SELECT of {CHANGED} rows like these among {count:,}, median",
        goals=[
            Goal(
                what="times the SELECT, beside one round trip",
                value=(pull_ms - trip_ms) / select_ms,
                bound=GOAL_TIMES_SELECT,
                is_ceiling=True,
            ),
        ],
        where=(
            f"a round trip of this HTTP client takes {trip_ms:.2f} ms, the API's processor "
            f"{told(None if api_cpu_seconds is None else api_cpu_seconds / SAMPLES * 1000, 'ms')}; "
            "the rest is the device, which settles in a transaction that is on the disk when it ends"
        ),
        details={"round_trip_ms": trip_ms, "select_ms": select_ms, "samples": SAMPLES, "rows_in_all": count},
    )


def _changed(number: int, sample: int) -> OfferProduct:
    return OfferProduct(product=product_id(product(number).sku), price=f"{sample + 1}.00")


def _select_ms(bench: Bench, bodies: list[str], count: int) -> float:
    """The median of a SELECT by an index on (town, version) that finds the last rows of a table of that size."""
    with psycopg.connect(bench.stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_select (town int, version int, body text, PRIMARY KEY (town, version))")
        fill = "INSERT INTO bench_select SELECT 1, n, (%s::text[])[n %% %s + 1] FROM generate_series(1, %s) AS n"
        connection.execute(fill, [bodies, len(bodies), count])
        connection.execute("ANALYZE bench_select")
        select = "SELECT version, body FROM bench_select WHERE town = 1 AND version > %s ORDER BY version"
        found_ms = median_ms(lambda: connection.execute(select, [count - CHANGED]).fetchall(), SAMPLES)
        connection.execute("DROP TABLE bench_select")
    return found_ms


def _trip_ms(bench: Bench) -> float:
    """The median of a request that the API answers without doing anything."""
    with httpx2.Client(base_url=bench.stack.url) as client:
        return median_ms(lambda: client.get("/healthz").raise_for_status(), SAMPLES)
