"""What every command shares: printing for people and for machines, and a fault as one line and an exit code."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from typer.core import TyperGroup

from server.application.commands.accounts import AccountUnknown, PasswordNeeded
from server.application.commands.administer import PinUnusable
from server.application.people_ports import AlreadyLinked
from server.application.ports import Unavailable
from server.application.queries.town_rows import NotFound
from server.application.retail import SourceUnreadable
from server.cli.budgets import BudgetsUnusable
from server.domain import access
from server.domain.devices import NotEnrolable
from server.domain.passwords import PasswordUnusable
from server.domain.people import EmailUnusable
from server.listening import PortTaken
from server.settings import SettingsInvalid
from server.stack import StackBusy
from sync.kernel.errors import Malformed, TallystickError

GOOD, PROBLEM, WRONG_USE = 0, 1, 2
WRONG_USES = (
    *(SettingsInvalid, NotFound, NotEnrolable, PinUnusable, SourceUnreadable, StackBusy, PortTaken, Malformed),
    access.NotFound,
    BudgetsUnusable,
    *(AccountUnknown, AlreadyLinked, EmailUnusable, PasswordNeeded, PasswordUnusable),
)
"""The faults that lie in how the command was called; every other one is a problem that was found."""

WIDEST = 1_000
"""Columns that no terminal has."""

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]


def examples(*lines: str) -> str:
    """The end of a command's help: lines that can be typed as they are."""
    return "\n".join(["[bold]Examples[/bold]", *(f"[cyan]$ {escape(line)}[/cyan]" for line in lines)])


def print_json(value: Any) -> None:
    """One JSON document on standard output, without colours or wrapping."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_listed(
    columns: Sequence[str], listed: Mapping[str, Sequence[str]], *, empty: str, numbers: Collection[str] = ()
) -> None:
    """A row of markup for each id; the ids stand behind where nothing has to be cut for them, and are in JSON anyway.

    `numbers` are the columns of figures; `empty` is said when there is nothing.
    """
    if not listed:
        out.print(empty)
        return
    whole, plain = (Table(box=None, header_style="dim", padding=(0, 2, 0, 0)) for _ in range(2))
    for column in columns:
        for table in (whole, plain):
            table.add_column(column, justify="right" if column in numbers else "left")
    whole.add_column("id", no_wrap=True)
    for row_id, row in listed.items():
        whole.add_row(*row, row_id)
        plain.add_row(*row)
    width = Measurement.get(out, out.options.update(max_width=WIDEST), whole).maximum
    out.print(whole if width <= out.width else plain)


def print_id(made: str, *, as_json: bool) -> None:
    """The id of what was made."""
    if as_json:
        print_json({"id": made})
    else:
        typer.echo(made)


class OneLineFaults(TyperGroup):
    """A fault ends the command with one line on standard error and the exit code of its kind; `--debug` raises it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (TallystickError, ValidationError, OSError) as fault:
            if ctx.params.get("debug"):
                raise
            err.print(f"[bold red]tallystick:[/] {escape(_sentence(fault))}", soft_wrap=True)
            raise typer.Exit(_exit_code(fault)) from None


def _exit_code(fault: Exception) -> int:
    return WRONG_USE if isinstance(fault, (*WRONG_USES, ValidationError)) else PROBLEM


def _sentence(fault: Exception) -> str:
    if isinstance(fault, ValidationError):
        first = fault.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])} is {first['input']!r}: {first['msg']}"
    if isinstance(fault, Unavailable):
        reason = str(fault.__cause__).partition("\n")[0]
        return f"PostgreSQL does not answer ({reason}): is it running, and is DATABASE_URL right?"
    return fault.message if isinstance(fault, TallystickError) else str(fault)
