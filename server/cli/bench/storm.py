"""storm: everybody comes back on Monday morning with a day's work; beside it, the same lines over one connection.

Each device sends all it has and pulls what the others did, in several towns at once. Nobody may lose anything, and
nobody may wait much longer than everything takes.
"""

from __future__ import annotations

from statistics import median

from server.cli.bench.crew import Job, Tablet, run_crews, shared_out
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, p50_p99, told
from server.cli.bench.limits import postgres_rows_per_second
from server.cli.bench.shop import Shop, code_for_tablet, enrol, open_shop

TOWN = "Storm"
OPERATIONS = 2
GOAL_OPERATIONS_PER_SECOND = 5_000
GOAL_P99_MS = 2_000


def storm(bench: Bench) -> Measured:
    """Operations per second until the last of all devices is through."""
    sizes = bench.sizes
    shops = [open_shop(bench, f"{TOWN} {number}") for number in range(sizes.storm_towns)]
    jobs = _jobs(bench, shops)
    count = sizes.storm_devices * sizes.storm_change_sets
    bench.say(f"storm: enrolling {sizes.storm_devices} devices, recording {count:,} change sets, and all at once")
    watch = ApiWatch(bench.stack.log_dir, bench.stack.api_pid)
    run = run_crews(Tablet, jobs)
    api_cpu_seconds = watch.cpu_seconds()
    bench.say("storm: lines of that size into PostgreSQL alone")
    limit = postgres_rows_per_second(bench.stack.database_url, _lines(bench, shops[0]))
    operations_per_second, slowest_seconds = count * OPERATIONS / run.seconds, max(run.exchanges_ms) / 1000
    p50_ms, p99_ms = p50_p99(watch.exchanges_ms(run.span))
    return Measured(
        what=f"operations of {sizes.storm_devices} devices in {sizes.storm_towns} towns that come back together",
        unit="operations/s",
        value=operations_per_second,
        limit=limit,
        limit_what="lines of that size into a plain table by one connection, 500 per commit, no rules",
        goals=[
            Goal(what="rows missed", value=run.missing, bound=1, is_ceiling=True),
            Goal(what="operations/s", value=operations_per_second, bound=GOAL_OPERATIONS_PER_SECOND),
            Goal(what="p99 of an exchange, ms", value=p99_ms, bound=GOAL_P99_MS, is_ceiling=True),
        ],
        where=(
            f"in {run.seconds:.2f} s; the slowest device was through after {slowest_seconds:.2f} s; the API's "
            f"processor time with enrolments {told(api_cpu_seconds, 's')}; {sizes.crew_processes} client processes "
            "with a thread per device share the machine with the server"
        ),
        details={
            "devices": sizes.storm_devices,
            "towns": sizes.storm_towns,
            "change_sets": count,
            "seconds": run.seconds,
            "slowest_device_seconds": slowest_seconds,
            "median_device_seconds": median(run.exchanges_ms) / 1000,
            "exchange_p50_ms": p50_ms,
            "exchange_p99_ms": p99_ms,
            "missing_rows": run.missing,
            **({} if api_cpu_seconds is None else {"api_cpu_seconds": api_cpu_seconds}),
        },
    )


def _jobs(bench: Bench, shops: list[Shop]) -> list[Job]:
    sizes = bench.sizes
    by_name = {f"storm-{number}": shops[number % len(shops)] for number in range(sizes.storm_devices)}
    codes = {name: code_for_tablet(bench, shop) for name, shop in by_name.items()}
    return [
        Job(
            url=bench.stack.url,
            folder=bench.folder,
            codes={name: codes[name] for name in names},
            shops={name: by_name[name] for name in names},
            change_sets=sizes.storm_change_sets,
            rounds=1,
            rows_expected=sizes.storm_devices // sizes.storm_towns * sizes.storm_change_sets,
        )
        for names in shared_out(by_name, sizes.crew_processes)
    ]


def _lines(bench: Bench, shop: Shop) -> list[str]:
    """As many lines as were sent, of the same kind; written by a device that never sends them."""
    sizes = bench.sizes
    with enrol(bench.stack.url, code_for_tablet(bench, shop), bench.folder / "scribe.db") as scribe:
        scribe.sync()
        for number in range(sizes.storm_change_sets):
            scribe.record(*shop.order(number))
        return [entry.line.decode() for entry in scribe.pending()] * sizes.storm_devices
