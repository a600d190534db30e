"""`device release`, `device reject` and `device kept`: what an admin decides of a device that was stopped."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from server.application.commands.release_device import Released, reject_lines, release_device
from server.application.queries.town_rows import find_row, find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json
from server.cli.towns import InTown
from sync.engine.chain import encode_bytes, line_hash

ADeviceOf = Annotated[str, typer.Argument(metavar="DEVICE", help="The device, by name or id.")]
Reason = Annotated[str, typer.Option(help="Why; kept for ever.")]


def add_commands(device: typer.Typer) -> None:
    """Add them to the group of devices."""
    device.command("kept", epilog=examples("tallystick device kept 'Van 3' --town Douglas"))(_kept)
    device.command("release", epilog=examples("tallystick device release 'Van 3' --town Douglas --reason 'found'"))(
        _release
    )
    device.command("reject", epilog=examples("tallystick device reject 'Van 3' --town Douglas --reason 'not ours'"))(
        _reject
    )


def _kept(device: ADeviceOf, *, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """What a stopped device has sent and nothing became of yet: change sets without effect, kept as evidence."""

    async def read(core: Core) -> list[dict[str, Any]]:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        kept = await core.towns.histories.kept_lines(town_id, device_id)
        return [
            {
                "seq": one.seq,
                "hash": encode_bytes(line_hash(one.line)),
                "received_at": one.received_at,
                "line": one.line.decode(errors="replace"),
            }
            for one in kept
        ]

    kept = with_server(data, read)
    if as_json:
        print_json(kept)
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("change set", justify="right")
    table.add_column("received", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    for one in kept:
        table.add_row(f"{one['seq']:,}", one["received_at"], escape(one["line"]))
    out.print(table if kept else f"Nothing is kept aside of {escape(device)}.")


def _release(device: ADeviceOf, *, town: InTown, reason: Reason, data: DataDir = None, as_json: AsJson = False) -> None:
    """Let a stopped device act again: what it sent takes effect; of two copies, the other goes on from here as well."""

    async def release(core: Core) -> Released:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        return await release_device(
            town_id=town_id, device_id=device_id, reason=reason, appliers=core.appliers, towns=core.towns
        )

    _tell(device, "is released", with_server(data, release), as_json=as_json)


def _reject(device: ADeviceOf, *, town: InTown, reason: Reason, data: DataDir = None, as_json: AsJson = False) -> None:
    """What a stopped device has sent shall have no effect, ever; it stays as evidence, with a task for the office."""

    async def reject(core: Core) -> Released:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        return await reject_lines(
            town_id=town_id, device_id=device_id, reason=reason, appliers=core.appliers, towns=core.towns
        )

    _tell(device, "has its kept change sets rejected", with_server(data, reject), as_json=as_json)


def _tell(device: str, what: str, came_to: Released, *, as_json: bool) -> None:
    if as_json:
        print_json({"device": device, "decided": came_to.decided, "waiting": came_to.waiting})
        return
    out.print(f"{escape(device)} {what}: {came_to.decided} of the kept change sets were decided now.")
    if came_to.waiting:
        out.print(f"{came_to.waiting} are of another copy of it, which settles them when it syncs.")
