"""One process of each kind, for containers: `serve`, `worker`, `scheduler`; and what is done once."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from server.application.commands.seed_sample import SAMPLE_FILE, Seeded, seed_sample
from server.bootstrap import Core, database_url, migrate, sandbox_app
from server.cli.connect import DataDir, settings_for, with_server
from server.cli.output import AsJson, err, examples, out, print_json
from server.listening import HOST
from server.main import HEAD_BYTES_MAX, HTTP
from server.scheduler import run_scheduler
from server.settings import Settings, load_settings
from server.telemetry import configure_logging
from server.tracing import start_tracing
from server.worker import run_worker

BACKLOG = 2048
DRAIN_SECONDS_MAX = 3
"""How long requests under way may take to end when the API is told to stop."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("migrate", epilog=examples("tallystick migrate", "tallystick migrate --to 0001"))(_migrate)
    app.command(
        "seed", epilog=examples("tallystick seed", "tallystick seed --from sales.csv.gz --towns 5 --invoices 100")
    )(_seed)
    app.command("serve", epilog=examples("tallystick serve --host 0.0.0.0 --port 8000"))(_serve)
    app.command("worker", epilog=examples("tallystick worker"))(_worker)
    app.command("scheduler", epilog=examples("tallystick scheduler"))(_scheduler)
    app.command("sandbox", epilog=examples("tallystick sandbox --port 8090"))(_sandbox)


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


def _serve(
    *,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.")] = 8000,
    share_port: Annotated[bool, typer.Option("--share-port", hidden=True)] = False,
) -> None:
    """Run one API process, configured by the environment."""
    load_settings(os.environ)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    config = uvicorn.Config(
        "server.main:app_factory",
        factory=True,
        loop="uvloop",
        http=HTTP,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe about addresses is a setting of ours
        backlog=BACKLOG,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _worker() -> None:
    """Run one worker process, which does what the API has rung for; configured by the environment."""
    run_worker(_prepared("worker"))


def _scheduler() -> None:
    """Run the scheduler, which does what is due by the clock, without Redis; configured by the environment.

    One is enough, a second one does no harm.
    """
    run_scheduler(_prepared("scheduler"))


def _sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen, on this machine only.")] = 8090,
) -> None:
    """Play a payment provider for development: real HTTP, no money. What happens is said by the payer's number.

    Point TALLYSTICK_MOMO_BASE_URL at it, with any API user and keys. PUT /sandbox/scripts/{number} changes a number.
    Cards are played as well: point TALLYSTICK_CARD_BASE_URL at it; it calls TALLYSTICK_PUBLIC_URL, and signs with
    TALLYSTICK_WEBHOOK_SECRETS.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen()
    typer.echo(f"A payment provider is at http://{HOST}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        sandbox_app(load_settings(os.environ)),
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _prepared(process: str) -> Settings:
    settings = load_settings(os.environ)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    start_tracing(settings.otlp_endpoint, process=process)
    return settings


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
