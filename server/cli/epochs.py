"""`epoch`: after a restored backup or a failover that lost commits, begin anew where the town stands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from server.application.commands.begin_epoch import begin_epoch
from server.application.history_ports import EpochRecord
from server.application.queries.town_rows import find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json
from server.cli.towns import InTown


def register(app: typer.Typer) -> None:
    """Add the group."""
    epoch = typer.Typer(no_args_is_help=True, help="Epochs: what devices send again after the server lost history.")
    epoch.command(
        "begin", epilog=examples("tallystick epoch begin --town Douglas --reason 'backup of Friday restored'")
    )(_begin)
    epoch.command("list", epilog=examples("tallystick epoch list --town Douglas"))(_list)
    app.add_typer(epoch, name="epoch")


def _begin(
    *,
    town: InTown,
    reason: Annotated[str, typer.Option(help="What was lost and why; kept for ever, and told to devices.")],
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Begin an epoch where the town stands: what came later in the one before is lost, devices send it again.

    A halt of the town ends. Do it once, after everything that can be recovered is recovered.
    """

    async def begin(core: Core) -> EpochRecord:
        town_id = await find_town(core.towns, town)
        epoch = await begin_epoch(town_id, reason, appliers=core.appliers, towns=core.towns)
        return next(one for one in await core.towns.histories.epochs(town_id) if one.epoch == epoch)

    record = with_server(data, begin)
    if as_json:
        print_json(record.mark())
        return
    out.print(f"An epoch began in {escape(town)} after version {record.version:,}: {record.epoch}")
    out.print("Devices send again what they have from later on, each when it syncs.")


def _list(*, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """The epochs of a town after its first: where each began, and why."""

    async def read(core: Core) -> list[dict[str, Any]]:
        return [one.mark() for one in await core.towns.histories.epochs(await find_town(core.towns, town))]

    epochs = with_server(data, read)
    if as_json:
        print_json(epochs)
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("begun")
    table.add_column("after version", justify="right")
    table.add_column("why", overflow="fold")
    table.add_column("epoch", no_wrap=True)
    for one in epochs:
        table.add_row(str(one["at"]), f"{one['version']:,}", escape(str(one["reason"])), str(one["epoch"]))
    out.print(table if epochs else f"{escape(town)} is in its first epoch.")
