"""`bench`: how fast it is on this machine, every figure beside a limit measured in the same run."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from server.cli.bench.frame import FULL, QUICK
from server.cli.bench.suite import run_suite
from server.cli.budgets import broken, read_budgets
from server.cli.output import AsJson, err, examples, out, print_json
from server.telemetry import configure_logging


class Workload(StrEnum):
    """What can be asked for."""

    FIRST_SYNC = "first_sync"
    PUSH = "push"
    STORM = "storm"
    ROUND = "round"
    INCREMENTAL = "incremental"
    IDLE = "idle"
    LIVE = "live"
    RECORD = "record"
    OVERLAY = "overlay"
    STATEMENT = "statement"
    VERIFY = "verify"
    SIZE = "size"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "bench",
        epilog=examples(
            "tallystick bench --quick",
            "tallystick bench --only push --only record --json",
            "tallystick bench --budgets loadtests/budgets.toml",
        ),
    )(_bench)


def _bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller amounts, about a minute in all.")] = False,
    only: Annotated[list[Workload] | None, typer.Option(help="Only this workload; may be given again.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to make the files, on the disk to measure.")
    ] = (None),
    budgets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ratios to be kept, as TOML; a broken one is told, and exit 1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure this machine: sync, storms, pulls, live changes, queries, statements, audits. Each beside its limit."""
    names = [workload.value for workload in only or Workload]
    to_keep = read_budgets(budgets, list(Workload)) if budgets else {}
    configure_logging(level="warning", log_format="console", stream=sys.stderr)  # what is printed is the outcome alone
    with err.status("Starting") as status:
        measured = run_suite(names, QUICK if quick else FULL, data=data, say=lambda step: status.update(f"{step} ..."))
    beyond = broken(to_keep, measured["workloads"])
    if as_json:
        print_json(measured | ({"broken_budgets": beyond} if budgets else {}))
    else:
        _show(measured)
        for one in beyond:
            out.print(f"[red]x[/] {escape(one)}")
    if beyond:
        raise typer.Exit(1)


def _show(measured: dict[str, Any]) -> None:
    here = measured["environment"]
    out.print(
        f"{here['cores']} cores, {here['system']} {here['machine']}, Python {here['python']}, "
        f"PostgreSQL {here['postgresql']}, SQLite {here['sqlite']}"
    )
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("workload")
    for column in ("figure", "limit", "ratio", "goals"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in measured["workloads"]:
        figure, limit = (f"{_number(one[key])} {one['unit']}" for key in ("value", "limit"))
        reached = sum(goal["is_reached"] for goal in one["goals"])
        table.add_row(one["name"], figure, limit, f"{one['ratio']:.2f}", f"{reached} of {len(one['goals'])}")
    out.print(table)
    for one in measured["workloads"]:
        out.print(f"\n[bold]{one['name']}[/]: {escape(one['what'])}.\nThe limit: {escape(one['limit_what'])}.")
        for goal in one["goals"]:
            out.print(_goal(goal))
        out.print(f"Where the time goes: {escape(one['where'])}.")
        details = [f"{name} {_number(value)}" for name, value in one["details"].items()]
        out.print(f"[dim]{', '.join(details)}[/]")


def _goal(goal: dict[str, Any]) -> str:
    mark = "[green]ok[/]" if goal["is_reached"] else "[red]x[/] "
    sign = "<" if goal["is_ceiling"] else "≥"
    return f"{mark} {escape(goal['what'])} {_number(goal['value'])} ({sign} {_number(goal['bound'])})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"  # noqa: PLR2004 - for reading
