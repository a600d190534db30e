"""What is done once: `migrate` the database, `seed` it with a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from server.application.commands.seed_sample import SAMPLE_FILE, Seeded, seed_sample
from server.bootstrap import Core, database_url, migrate
from server.cli.connect import DataDir, settings_for, with_server
from server.cli.output import AsJson, err, examples, out, print_json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("migrate", epilog=examples("tallystick migrate", "tallystick migrate --to 0001"))(_migrate)
    app.command(
        "seed", epilog=examples("tallystick seed", "tallystick seed --from sales.csv.gz --towns 5 --invoices 100")
    )(_seed)


def show_seeded(seeded: Seeded) -> None:
    """What a seed has added, a line for each town, and what of the source was left out."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("town")
    for name in ("people", "products", "stock levels", "orders"):
        table.add_column(name, justify="right")
    for town in seeded.towns:
        counts = [town.added.get(name, 0) for name in ("user", "product", "stock_level", "order")]
        table.add_row(escape(town.name), *(f"+{count:,}" if count else "-" for count in counts))
    if any(town.added for town in seeded.towns):
        out.print("\n[bold]Sample data added[/] (everybody's PIN is 2580)")
        out.print(table)
    else:
        out.print(f"\nThe sample data is there already, in {len(seeded.towns)} towns.")
    if seeded.skipped:
        out.print("[dim]Not taken as it is:[/]")
        for why, count in sorted(seeded.skipped.items()):
            out.print(f"[dim]{count:7,} {escape(why)}[/]")


def _migrate(
    *,
    data: DataDir = None,
    to: Annotated[str, typer.Option(metavar="REV", help="The revision to go to; `head` is the newest.")] = "head",
) -> None:
    """Bring the database to the schema that this version needs."""
    revision = migrate(database_url(settings_for(data)), to)
    out.print(f"The schema is at revision {revision}.")


def _seed(
    *,
    data: DataDir = None,
    source: Annotated[
        Path, typer.Option("--from", metavar="PATH", help="An online-retail CSV file, or a directory of such.")
    ] = SAMPLE_FILE,
    towns: Annotated[int | None, typer.Option(min=1, help="Only the countries with most lines.")] = None,
    invoices: Annotated[int, typer.Option(min=0, help="How many orders to place in each town.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a town for each country of the sample, or of a file of your own; again changes nothing."""
    with Progress(console=err, transient=True) as bars:
        bar: list[TaskID] = []

        def progress(town: str, done: int, planned: int) -> None:
            if not bar:
                bar.append(bars.add_task("Seeding"))
            bars.update(bar[0], description=f"Seeding {escape(town)}", completed=done, total=max(planned, 1))

        async def run(core: Core) -> Seeded:
            return await seed_sample(
                source,
                towns=core.towns,
                appliers=core.appliers,
                signer=core.signer,
                system=core.system,
                towns_max=towns,
                invoices_max=invoices,
                progress=progress,
            )

        seeded = with_server(data, run)
    if not as_json:
        show_seeded(seeded)
        return
    made = [{"id": town.town_id, "name": town.name, "added": town.added} for town in seeded.towns]
    print_json({"towns": made, "skipped": seeded.skipped})
