"""`rescue` and `quarantine`: unsent work out of a broken device, and change sets that are kept without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from server.application.commands.rescue_lines import Rescued, rescue
from server.application.commands.settle_quarantine import Rerun, find_line, refuse, retry
from server.application.queries.town_rows import find_row, find_town, rows_of
from server.application.sealed_ports import QuarantinedLine
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json
from server.cli.towns import InTown
from sync.engine.chain import encode_bytes
from sync.modules import registry

LINES_SHOWN_MAX = 1_000

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="The device that recorded it, by name or id.")]
Seq = Annotated[int, typer.Argument(metavar="SEQ", min=1, help="The number of the change set on that device.")]


def register(app: typer.Typer) -> None:
    """Add the command and the group."""
    app.command("rescue", epilog=examples("tallystick rescue rescue.tally", "tallystick rescue rescue.tally --json"))(
        _rescue
    )
    group = typer.Typer(no_args_is_help=True, help="Change sets that are kept without effect, until somebody decides.")
    group.command("list", epilog=examples("tallystick quarantine list --town Douglas"))(_list)
    group.command("show", epilog=examples("tallystick quarantine show 'Van 3' 17 --town Douglas"))(_show)
    group.command("retry", epilog=examples("tallystick quarantine retry 'Van 3' 17 --town Douglas"))(_retry)
    group.command(
        "refuse", epilog=examples("tallystick quarantine refuse 'Van 3' 17 --town Douglas --reason 'a test of the app'")
    )(_refuse)
    app.add_typer(group, name="quarantine")


def _rescue(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="What the device sealed.")],
    *,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take the unsent work of a device that cannot send it any more; each change set counts once, however often.

    The device makes the file: `Replica.export_unsent`, or `python -m client_sdk rescue REPLICA FILE` when no app opens
    the replica any more.
    """
    sealed = file.read_bytes()

    async def take(core: Core) -> Rescued:
        return await rescue(sealed, towns=core.towns, appliers=core.appliers, signer=core.signer, registry=registry())

    done = with_server(data, take)
    if as_json:
        print_json(
            {
                "town": done.town_id,
                "device": done.device_id,
                "from_seq": done.from_seq,
                "to_seq": done.to_seq,
                "known": done.known,
                "decided": dict(done.decided),
                "evidence": done.evidence,
            }
        )
        return
    out.print(f"device {done.device_id}, change sets {done.from_seq} to {done.to_seq}", soft_wrap=True)
    if done.known == done.change_sets:
        out.print("Everything was known already: nothing has changed.")
        return
    found = ", ".join(f"{count} {status}" for status, count in sorted(done.decided.items())) or "none"
    out.print(f"decided now: {found}; known already: {done.known}; left as evidence: {done.evidence}", soft_wrap=True)


def _list(
    *,
    town: InTown,
    has_settled: Annotated[bool, typer.Option("--all", help="Those that somebody has decided about, too.")] = False,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What is kept without effect in a town, oldest first."""

    async def read(core: Core) -> tuple[list[QuarantinedLine], dict[str, str]]:
        town_id = await find_town(core.towns, town)
        lines = await core.quarantine.lines(
            town_id, is_open=not has_settled, after_version=0, lines_max=LINES_SHOWN_MAX
        )
        devices = await rows_of(core.evidence, town_id, "device")
        return list(lines), {device_id: row["name"] for device_id, row in devices.items()}

    lines, names = with_server(data, read)
    if as_json:
        print_json([_as_dict(line, names) for line in lines])
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("device", "seq", "since", "state", "why"):
        table.add_column(column)
    for line in lines:
        since = line.raised_at[:16].replace("T", " ")
        name = escape(names.get(line.device_id, line.device_id))
        table.add_row(name, str(line.seq), since, line.state, escape(line.reason))
    out.print(table if lines else "Nothing is in quarantine.")


def _show(device: Device, seq: Seq, *, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """One change set in quarantine: what its device recorded, word for word, and why it has no effect."""

    async def read(core: Core) -> QuarantinedLine:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        return await find_line(core.quarantine, town_id, device_id, seq)

    line = with_server(data, read)
    if as_json:
        print_json({**_as_dict(line, {line.device_id: device}), "line": _readable(line.line)})
        return
    out.print(f"{escape(device)}, change set {seq}: {escape(line.rule)}, {line.state}")
    out.print(escape(line.reason))
    out.print(f"conflict {line.conflict_id}, hash {encode_bytes(line.digest)}", soft_wrap=True)
    out.print(escape(orjson.dumps(_readable(line.line), option=orjson.OPT_INDENT_2).decode()), soft_wrap=True)


def _retry(device: Device, seq: Seq, *, town: InTown, data: DataDir = None, as_json: AsJson = False) -> None:
    """Run it again after a fix, in the name of whoever recorded it; it takes effect once, and is settled then."""

    async def run(core: Core) -> Rerun:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        return await retry(
            town_id, device_id, seq, quarantine=core.quarantine, appliers=core.appliers, registry=registry()
        )

    done = with_server(data, run)
    if as_json:
        print_json({"seq": done.seq, "version": done.version, "status": done.status, "sentence": done.sentence})
        return
    out.print(f"{done.status} at version {done.version}. {escape(done.sentence)}".rstrip(), soft_wrap=True)


def _refuse(
    device: Device,
    seq: Seq,
    *,
    town: InTown,
    reason: Annotated[str, typer.Option(help="Why; kept for ever, and shown on the device.")],
    data: DataDir = None,
) -> None:
    """Settle it without effect: the line stays where it is, the conflict and its task are closed with the reason."""

    async def close(core: Core) -> None:
        town_id = await find_town(core.towns, town)
        device_id = await find_row(core.evidence, town_id, "device", device)
        await refuse(town_id, device_id, seq, reason, quarantine=core.quarantine, appliers=core.appliers)

    with_server(data, close)
    out.print(f"Change set {seq} of {escape(device)} is settled, without effect.")


def _as_dict(line: QuarantinedLine, names: dict[str, str]) -> dict[str, Any]:
    return {
        "device": line.device_id,
        "device_name": names.get(line.device_id),
        "seq": line.seq,
        "version": line.version,
        "hash": encode_bytes(line.digest),
        "rule": line.rule,
        "reason": line.reason,
        "conflict": line.conflict_id,
        "state": line.state,
        "raised_at": line.raised_at,
    }


def _readable(line: bytes) -> Any:
    """What the line says, or its bytes as text when it is no JSON."""
    try:
        return orjson.loads(line)
    except ValueError:
        return line.decode(errors="backslashreplace")
