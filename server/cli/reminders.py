"""`reminders`: what was written for those whose invoices are overdue, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.markup import escape
from rich.table import Table

from server.application.queries.town_rows import find_town
from server.application.reminder_ports import Told
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
    """What was written, the newest first: to whom, which time it is, the sentence, and what became of it.

    Without TALLYSTICK_REMINDERS_URL it stays `written`, for a program that takes it from here and sends it.
    """

    async def read(core: Core) -> Sequence[Told]:
        return await core.reminders.written(await find_town(core.towns, town), ROWS_MAX)

    written = with_server(data, read)
    if as_json:
        print_json(
            [{**asdict(one.reminder), "state": one.fate.value, "at": one.at, "why": one.why or None} for one in written]
        )
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("written", "time", "telephone", "text", "state"):
        table.add_column(column)
    for one in written:
        said = one.reminder
        told = (said.written_at, str(said.number), said.phone or "-", said.text, _state(one))
        table.add_row(*map(escape, told))
    out.print(table if written else "Nobody had to be reminded.")


def _state(one: Told) -> str:
    """Like `sent 2026-11-22T09:00:03.000Z`, or `not needed: the invoice is PAID`."""
    state = one.fate.value.replace("_", " ")
    if one.why:
        return f"{state}: {one.why}"
    return f"{state} {one.at}" if one.at else state
