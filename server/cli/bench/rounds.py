"""round: devices that are all online work, push and pull at once; beside them, the endpoint everybody writes first."""

from __future__ import annotations

from collections.abc import Sequence

from server.cli.bench.crew import CHANGE_SETS, OPERATIONS, CrewReport, Job, NaiveClient, Tablet, run_crews
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
    orders = sizes.crew_devices * sizes.rounds * CHANGE_SETS
    jobs = [
        Job(url=bench.stack.url, folder=bench.folder, codes=part, shop=shop, rounds=sizes.rounds, rows_expected=orders)
        for part in _parts(codes, sizes.crew_processes)
    ]
    seconds, reports = run_crews(Tablet, jobs)
    api_cpu_seconds, peak_mib = watch.cpu_seconds(), watch.peak_mib()
    p50_ms, p99_ms = _p50_p99(reports)
    bench.say("round: the same with the naive endpoint")
    naive_seconds, naive_reports = _naive(bench)
    naive_p50_ms, naive_p99_ms = _p50_p99(naive_reports)
    all_rounds = sizes.crew_devices * sizes.rounds
    rounds_per_second, limit = all_rounds / seconds, all_rounds / naive_seconds
    missing = sum(report.missing for report in reports)
    return Measured(
        what=f"rounds of {sizes.crew_devices} devices, 20 operations pushed and everything pulled in each",
        unit="rounds/s",
        value=rounds_per_second,
        limit=limit,
        limit_what="an endpoint with one INSERT per row and a cursor by timestamp, same clients and rows",
        goals=[
            Goal(what="times the naive endpoint", value=rounds_per_second / limit, bound=GOAL_TIMES_NAIVE),
            Goal(what="p99 of an exchange, ms", value=p99_ms, bound=GOAL_P99_MS, is_ceiling=True),
            Goal(what="rows missed", value=missing, bound=1, is_ceiling=True),
        ],
        where=(
            f"in {seconds:.2f} s of rounds; the API's processor time with enrolments {told(api_cpu_seconds, 's')}; "
            f"{sizes.crew_processes} client processes with a thread per device share the machine with the server"
        ),
        details={
            "devices": sizes.crew_devices,
            "rounds": sizes.rounds,
            "exchange_p50_ms": p50_ms,
            "exchange_p99_ms": p99_ms,
            "missing_rows": missing,
            "naive_exchange_p50_ms": naive_p50_ms,
            "naive_exchange_p99_ms": naive_p99_ms,
            "naive_missing_rows": sum(report.missing for report in naive_reports),
            "deliveries": sizes.crew_devices * all_rounds * OPERATIONS,
            **({} if api_cpu_seconds is None else {"api_cpu_seconds": api_cpu_seconds}),
            **({} if peak_mib is None else {"api_peak_mib": peak_mib}),
        },
    )


def _naive(bench: Bench) -> tuple[float, list[CrewReport]]:
    sizes = bench.sizes
    names = {f"naive-{number}": "" for number in range(sizes.crew_devices)}
    rows = sizes.crew_devices * sizes.rounds * OPERATIONS
    told = {URL_VARIABLE: bench.stack.database_url}
    with peer(NAIVE, bench.folder / "naive.log", "--factory", "--http", "httptools", environment=told) as url:
        jobs = [
            Job(url=url, folder=bench.folder, codes=part, shop=None, rounds=sizes.rounds, rows_expected=rows)
            for part in _parts(names, sizes.crew_processes)
        ]
        return run_crews(NaiveClient, jobs)


def _parts(codes: dict[str, str], count: int) -> list[dict[str, str]]:
    names = list(codes)
    return [{name: codes[name] for name in names[part::count]} for part in range(count)]


def _p50_p99(reports: Sequence[CrewReport]) -> tuple[float, float]:
    return p50_p99([each for report in reports for each in report.exchanges_ms])
