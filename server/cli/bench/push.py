"""push: a device comes back with a day's work and sends it all; beside it, PostgreSQL alone with lines of that size."""

from __future__ import annotations

import time

from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, NotingSystem, p50_p99, told
from server.cli.bench.limits import postgres_rows_per_second
from server.cli.bench.shop import code_for_tablet, enrol, open_shop

TOWN = "Push"
OPERATIONS = 2
TOLD_EVERY = 500
GOAL_SHARE = 0.05
GOAL_OPERATIONS_PER_SECOND = 10_000


def push(bench: Bench) -> Measured:
    """Time one `sync` that uploads everything that is pending."""
    count, shop, system = bench.sizes.pushed_change_sets, open_shop(bench, TOWN), NotingSystem()
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "push.db", system) as replica:
        replica.sync()
        for number in range(count):
            if number % TOLD_EVERY == 0:
                bench.say(f"push: recording {number:,} of {count:,} change sets")
            replica.record(*shop.order(number))
        lines = [entry.line.decode() for entry in replica.pending()]
        bench.say("push: sending them")
        watch, settled_before = ApiWatch(bench.stack.log_dir, bench.stack.api_pid), system.settling_seconds
        cpu_started, started = time.process_time(), time.perf_counter()
        report = replica.sync()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        settling_seconds = system.settling_seconds - settled_before
        api_cpu_seconds, exchanges_ms = watch.cpu_seconds(), watch.exchanges_ms()
        assert report.pushed == count, (report.pushed, count)
        assert {verdict.status.value for _, verdict in report.verdicts} == {"accepted"}
        assert replica.verify() == ()
    bench.say("push: lines of that size into PostgreSQL alone")
    limit = postgres_rows_per_second(bench.stack.database_url, lines)
    operations_per_second = count * OPERATIONS / seconds
    return Measured(
        what="operations of one device, decided and durable",
        unit="operations/s",
        value=operations_per_second,
        limit=limit,
        limit_what="lines of that size into a plain table by jsonb_to_recordset, 500 per commit",
        goals=[
            Goal(what="share of the limit", value=operations_per_second / limit, bound=GOAL_SHARE),
            Goal(what="operations/s", value=operations_per_second, bound=GOAL_OPERATIONS_PER_SECOND),
        ],
        where=(
            f"of {seconds:.2f} s the API answered for {sum(exchanges_ms) / 1000:.2f} s in {len(exchanges_ms)} "
            f"exchanges (processor {told(api_cpu_seconds, 's')}) and the device settled for {settling_seconds:.2f} s"
        ),
        details={
            "change_sets": count,
            "seconds": seconds,
            "line_bytes": sum(map(len, lines)) / count,
            "wire_bytes_up_per_operation": report.bytes_up / count / OPERATIONS,
            "exchange_p50_ms": p50_p99(exchanges_ms)[0],
            "settling_seconds": settling_seconds,
            "device_cpu_seconds": cpu_seconds,
            **({} if api_cpu_seconds is None else {"api_cpu_seconds": api_cpu_seconds}),
        },
    )
