"""`statements`: having all statements of a town made again from its books."""

from __future__ import annotations

import typer

from server.application.queries.town_rows import find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import examples, out
from server.cli.towns import InTown
from sync.kernel.clock import format_time


def register(app: typer.Typer) -> None:
    """Add the group."""
    statements = typer.Typer(no_args_is_help=True, help="What accounts owe, as workers make it from the books.")
    statements.command("rebuild", epilog=examples("tallystick statements rebuild --town Douglas"))(_rebuild)
    statements.callback()(_group)
    app.add_typer(statements, name="statements")


def _group() -> None:
    """Keep `rebuild` a word of its own beside the group's."""


def _rebuild(*, town: InTown, data: DataDir = None) -> None:
    """Let go of every statement that workers have made, and have all made again; what is asked for meanwhile is right.

    Needed only when `verify` has found one that is not what the ledger gives.
    """

    async def note(core: Core) -> int:
        town_id = await find_town(core.towns, town)
        accounts = await core.shelf.note(town_id, format_time(core.system.now_ms()), everything=True)
        await core.bell.ring(town_id)
        return accounts

    out.print(f"{with_server(data, note):,} accounts are on the agenda of the workers.")
