"""`reminders`: what was written for those whose invoices are overdue, for whoever sends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.markup import escape
from rich.table import Table

from server.application.queries.town_rows import find_town
from server.application.reminder_ports import Reminder
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json
from server.cli.towns import InTown

ROWS_MAX = 10_000


def register(app: typer.Typer) -> None:
    """Add the group."""
    reminders = typer.Typer(no_args_is_help=True, help="What those are told whose invoices are overdue.")
    reminders.command("list", epilog=examples("tallystick reminders list --town Douglas --json"))(_list)
    reminders.callback()(_group)
    app.add_typer(reminders, name="reminders")


def _group() -> None:
    """Keep `list` a word of its own beside the group's."""


def _list(*, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """What was written, the newest first: to whom, which time it is, and the sentence."""

    async def read(core: Core) -> Sequence[Reminder]:
        return await core.reminders.written(await find_town(core.towns, town), ROWS_MAX)

    written = with_server(data, read)
    if as_json:
        print_json([asdict(one) for one in written])
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("written", "time", "telephone", "text"):
        table.add_column(column)
    for one in written:
        table.add_row(one.written_at, str(one.number), escape(one.phone or "-"), escape(one.text))
    out.print(table if written else "Nobody had to be reminded.")
