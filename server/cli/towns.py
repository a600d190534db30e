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
from sync.kernel.clock import format_time
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings

InTown = Annotated[str, typer.Option("--town", metavar="TOWN", help="The town, by name or id.")]


_DECIDED = {
    "payment_units_max": "one payment is at most {:,}",
    "count_correction_max": "a count corrects up to {:,} pieces before somebody is asked",
    "return_days_max": "goods that did not come back are missed after {:,} days",
    "offline_days": "a device may take money for {:,} days without the server",
    "cash_ceiling_units": "a device may take {:,} in cash before it has synced",
    "sells_online": "customers can order: {}",
    "unpaid_minutes_max": "orders by mobile money or card that are not paid are given up after {:,} minutes",
}


def register(app: typer.Typer) -> None:
    """Add the two groups."""
    town = typer.Typer(no_args_is_help=True, help="Towns: each has its own people, devices and books.")
    town.command("add", epilog=examples("tallystick town add Douglas --currency GBP --time-zone Europe/Isle_of_Man"))(
        _add_town
    )
    town.command("list", epilog=examples("tallystick town list", "tallystick town list --json"))(_list_towns)
    town.command("set", epilog=examples("tallystick town set Douglas --payment-max 5000"))(_set_town)
    town.command("resume", epilog=examples("tallystick town resume --town Douglas --reason 'a test device'"))(_resume)
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
        int | None,
        typer.Option(metavar="UNITS", help="The most that one payment can be, in whole units of its currency."),
    ] = None,
    count_correction_max: Annotated[
        int | None, typer.Option(metavar="PIECES", help="The largest correction by a count that nobody asks about.")
    ] = None,
    return_days: Annotated[
        int | None, typer.Option(metavar="DAYS", help="After how many days goods that did not come back are missed.")
    ] = None,
    offline_days: Annotated[
        int | None, typer.Option(metavar="DAYS", help="For how many days a device may take money without the server.")
    ] = None,
    cash_ceiling: Annotated[
        int | None,
        typer.Option(metavar="UNITS", help="How much cash it may take meanwhile, in whole units of each currency."),
    ] = None,
    sells_online: Annotated[bool | None, typer.Option(help="Whether customers can see and order what it has.")] = None,
    unpaid_minutes: Annotated[
        int | None,
        typer.Option(
            metavar="MINUTES",
            help="After how many minutes an order by mobile money or card that is not paid is given up.",
        ),
    ] = None,
    data: DataDir = None,
) -> None:
    """Say what a town decides for itself; what is not named stays as it is.

    A payment of more than the most is taken for a slip, and refused.
    """
    said = {
        "payment_units_max": payment_max,
        "count_correction_max": count_correction_max,
        "return_days_max": return_days,
        "offline_days": offline_days,
        "cash_ceiling_units": cash_ceiling,
        "sells_online": sells_online,
        "unpaid_minutes_max": unpaid_minutes,
    }
    named = {name: value for name, value in said.items() if value is not None}
    if not named:
        raise typer.BadParameter("say what the town shall decide otherwise: tallystick town set --help")
    TownSettings.model_validate(named)

    async def change(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        async with core.towns.reading(town_id) as reader:
            row = (await reader.load([("town", town_id)]))["town", town_id]
        settings = TownSettings.model_validate({**(row.fields["settings"] if row else {}), **named})
        return await have_done(core.appliers, town_id, ChangeSettings(settings=settings))

    with_server(data, change)
    for name, value in named.items():
        out.print(f"In {escape(town)} {_DECIDED[name].format(value)}.")


def _resume(
    *,
    town: InTown,
    reason: Annotated[str, typer.Option(help="Why it may go on as it is; kept for ever.")],
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let a halted town go on as it is, without a new epoch: only when nothing was lost that devices could send again.

    The device that showed a history which is not here still gets no answer.
    """

    async def resume(core: Core) -> int:
        town_id = await find_town(core.towns, town)
        return await core.towns.histories.resume(town_id, reason, format_time(core.system.now_ms()))

    ended = with_server(data, resume)
    if as_json:
        print_json({"halts_ended": ended})
        return
    out.print(f"{escape(town)} goes on; {ended} halts have ended.")


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
