"""`town`, `warehouse`: what a town is made of before its people and devices come."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from server.application.commands.administer import have_done, open_warehouse
from server.application.commands.found_town import found_town
from server.application.queries.town_rows import find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_id, print_json
from sync.modules.identity import ChangeSettings, TownSettings

InTown = Annotated[str, typer.Option("--town", metavar="TOWN", help="The town, by name or id.")]


def register(app: typer.Typer) -> None:
    """Add the two groups."""
    town = typer.Typer(no_args_is_help=True, help="Towns: each has its own people, devices and books.")
    town.command("add", epilog=examples("tallystick town add Douglas --currency GBP --time-zone Europe/Isle_of_Man"))(
        _add_town
    )
    town.command("list", epilog=examples("tallystick town list", "tallystick town list --json"))(_list_towns)
    town.command("set", epilog=examples("tallystick town set Douglas --payment-max 5000"))(_set_town)
    app.add_typer(town, name="town")
    warehouse = typer.Typer(no_args_is_help=True, help="Places where a town keeps stock.")
    warehouse.command("add", epilog=examples("tallystick warehouse add --town Douglas --name 'North Quay'"))(
        _add_warehouse
    )
    app.add_typer(warehouse, name="warehouse")


def _add_town(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    *,
    currency: Annotated[str, typer.Option(metavar="CODE", help="Its currency, as ISO 4217 has it: GBP, KES ...")],
    time_zone: Annotated[str, typer.Option(metavar="ZONE", help="Its time zone: Europe/London ...")] = "UTC",
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Found a town and print its id."""

    async def add(core: Core) -> str:
        return await found_town(
            name=name,
            currency=currency,
            time_zone=time_zone,
            appliers=core.appliers,
            signer=core.signer,
            system=core.system,
        )

    print_id(with_server(data, add), as_json=as_json)


def _list_towns(*, data: DataDir = None, as_json: AsJson = False) -> None:
    """All towns, by name, with the number of changes each has seen."""

    async def read(core: Core) -> list[tuple[str, str, int]]:
        found = []
        for town_id, name in await core.towns.list_towns():
            async with core.towns.reading(town_id) as reader:
                found.append((town_id, name, reader.head.version))
        return found

    towns = with_server(data, read)
    if as_json:
        print_json([{"id": town_id, "name": name, "version": version} for town_id, name, version in towns])
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("town")
    table.add_column("id", no_wrap=True)
    table.add_column("version", justify="right")
    for town_id, name, version in towns:
        table.add_row(escape(name), town_id, f"{version:,}")
    out.print(table if towns else "There is no town yet: tallystick town add NAME --currency GBP")


def _set_town(
    town: Annotated[str, typer.Argument(metavar="TOWN", help="The town, by name or id.")],
    *,
    payment_max: Annotated[
        int, typer.Option(metavar="UNITS", help="The most that one payment can be, in whole units of its currency.")
    ],
    data: DataDir = None,
) -> None:
    """Say what a town decides for itself: a payment of more than this is taken for a slip, and refused."""
    settings = TownSettings(payment_units_max=payment_max)

    async def change(core: Core) -> str:
        return await have_done(core.appliers, await find_town(core.towns, town), ChangeSettings(settings=settings))

    with_server(data, change)
    out.print(f"In {escape(town)} one payment is at most {payment_max:,}.")


def _add_warehouse(
    *,
    town: InTown,
    name: Annotated[str, typer.Option(help="What people call it.")],
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Open a warehouse in a town and print its id."""

    async def add(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        return await open_warehouse(town_id=town_id, name=name, appliers=core.appliers, system=core.system)

    print_id(with_server(data, add), as_json=as_json)
