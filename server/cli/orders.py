"""`order`: what the office decides about orders, and no device can: who takes them out, and which shall not be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from server.application.commands.administer import have_done
from server.application.queries.town_rows import NotFound, find_row, find_town, pick, rows_of
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json, print_listed
from server.cli.towns import InTown
from sync.kernel.changeset import Fields, Operation
from sync.modules.commerce import AssignDispatch, CancelOrder, ReassignDispatch, WithdrawDispatch

AnOrder = Annotated[str, typer.Argument(metavar="ORDER", help="The order, by number or id.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    order = typer.Typer(no_args_is_help=True, help="Orders of a town: what the office decides about them.")
    order.command("list", epilog=examples("tallystick order list --town Douglas"))(_list)
    order.command(
        "assign",
        epilog=examples(
            "tallystick order assign 1001 --town Douglas --driver ada",
            "tallystick order assign 1001 --town Douglas --driver jo --instead",
        ),
    )(_assign)
    order.command("withdraw", epilog=examples("tallystick order withdraw 1001 --town Douglas"))(_withdraw)
    order.command(
        "cancel", epilog=examples("tallystick order cancel 1001 --town Douglas --reason 'the customer called'")
    )(_cancel)
    app.add_typer(order, name="order")


def _list(*, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """The orders of a town with their status and driver, the last one placed at the end."""

    async def read(core: Core) -> list[dict[str, Any]]:
        town_id = await find_town(core.towns, town)
        users = await rows_of(core.evidence, town_id, "user")
        orders = await rows_of(core.evidence, town_id, "order")
        return [
            {
                "id": order_id,
                **{name: row[name] for name in ("number", "status", "customer_name", "placed_at")},
                "driver": users[row["driver_id"]]["name"] if row["driver_id"] else None,
            }
            for order_id, row in sorted(orders.items(), key=lambda item: item[1]["placed_at"])
        ]

    orders = with_server(data, read)
    if as_json:
        print_json(orders)
        return
    fields = ("number", "status", "customer_name", "driver")
    print_listed(
        ("order", "status", "customer", "driver"),
        {one["id"]: [escape(one[field] or "-") for field in fields] for one in orders},
        empty="There is no order yet.",
    )


def _assign(
    order: AnOrder,
    *,
    town: InTown,
    driver: Annotated[str, typer.Option(help="Who shall take it out, by name, login or id.")],
    instead: Annotated[bool, typer.Option("--instead", help="Take it from the driver who has it.")] = False,
    data: DataDir = None,
) -> None:
    """Give an order to a driver, whose phone shows it after its next sync."""

    async def operation(core: Core, town_id: str, order_id: str, _row: Fields) -> Operation:
        driver_id = await find_row(core.evidence, town_id, "user", driver)
        return (ReassignDispatch if instead else AssignDispatch)(order=order_id, driver=driver_id)

    _decide(order, town, data, operation, f"goes with {driver}")


def _withdraw(order: AnOrder, *, town: InTown, data: DataDir = None) -> None:
    """Take an order off its driver's tour."""

    async def operation(_core: Core, _town_id: str, _order_id: str, row: Fields) -> Operation:
        if row["dispatch_id"] is None:
            raise NotFound(f"order {row['number']} has no driver")
        return WithdrawDispatch(dispatch=row["dispatch_id"])

    _decide(order, town, data, operation, "has no driver any more")


def _cancel(
    order: AnOrder,
    *,
    town: InTown,
    reason: Annotated[str, typer.Option(help="Why; kept for ever.")],
    data: DataDir = None,
) -> None:
    """Call an order off; if it is on the van already, its driver is asked to bring it back."""

    async def operation(_core: Core, _town_id: str, order_id: str, _row: Fields) -> Operation:
        return CancelOrder(order=order_id, reason=reason)

    _decide(order, town, data, operation, "is called off")


def _decide(
    order: str,
    town: str,
    data: DataDir,
    operation: Callable[[Core, str, str, Fields], Awaitable[Operation]],
    done: str,
) -> None:
    async def decide(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        orders = await rows_of(core.evidence, town_id, "order")
        order_id = pick("order", order, ((row_id, (row["number"],)) for row_id, row in orders.items()))
        return await have_done(core.appliers, town_id, await operation(core, town_id, order_id, orders[order_id]))

    told = with_server(data, decide)
    out.print(escape(f"Order {order} {done}. {told}".rstrip()))
