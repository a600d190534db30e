"""`device`: let one in with a code, see what there is, and shut one out that is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import segno
import typer
from rich.markup import escape

from server.application.commands.administer import end_device
from server.application.commands.enrol_device import make_enrolment
from server.application.ports import Enrolment
from server.application.queries.town_rows import find_row, find_town, rows_of
from server.bootstrap import Core
from server.cli.connect import DataDir, settings_for, with_server
from server.cli.output import AsJson, examples, out, print_json, print_listed
from server.cli.released import ADeviceOf, Reason, add_commands
from server.cli.towns import InTown
from server.domain.devices import ENROLMENT_MINUTES
from sync.kernel.clock import format_time

STATUS_STYLES = {"active": "green", "suspended": "yellow", "revoked": "red"}


def register(app: typer.Typer) -> None:
    """Add the group."""
    device = typer.Typer(no_args_is_help=True, help="Devices of a town: phones, tablets, counters.")
    device.command(
        "enrol",
        epilog=examples(
            "tallystick device enrol --town Douglas --role driver --user ada",
            "tallystick device enrol --town Douglas --role warehouse_staff --warehouse 'North Quay'",
        ),
    )(_enrol)
    device.command("list", epilog=examples("tallystick device list --town Douglas"))(_list)
    device.command(
        "suspend", epilog=examples("tallystick device suspend 'Van 3' --town Douglas --reason 'left in a taxi'")
    )(_suspend)
    device.command(
        "revoke",
        epilog=examples(
            "tallystick device revoke 'Van 3' --town Douglas --reason 'stolen' --lost-at 2026-11-21T08:30:00Z"
        ),
    )(_revoke)
    device.command("sealed", epilog=examples("tallystick device sealed 'Van 3' --town Douglas"))(_sealed)
    add_commands(device)
    app.add_typer(device, name="device")


def _enrol(
    *,
    town: InTown,
    role: Annotated[str, typer.Option(metavar="ROLE", help="driver, warehouse_staff, counter_clerk or school_office.")],
    user: Annotated[str | None, typer.Option(help="Whose device it is, by name, login or id.")] = None,
    warehouse: Annotated[str | None, typer.Option(help="Where it is used, by name or id.")] = None,
    school: Annotated[str | None, typer.Option(help="Which school it is for, by name or id.")] = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a code with which one device may enrol, once and soon."""

    async def make(core: Core) -> tuple[str, Enrolment]:
        town_id = await find_town(core.towns, town)
        return await make_enrolment(
            town_id=town_id,
            role=role,
            user_id=await find_row(core.evidence, town_id, "user", user) if user else None,
            warehouse_id=await find_row(core.evidence, town_id, "warehouse", warehouse) if warehouse else None,
            school_id=await find_row(core.evidence, town_id, "school", school) if school else None,
            enrolments=core.enrolments,
            towns=core.towns,
            system=core.system,
        )

    code, enrolment = with_server(data, make)
    url = settings_for(data).public_url
    if as_json:
        print_json({"code": code, "expires_at": enrolment.expires_at, "server_url": url, "town": enrolment.town_id})
        return
    if out.is_terminal:
        segno.make(f"tallystick:enrol?{urlencode({'server': url, 'code': code})}").terminal(compact=True)
    out.print(f"code      [bold]{code}[/]")
    out.print(f"server    {url}")
    out.print(f"expires   {enrolment.expires_at} (in {ENROLMENT_MINUTES} minutes), good for one device")


def _list(*, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """The devices of a town: what they are for, and how far their record has come."""

    async def read(core: Core) -> list[dict[str, Any]]:
        town_id = await find_town(core.towns, town)
        named = {
            **await rows_of(core.evidence, town_id, "user"),
            **await rows_of(core.evidence, town_id, "warehouse"),
            **await rows_of(core.evidence, town_id, "school"),
        }
        devices = await rows_of(core.evidence, town_id, "device")
        async with core.evidence.evidence(town_id) as evidence:
            heads = await evidence.all_device_heads()
        return [
            {
                "id": device_id,
                **{name: row[name] for name in ("name", "role", "status", "enrolled_at", "reason")},
                "for": next((named[row[k]]["name"] for k in ("user_id", "warehouse_id", "school_id") if row[k]), None),
                "change_sets": heads[device_id].seq if device_id in heads else 0,
            }
            for device_id, row in sorted(devices.items(), key=lambda item: item[1]["enrolled_at"])
        ]

    devices = with_server(data, read)
    if as_json:
        print_json(devices)
        return
    print_listed(
        ("device", "role", "for", "status", "enrolled", "sets"),
        {one["id"]: _shown(one) for one in devices},
        numbers={"sets"},
        empty="No device was let in yet: tallystick device enrol",
    )


def _shown(one: Mapping[str, Any]) -> Sequence[str]:
    style = STATUS_STYLES[one["status"]]
    status = f"[{style}]{one['status']}[/]" + (f" ({escape(one['reason'])})" if one["reason"] else "")
    enrolled = one["enrolled_at"][:16].replace("T", " ")
    return escape(one["name"]), one["role"], escape(one["for"] or "-"), status, enrolled, f"{one['change_sets']:,}"


def _suspend(device: ADeviceOf, *, town: InTown, reason: Reason, data: DataDir = None) -> None:
    """Let nothing of a device take effect until somebody has decided; what it sends is kept aside."""
    _end(device, town, reason, "suspend", data)


def _revoke(
    device: ADeviceOf,
    *,
    town: InTown,
    reason: Reason,
    lost_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"],
            help="Since when it was lost, in UTC: what it recorded before goes to review, what came after is evidence.",
        ),
    ] = None,
    data: DataDir = None,
) -> None:
    """Shut a device out for ever; when it comes back it hands in what is unsent, sealed, and destroys its replica."""
    moment = None if lost_at is None else format_time(int(lost_at.replace(tzinfo=UTC).timestamp() * 1000))
    _end(device, town, reason, "revoke", data, lost_at=moment)


def _sealed(device: ADeviceOf, *, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """What a revoked device has handed in: which change sets, how many went to review, what is evidence only."""

    async def read(core: Core) -> list[dict[str, Any]]:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        uploads = await core.sealed.of_device(town_id, device_id)
        return [
            {
                "from_seq": one.from_seq,
                "to_seq": one.to_seq,
                "received_at": one.received_at,
                "reviewed": one.reviewed,
                "problem": one.problem,
            }
            for one in uploads
        ]

    uploads = with_server(data, read)
    if as_json:
        print_json(uploads)
        return
    for one in uploads:
        many = one["to_seq"] - one["from_seq"] + 1
        found = f"{one['reviewed']} of {many} went to review" + (f" ({one['problem']})" if one["problem"] else "")
        out.print(f"{one['received_at']}  change sets {one['from_seq']} to {one['to_seq']}: {escape(found)}")
    if not uploads:
        out.print(f"{escape(device)} has handed in nothing.")


def _end(
    device: str, town: str, reason: str, how: Literal["suspend", "revoke"], data: DataDir, *, lost_at: str | None = None
) -> None:
    async def end(core: Core) -> str:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        await end_device(
            town_id=town_id, device_id=device_id, how=how, reason=reason, lost_at=lost_at, appliers=core.appliers
        )
        return str((await rows_of(core.evidence, town_id, "device"))[device_id]["status"])

    out.print(f"{escape(device)} is {with_server(data, end)}.")
