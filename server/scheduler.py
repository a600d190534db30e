"""The scheduler process: whatever is done again and again, driven by the clock and by PostgreSQL alone.

It needs no Redis: what is due is read from tables, and the work is done here, not rung for. That is what makes the
outbox sure, where the bell only makes it quick. One scheduler is enough. Two do no harm: work is claimed by a lease,
and forgetting twice forgets nothing more.

RQ's own CronScheduler was tried and left: it keeps the times in Redis, ends when Redis is away, and puts its jobs into
the queue as pickles (decision record 0032).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from server.bootstrap import Core, open_parts
from server.jobs.archive import archive_closed
from server.jobs.forget import forget
from server.jobs.missing import report_missing
from server.jobs.overdue import report_overdue
from server.jobs.relay import sweep
from server.jobs.reminders import write_reminders
from server.jobs.snapshots import build_snapshots
from server.jobs.statements import note_changes
from server.jobs.tombstones import expire_tombstones
from server.jobs.unpaid import cancel_unpaid
from server.metrics import count_periodic
from server.settings import Settings
from server.standing import asked_to_stop, beat_for_ever

RUN_SECONDS_MAX = 300
"""A run that takes longer is cut off; what it had claimed is a lease, and the next run goes on."""

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Periodic:
    """Something that is done again `pause_seconds` after it has ended; it must do no harm when done twice at once."""

    name: str
    pause_seconds: float
    run: Callable[[Core], Awaitable[None]]


PERIODICS = (
    Periodic(name="sweep", pause_seconds=5, run=sweep),
    Periodic(name="statements", pause_seconds=2, run=note_changes),
    Periodic(name="forget", pause_seconds=300, run=forget),
    Periodic(name="overdue", pause_seconds=300, run=report_overdue),
    Periodic(name="unpaid", pause_seconds=300, run=cancel_unpaid),
    Periodic(name="reminders", pause_seconds=3600, run=write_reminders),
    Periodic(name="missing", pause_seconds=3600, run=report_missing),
    Periodic(name="snapshots", pause_seconds=60, run=build_snapshots),
    Periodic(name="archive", pause_seconds=3600, run=archive_closed),
    Periodic(name="tombstones", pause_seconds=3600, run=expire_tombstones),
)
"""Everything periodic there is."""


def run_scheduler(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then stop at once. Call it in the main thread, logging configured.

    Raises what `open_parts` raises for wrong settings.
    """
    asyncio.run(_schedule(settings))


async def _schedule(settings: Settings) -> None:
    stopping = asked_to_stop()
    async with open_parts(settings) as core:
        tasks = [asyncio.create_task(_repeat(periodic, core)) for periodic in PERIODICS]
        tasks.append(asyncio.create_task(beat_for_ever("scheduler", settings.data_dir)))
        _log.info("scheduler_started", periodics=[periodic.name for periodic in PERIODICS])
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    _log.info("scheduler_stopped")


async def _repeat(periodic: Periodic, core: Core) -> None:
    while True:
        await run_once(periodic, core)
        await asyncio.sleep(periodic.pause_seconds)


async def run_once(periodic: Periodic, core: Core) -> None:
    """One run; its fault is logged and counted, and the next run comes all the same."""
    started, is_done = time.monotonic(), False
    try:
        async with asyncio.timeout(RUN_SECONDS_MAX):
            await periodic.run(core)
        is_done = True
    except Exception:  # noqa: BLE001  PostgreSQL is away, most likely: it is asked again
        _log.exception("periodic_failed", periodic=periodic.name)
    count_periodic(periodic.name, time.monotonic() - started, is_done=is_done)
