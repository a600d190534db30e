"""`verify`: does everything that is stored follow from the journals? A line for each town, a table of what does not."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from server.application.queries.town_rows import pick
from server.application.queries.verify_town import FINDINGS_MAX, Report
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import GOOD, PROBLEM, AsJson, err, examples, out, print_json
from server.cli.verifying import Told, Towns, verify_all


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("tallystick verify", "tallystick verify --town Douglas --json"))(verify)


def verify(
    *,
    town: Annotated[str | None, typer.Option(metavar="TOWN", help="Only this town, by name or id.")] = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild every town from its journal and compare it with everything that is stored.

    Chains, signatures, rows, feed, checksums, stock: exit 0 when all of it fits, 1 with a report when anything differs.
    Safe beside traffic.
    """
    towns = with_server(data, partial(_towns, wanted=town))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=err, transient=True
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(told: Told) -> None:
            town_id, done, planned = told
            if town_id not in tasks:
                tasks[town_id] = bars.add_task(f"Verifying {escape(towns.names[town_id])}")
            bars.update(tasks[town_id], completed=done, total=planned, visible=done < planned)

        reports = [(towns.names[report.town_id], report) for report in verify_all(data, towns, tell)]
    if as_json:
        print_json([_as_dict(name, report) for name, report in reports])
    else:
        _show(reports)
    raise typer.Exit(PROBLEM if any(report.findings for _, report in reports) else GOOD)


async def _towns(core: Core, *, wanted: str | None) -> Towns:
    names = await core.evidence.towns()
    town_ids = [pick("town", wanted, ((key, (name,)) for key, name in names.items()))] if wanted else list(names)
    versions = {}
    for town_id in town_ids:
        async with core.towns.reading(town_id) as reader:
            versions[town_id] = reader.head.version
    return Towns(names=names, versions=versions)


def _as_dict(name: str, report: Report) -> dict[str, object]:
    counts = {key: getattr(report, key) for key in ("version", "change_sets", "rows", "feed_rows")}
    findings = [{"where": finding.where, "what": finding.what} for finding in report.findings]
    unsigned = [{"where": tail.where, "what": tail.what} for tail in report.unsigned]
    said = {"id": report.town_id, "name": name, "good": not findings, **counts}
    return {**said, "findings": findings, "unsigned": unsigned}


def _show(reports: list[tuple[str, Report]]) -> None:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("")
    table.add_column("town")
    for column in ("version", "change sets", "rows", "feed rows", "findings"):
        table.add_column(column, justify="right")
    for name, report in reports:
        counts = (report.version, report.change_sets, report.rows, report.feed_rows)
        count = len(report.findings)
        many = f"{count}{' or more' if count == FINDINGS_MAX else ''}"
        mark, found = ("[red]x[/]", f"[bold red]{many}[/]") if count else ("[green]ok[/]", "none")
        table.add_row(mark, escape(name), *(f"{number:,}" for number in counts), found)
    out.print(table if reports else "There is no town yet, and so nothing that could be wrong.")
    for name, report in reports:
        if report.findings:
            _show_findings(name, report)
        for tail in report.unsigned:
            out.print(f"{escape(name)}, {tail.where}: {tail.what}; an upload that broke off leaves them so.")


def _show_findings(name: str, report: Report) -> None:
    out.print(f"\n[bold red]{escape(name)}[/]: what is stored is not what the journal gives.")
    table = Table(header_style="dim", show_lines=True)
    table.add_column("where", overflow="fold")
    table.add_column("what", overflow="fold")
    for finding in report.findings:
        table.add_row(escape(finding.where), escape(finding.what))
    out.print(table)
