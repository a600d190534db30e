"""The scheduler: what is due by the clock is done with PostgreSQL alone, once, by however many there are."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.adapters.memory import MemorySystem
from server.adapters.redis.queue import RedisBell
from server.adapters.system import RealSystem
from server.bootstrap import open_parts
from server.scheduler import PERIODICS, Periodic, run_once
from server.settings import Settings, load_settings
from server.standing import beat, beat_ages
from tests.support.real_town import RealTown, real_town
from tests.support.worker_process import worker_process

NOBODY = "redis://127.0.0.1:1/0"


@asynccontextmanager
async def town_without_redis(database_url: str) -> AsyncIterator[RealTown]:
    """A town of today whose bell nobody hears."""
    bell = RedisBell(NOBODY)
    async with real_town(database_url, bell=bell, system=MemorySystem(unix_ms=RealSystem().now_ms())) as town:
        yield town
    await asyncio.to_thread(bell.close)


async def test_without_redis_commits_are_answered_and_the_work_is_done(migrated_database: str, tmp_path: Path) -> None:
    async with town_without_redis(migrated_database) as town:
        order_id = await town.cancelled_order()
        with worker_process(tmp_path, migrated_database, NOBODY, program="scheduler") as process:
            process.wait_for("outbox_worked_off")
            assert process.stop(signal.SIGINT) == 0
        assert await town.told() == [(order_id, "Order A1 is cancelled.")]


async def test_two_schedulers_do_it_once(migrated_database: str, tmp_path: Path) -> None:
    async with town_without_redis(migrated_database) as town:
        for number in range(20):
            await town.cancelled_order(f"A{number}")
        async with open_parts(settings_for(migrated_database, tmp_path)) as core:
            (sweep,) = (periodic for periodic in PERIODICS if periodic.name == "sweep")
            await asyncio.gather(*(run_once(sweep, core) for _ in range(4)))
        assert (len(await town.told()), await town.undone()) == (20, 0)


async def test_a_run_that_fails_harms_neither_the_next_nor_another(migrated_database: str, tmp_path: Path) -> None:
    runs: list[str] = []

    async def fail_once(_core: object) -> None:
        runs.append("run")
        if len(runs) == 1:
            raise ConnectionError

    periodic = Periodic(name="frail", pause_seconds=0, run=fail_once)
    async with open_parts(settings_for(migrated_database, tmp_path)) as core:
        await run_once(periodic, core)
        await run_once(periodic, core)

    assert runs == ["run", "run"]


async def test_every_periodic_runs_on_the_application_s_own_role(migrated_database: str, tmp_path: Path) -> None:
    async with open_parts(settings_for(migrated_database, tmp_path)) as core:
        for periodic in PERIODICS:
            await periodic.run(core)

    assert {periodic.name for periodic in PERIODICS} >= {"sweep", "forget"}


@pytest.mark.parametrize("program", ["worker", "scheduler"])
async def test_a_process_beats_while_it_runs(migrated_database: str, tmp_path: Path, program: str) -> None:
    with worker_process(tmp_path, migrated_database, NOBODY, program=program) as process:
        process.wait_for(f"{program}_started")
        assert process.stop() == 0

    (name,) = beat_ages(tmp_path)
    assert name.startswith(f"{program}@")


def test_the_age_of_a_beat_is_told_in_seconds(tmp_path: Path) -> None:
    assert beat_ages(tmp_path) == {}
    beat("worker", tmp_path)
    (path,) = (tmp_path / "beats").iterdir()
    os.utime(path, (0, path.stat().st_mtime - 3600))

    (age,) = beat_ages(tmp_path).values()
    assert 3599 < age < 3700


def settings_for(database_url: str, data_dir: Path) -> Settings:
    environ = {"DATABASE_URL": database_url, "REDIS_URL": NOBODY, "TALLYSTICK_DATA_DIR": str(data_dir)}
    return load_settings(environ)
