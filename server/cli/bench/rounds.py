"""round: devices that are all online work, push and pull at once; beside them, the endpoint everybody writes first."""

from __future__ import annotations

from server.cli.bench.crew import (
    OPERATIONS,
    ROUND_CHANGE_SETS,
    CrewRun,
    Job,
    NaiveClient,
    Tablet,
    run_crews,
    shared_out,
)
from server.cli.bench.frame import Bench, Goal, Measured
from server.cli.bench.instruments import ApiWatch, p50_p99, told
from server.cli.bench.naive import URL_VARIABLE
from server.cli.bench.peers import peer
from server.cli.bench.shop import code_for_tablet, open_shop

TOWN = "Round"
GOAL_TIMES_NAIVE = 5
GOAL_P99_MS = 500
NAIVE = "server.cli.bench.naive:app_factory"


def one_round(bench: Bench) -> Measured:
    """Rounds per second of all devices together, here and with the naive endpoint."""
    sizes, shop = bench.sizes, open_shop(bench, TOWN)
    codes = {f"tablet-{number}": code_for_tablet(bench, shop) for number in range(sizes.crew_devices)}
    bench.say(f"round: {sizes.crew_devices} devices, {sizes.rounds} rounds")
    watch = ApiWatch(bench.stack.log_dir, bench.stack.api_pid)
    orders = sizes.crew_devices * sizes.rounds * ROUND_CHANGE_SETS
    jobs = [
        Job(
            url=bench.stack.url,
            folder=bench.folder,
            codes={name: codes[name] for name in names},
            shops=dict.fromkeys(names, shop),
            change_sets=ROUND_CHANGE_SETS,
            rounds=sizes.rounds,
            rows_expected=orders,
        )
        for names in shared_out(codes, sizes.crew_processes)
    ]
    run = run_crews(Tablet, jobs)
    api_cpu_seconds = watch.cpu_seconds()
    p50_ms, p99_ms = p50_p99(run.exchanges_ms)
    bench.say("round: the same with the naive endpoint")
    naive = _naive(bench)
    naive_p50_ms, naive_p99_ms = p50_p99(naive.exchanges_ms)
    all_rounds = sizes.crew_devices * sizes.rounds
    rounds_per_second, limit = all_rounds / run.seconds, all_rounds / naive.seconds
    return Measured(
        what=f"rounds of {sizes.crew_devices} devices, 20 operations pushed and everything pulled in each",
        unit="rounds/s",
        value=rounds_per_second,
        limit=limit,
        limit_what="an endpoint with one INSERT per row and a cursor by timestamp, same clients and rows",
        goals=[
            Goal(what="times the naive endpoint", value=rounds_per_second / limit, bound=GOAL_TIMES_NAIVE),
            Goal(what="p99 of an exchange, ms", value=p99_ms, bound=GOAL_P99_MS, is_ceiling=True),
            Goal(what="rows missed", value=run.missing, bound=1, is_ceiling=True),
        ],
        where=(
            f"in {run.seconds:.2f} s of rounds; the API's processor time with enrolments {told(api_cpu_seconds, 's')}; "
            f"{sizes.crew_processes} client processes with a thread per device share the machine with the server"
        ),
        details={
            "devices": sizes.crew_devices,
            "rounds": sizes.rounds,
            "exchange_p50_ms": p50_ms,
            "exchange_p99_ms": p99_ms,
            "missing_rows": run.missing,
            "naive_exchange_p50_ms": naive_p50_ms,
            "naive_exchange_p99_ms": naive_p99_ms,
            "naive_missing_rows": naive.missing,
            "deliveries": sizes.crew_devices * all_rounds * OPERATIONS,
            **({} if api_cpu_seconds is None else {"api_cpu_seconds": api_cpu_seconds}),
        },
    )


def _naive(bench: Bench) -> CrewRun:
    sizes = bench.sizes
    clients = [f"naive-{number}" for number in range(sizes.crew_devices)]
    rows = sizes.crew_devices * sizes.rounds * OPERATIONS
    told = {URL_VARIABLE: bench.stack.database_url}
    with peer(NAIVE, bench.folder / "naive.log", "--factory", "--http", "httptools", environment=told) as url:
        jobs = [
            Job(
                url=url,
                folder=bench.folder,
                codes=dict.fromkeys(names, ""),
                shops={},
                change_sets=ROUND_CHANGE_SETS,
                rounds=sizes.rounds,
                rows_expected=rows,
            )
            for names in shared_out(clients, sizes.crew_processes)
        ]
        return run_crews(NaiveClient, jobs)
