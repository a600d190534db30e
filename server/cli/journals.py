"""`journal`: a town's journal as a file for an auditor, and the auditor's check of it, which needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, TextColumn
from rich.table import Table

from server.application.queries.check_journal import FINDINGS_MAX, Checked, JournalCheck
from server.application.queries.export_journal import export_journal
from server.application.queries.town_rows import find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.journal_files import new_file, read_lines
from server.cli.output import GOOD, PROBLEM, AsJson, err, examples, out, print_json
from server.cli.towns import InTown
from sync.kernel.clock import format_time


def register(app: typer.Typer) -> None:
    """Add the group."""
    journal = typer.Typer(no_args_is_help=True, help="A town's journal for an auditor: one file, proven by itself.")
    journal.command(
        "export",
        epilog=examples(
            "tallystick journal export --town Douglas --out douglas.ndjson.zst",
            "tallystick journal export --town Douglas --out douglas.ndjson.gz",
        ),
    )(_export)
    journal.command(
        "check",
        epilog=examples(
            "tallystick journal check douglas.ndjson.zst --key A3k…",
            "tallystick journal check douglas.ndjson.gz --json",
        ),
    )(_check)
    app.add_typer(journal, name="journal")


def _export(
    *,
    town: InTown,
    path: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A new file: zstd if it ends with .zst, else gzip.")
    ],
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write everything an auditor needs: entries, lines, verdicts, certificates, keys. Safe beside traffic.

    The file has personal data in it: who ordered, who paid. Exit 1 when there is a file of that name.
    """
    with Progress(
        TextColumn("{task.description}"), TextColumn("{task.completed} versions"), console=err, transient=True
    ) as bars:
        bar = bars.add_task("Exporting", total=None)

        async def export(core: Core) -> int:
            at, town_id = format_time(core.system.now_ms()), await find_town(core.towns, town)
            versions = 0
            with new_file(path) as write:
                async for version, line in export_journal(core.evidence, town_id, signer=core.signer, at=at):
                    write(line)
                    if version != versions:
                        versions = version
                        bars.update(bar, completed=versions)
            return versions

        versions = with_server(data, export)
    if as_json:
        print_json({"file": str(path), "version": versions, "bytes": path.stat().st_size})
    else:
        out.print(f"{escape(str(path))}: {versions:,} versions, {path.stat().st_size:,} bytes", soft_wrap=True)


def _check(
    *,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="What `tallystick journal export` has written.")],
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="A public key of the server as it was published: GET /v1/keys.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check an exported journal with nothing but the file and the published key; needs no server.

    Every hash, chain, signature, certificate, position and running total, and that nothing is missing up to the moment
    of the export. Exit 0 when all of it fits, 1 with the place of whatever is altered. Without a key it is believed
    that the keys in the file are the server's: compare them.
    """
    check = JournalCheck(key)
    for line in read_lines(path):
        check.take(line)
        if check.is_hopeless:
            break
    checked = check.result()
    if as_json:
        print_json(_as_dict(checked, is_key_given=key is not None))
    else:
        _show(checked, is_key_given=key is not None)
    raise typer.Exit(PROBLEM if checked.findings else GOOD)


def _as_dict(checked: Checked, *, is_key_given: bool) -> dict[str, object]:
    names = ("town", "name", "at", "version", "journal", "devices")
    return {
        **{name: getattr(checked, name) for name in names},
        "verdicts": dict(checked.verdicts),
        "good": not checked.findings,
        "keys": list(checked.keys),
        "is_key_given": is_key_given,
        "findings": [{"where": one.where, "what": one.what} for one in checked.findings],
        "unsigned": [{"where": one.where, "what": one.what} for one in checked.unsigned],
    }


def _show(checked: Checked, *, is_key_given: bool) -> None:
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(checked.verdicts.items()))
    out.print(f"{escape(checked.name)} up to version {checked.version:,}, exported {checked.at}", soft_wrap=True)
    out.print(f"{checked.devices:,} devices; change sets: {counts or 'none'}", soft_wrap=True)
    out.print(f"journal head {checked.journal}", soft_wrap=True)
    for tail in checked.unsigned:
        out.print(f"{tail.where}: {tail.what}; an upload that broke off leaves them so.", soft_wrap=True)
    if not is_key_given:
        out.print("[yellow]No --key was given.[/] Are these the keys that the server has published?")
        for one in checked.keys:
            out.print(f"  {one}")
    if not checked.findings:
        out.print("[green]ok[/]  nothing is altered, and nothing is missing")
        return
    many = f"{len(checked.findings)}{' or more' if len(checked.findings) == FINDINGS_MAX else ''}"
    out.print(f"[bold red]x[/]  {many} findings")
    table = Table(header_style="dim", show_lines=True)
    table.add_column("where in the file", no_wrap=True)
    table.add_column("what", overflow="fold")
    for finding in checked.findings:
        table.add_row(escape(finding.where), escape(finding.what))
    out.print(table)
