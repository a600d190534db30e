"""What `tallystick simulate` prints: a run of many seeds, or one of them looked at closely."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from server.cli.output import err, out, print_json
from tests.simulation.faults import KINDS
from tests.simulation.many import Failed, Total, run_many, run_some, shrink
from tests.simulation.real import real_stores
from tests.simulation.run import Outcome, run_seed
from tests.simulation.sometimes import NIGHTLY_SEEDS, missing

FAILURES_MAX = 20
"""Seeds that fail before a run of many ends early."""

FINDINGS_SHOWN_MAX = 5


def one(
    seed: int, *, faults: int | None, is_shrunk: bool, is_traced: bool, as_json: bool, is_real: bool = False
) -> bool:
    """Make one world and tell of it; whether everything held."""
    limit = shrink(seed) if is_shrunk else faults
    if is_real:
        with real_stores() as stores:
            outcome = stores.run_seed(seed, limit=limit)
    else:
        outcome = run_seed(seed, limit=limit)
    if as_json:
        print_json(_as_dict(outcome, limit=limit, is_traced=is_traced))
        return not outcome.findings
    out.print(f"seed {seed}: {_named(outcome.options.as_dict())}")
    if is_traced:
        out.print("\n".join(map(escape, outcome.trace)))
    elif limit is not None:
        out.print("\n".join(escape(line) for line in outcome.trace if " fault " in line))
    out.print(f"{outcome.change_sets} change sets, {sum(outcome.faults.values())} faults, {outcome.steps} steps")
    for finding in outcome.findings:
        out.print(f"[red]x[/] {escape(finding)}")
    out.print(_reproduced(seed, limit) if outcome.findings else "[green]ok[/] everything holds")
    return not outcome.findings


def many(seeds: Sequence[int], *, jobs: int, as_json: bool, is_real: bool = False) -> bool:
    """Make a world of each seed and tell of all; whether everything held and, in a long run, everything happened.

    Over real stores it is one process, whatever `jobs` says.
    """
    started = time.monotonic()
    with err.status("Starting") as status:

        def progress(total: Total) -> None:
            rate = total.seeds / max(time.monotonic() - started, 0.001)
            status.update(f"{total.seeds} of {len(seeds)} seeds, {rate:.0f} a second, {len(total.failed)} failed ...")

        if is_real:
            jobs = 1
            total = _over_real_stores(seeds, progress)
        else:
            total = run_many(seeds, jobs=jobs, failures_max=FAILURES_MAX, progress=progress)
    seconds = time.monotonic() - started
    never = missing(total.sometimes)
    is_complete = total.seeds < NIGHTLY_SEEDS or not never
    if as_json:
        print_json(_total_as_dict(total, seconds, jobs, never))
    else:
        _show(total, seconds, jobs, never)
    return is_complete and not total.failed


def _over_real_stores(seeds: Sequence[int], progress: Callable[[Total], None]) -> Total:
    total = Total()
    with real_stores() as stores:
        for seed in seeds:
            total.add(run_some([seed], stores.run_seed))
            progress(total)
    return total


def _show(total: Total, seconds: float, jobs: int, never: Sequence[str]) -> None:
    rate = total.seeds / seconds
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("fault")
    table.add_column("struck", justify="right")
    for kind in KINDS:
        table.add_row(kind, f"{total.faults[kind]:,}")
    out.print(table)
    for failed in total.failed:
        out.print(f"[red]x[/] seed {failed.seed}")
        for finding in failed.findings[:FINDINGS_SHOWN_MAX]:
            out.print(f"  {escape(finding)}")
        out.print(f"  {_reproduced(failed.seed, None)}")
    is_long = total.seeds >= NIGHTLY_SEEDS
    if never:
        mark = "[red]x[/] " if is_long else ""
        out.print(f"{mark}never happened: {escape(', '.join(never))}")
    out.print(
        f"{total.seeds:,} seeds, {total.change_sets:,} change sets, {total.faults.total():,} faults, "
        f"{total.steps:,} steps in {seconds:.0f} s: {rate:.0f} seeds a second with {jobs} processes"
    )
    if not total.failed:
        out.print("[green]ok[/] every invariant holds in every seed")


def _reproduced(seed: int, limit: int | None) -> str:
    return f"tallystick simulate --seed {seed}" + (f" --faults {limit}" if limit is not None else "")


def _named(options: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def _as_dict(outcome: Outcome, *, limit: int | None, is_traced: bool) -> dict[str, Any]:
    return {
        "seed": outcome.seed,
        "options": outcome.options.as_dict(),
        "findings": outcome.findings,
        "faults": dict(outcome.faults),
        "limit": limit,
        "struck": outcome.struck,
        "change_sets": outcome.change_sets,
        "steps": outcome.steps,
        "digest": outcome.digest,
        **({"trace": outcome.trace} if is_traced else {}),
    }


def _total_as_dict(total: Total, seconds: float, jobs: int, never: Sequence[str]) -> dict[str, Any]:
    return {
        "seeds": total.seeds,
        "seconds": round(seconds, 1),
        "seeds_per_second": round(total.seeds / seconds, 1),
        "processes": jobs,
        "change_sets": total.change_sets,
        "steps": total.steps,
        "faults": {kind: total.faults[kind] for kind in KINDS},
        "sometimes": dict(sorted(total.sometimes.items())),
        "never": list(never),
        "failed": [_failed(one) for one in total.failed],
    }


def _failed(failed: Failed) -> dict[str, Any]:
    return {"seed": failed.seed, "findings": failed.findings, "reproduce": _reproduced(failed.seed, None)}
