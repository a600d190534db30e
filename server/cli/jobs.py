"""`jobs`: the work that commits and providers have asked for and that is not done, and having it tried again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from server.application.queries.town_rows import NotFound, find_town
from server.bootstrap import Core
from server.cli.connect import DataDir, with_server
from server.cli.output import AsJson, examples, out, print_json
from server.cli.towns import InTown
from sync.kernel.clock import format_time

JOBS_MAX = 1_000


def register(app: typer.Typer) -> None:
    """Add the group."""
    jobs = typer.Typer(no_args_is_help=True, help="Work that is waiting, is tried again, or was given up.")
    jobs.command(
        "list",
        epilog=examples("tallystick jobs list --town Douglas", "tallystick jobs list --town Douglas --dead --json"),
    )(_list)
    jobs.command("retry", epilog=examples("tallystick jobs retry 0197… --town Douglas"))(_retry)
    app.add_typer(jobs, name="jobs")


def _list(
    *,
    town: InTown,
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up and is tried by nobody.")] = False,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """What is not done in a town, the longest due first; what was given up comes last, with its problem."""

    async def read(core: Core) -> list[dict[str, Any]]:
        found = await core.jobs.undone(await find_town(core.towns, town), JOBS_MAX)
        return [
            {
                "id": job.id,
                "kind": job.kind,
                "state": "given up" if job.is_dead else "failing" if job.problem else "waiting",
                "due_at": None if job.is_dead else job.due_at,
                "attempts": job.attempts,
                "problem": job.problem,
                "data": dict(job.data),
            }
            for job in found
            if job.is_dead or not dead
        ]

    jobs = with_server(data, read)
    if as_json:
        print_json(jobs)
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("id", "work", "state", "due", "tries", "problem"):
        table.add_column(column)
    for job in jobs:
        told = [job["id"], job["kind"], job["state"], job["due_at"] or "-", str(job["attempts"]), job["problem"] or "-"]
        table.add_row(*map(escape, told))
    out.print(table if jobs else "Nothing is left to do.")


def _retry(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The work, by id.")], *, town: InTown, data: DataDir = None
) -> None:
    """Have work done at once that waits or was given up, with all its tries before it; a worker takes it."""

    async def retry(core: Core) -> None:
        town_id = await find_town(core.towns, town)
        if not await core.jobs.retry(town_id, job, format_time(core.system.now_ms())):
            raise NotFound(f"no work {job} is left to do in {town}: `tallystick jobs list` shows what is")
        await core.bell.ring(town_id)

    with_server(data, retry)
    out.print(f"{escape(job)} is due now.")
