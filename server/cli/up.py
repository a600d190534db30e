"""`tallystick up`: the whole system on this machine, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from server.api.security_headers import DOCS_PATH
from server.application.commands.first_admin import ADMIN_EMAIL, FirstAdmin, first_admin
from server.application.commands.seed_sample import Seeded, seed_sample
from server.bootstrap import open_parts
from server.cli.connect import DataDir, own_settings
from server.cli.output import err, examples, out
from server.cli.prepare import show_seeded
from server.listening import HOST
from server.settings import Settings
from server.stack import Stack, StackStopped, settings_in, write_private, write_secret

ADMIN_PASSWORD_NAME = "admin.password"  # noqa: S105 - a file
DEFAULT_PORT = 8000
WATCH_SECONDS = 0.2


class Seed(StrEnum):
    """What a new system begins with."""

    SAMPLE = "sample"
    NONE = "none"


class StopRequest:
    """Whether SIGTERM or SIGINT has come; a flag and no exception, so that nothing is left half started."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, *_signal: object) -> None:
        self.is_set = True


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "tallystick up", "tallystick up --port 9000 --data /var/lib/tallystick --seed none --ready-file ready.json"
        )
    )(up)


def up(
    *,
    data: DataDir = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the API listens; 0 takes a free port.")] = (
        DEFAULT_PORT
    ),
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = HOST,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many API processes.")] = 1,
    seed: Annotated[Seed, typer.Option(metavar="sample|none", help="What a new system begins with.")] = Seed.SAMPLE,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written when the system can serve: URL, connections, process id, as JSON.")
    ] = None,
) -> None:
    """Run everything on this machine: database, Redis, API and worker.

    PostgreSQL and Redis come out of Python packages, unless DATABASE_URL and REDIS_URL name others. Ctrl-C or SIGTERM
    stops everything; the data stays.
    """
    stop = StopRequest()
    settings = own_settings(data)
    try:
        with (
            err.status("Starting") as status,
            Stack.start(
                settings.data_dir,
                port=port,
                host=host,
                api_processes=workers,
                environment=_settings(host),
                progress=lambda step: status.update(f"{step} ..."),
                is_stopping=lambda: stop.is_set,
            ) as stack,
        ):
            seeded = _seed(stack.settings, stop, status.update) if seed is Seed.SAMPLE else None
            admin = _admin(stack, seeded)
            if ready_file:
                _write_ready_file(ready_file, stack, admin)
            status.stop()
            _show(stack, seeded, admin)
            try:
                _watch(stack, stop)
            finally:
                status.update("Stopping ...")
                status.start()
                if ready_file:
                    ready_file.unlink(missing_ok=True)
    except StackStopped:
        pass
    out.print("Stopped.")


def _settings(host: str) -> dict[str, str]:
    """What the caller has set; where no other machine is let in the API describes itself, unless that was set."""
    described = {"TALLYSTICK_API_DOCS": "true"} if host == HOST else {}
    return {**described, **settings_in(os.environ)}


def _seed(settings: Settings, stop: StopRequest, show: Callable[[str], None]) -> Seeded:
    def progress(town: str, done: int, planned: int) -> None:
        if stop.is_set:
            raise StackStopped
        show(f"Seeding {escape(town)}: {done} of {planned} ...")

    async def run() -> Seeded:
        async with open_parts(settings) as core:
            return await seed_sample(
                towns=core.towns, appliers=core.appliers, signer=core.signer, system=core.system, progress=progress
            )

    return asyncio.run(run())


def _admin(stack: Stack, seeded: Seeded | None) -> FirstAdmin:
    path = stack.data_dir / ADMIN_PASSWORD_NAME
    kept = path.read_text(encoding="ascii") if path.exists() else None

    async def run() -> FirstAdmin:
        async with open_parts(stack.settings) as core:
            admins = {town.town_id: town.admin_id for town in seeded.towns} if seeded else {}
            return await first_admin(core.people, admins, kept=kept, keep=partial(write_secret, path))

    return asyncio.run(run())


def _watch(stack: Stack, stop: StopRequest) -> None:
    while not stop.is_set:
        for name in stack.restart_fallen():
            err.print(f"[yellow]{time.strftime('%H:%M:%S')} {name} had ended and was started again[/]")
        time.sleep(WATCH_SECONDS)


def _write_ready_file(path: Path, stack: Stack, admin: FirstAdmin) -> None:
    somebody = {"admin_email": ADMIN_EMAIL, "admin_password": admin.password}
    urls = {"database_url": stack.database_url, "redis_url": stack.redis_url}
    write_private(path.absolute(), {"url": stack.url, **somebody, **urls, "pid": os.getpid()})


def _show(stack: Stack, seeded: Seeded | None, admin: FirstAdmin) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("[dim]address[/]", f"[bold green]{stack.url}[/]")
    if stack.settings.has_api_docs:
        table.add_row("[dim]API[/]", f"{stack.url}{DOCS_PATH}")
    table.add_row("[dim]data[/]", escape(str(stack.data_dir)))
    table.add_row("[dim]logs[/]", escape(str(stack.log_dir)))
    table.add_row("[dim]admin[/]", ADMIN_EMAIL)
    if admin.is_new:
        table.add_row("[dim]password[/]", f"[bold]{admin.password}[/] (shown this once)")
    table.add_row("[dim]stop[/]", f"Ctrl-C, or kill {os.getpid()}")
    out.print("[bold]Tallystick is up.[/]")
    out.print(table)
    if seeded:
        show_seeded(seeded)
    default = stack.data_dir == Path(".tallystick").resolve()
    data = "" if default else f" --data {stack.data_dir}"
    out.print("\nNext, in another terminal:")
    for command in (
        "town list",
        "device enrol --town Germany --role warehouse_staff --warehouse 'Main warehouse'",
        "verify",
    ):
        if seeded or "Germany" not in command:
            out.print(f"  tallystick {escape(command + data)}", soft_wrap=True)
