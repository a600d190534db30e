"""From a commit to its effect, on real PostgreSQL and Redis: once, whatever dies, hangs or forgets on the way."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import Redis

from server.adapters.memory import MemorySystem
from server.adapters.redis.listener import BellWorker
from server.adapters.redis.queue import QUEUE, RedisBell
from server.adapters.system import RealSystem
from server.application.commands.work_off_outbox import LEASE_SECONDS
from server.embedded import EmbeddedRedis
from server.jobs.relay import answer, sweep
from tests.support.real_town import RealTown, real_town
from tests.support.stack import scratch_directory, take_and_hang_up
from tests.support.worker_process import worker_process

NOBODY = "redis://127.0.0.1:1/0"
QUESTIONS_MAX = 100_000


@asynccontextmanager
async def town_of_today(database_url: str, redis_url: str = NOBODY) -> AsyncIterator[RealTown]:
    """A town whose bell is at `redis_url` and whose time is that of a worker process."""
    bell = RedisBell(redis_url)
    async with real_town(database_url, bell=bell, system=MemorySystem(unix_ms=RealSystem().now_ms())) as town:
        yield town
    await asyncio.to_thread(bell.close)


@pytest.fixture(autouse=True)
def environment(
    monkeypatch: pytest.MonkeyPatch, migrated_database: str, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """What `answer_bell` finds when RQ runs it outside `run_worker`; and an empty Redis."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("TALLYSTICK_DATA_DIR", str(tmp_path))
    with Redis.from_url(redis_server.url) as client:
        client.flushall()


def wait_for_a_job_and_do_it(redis_url: str) -> None:
    """What the worker's thread does."""
    with Redis.from_url(redis_url) as client:
        bell_worker = BellWorker(QUEUE, connection=client, stopping=threading.Event())
        bell_worker.work(max_jobs=1, logging_level="CRITICAL")


def expect_somebody_waiting(client: Redis) -> None:
    """Return when a worker is waiting for a job; asks Redis until it is so."""
    for _ in range(QUESTIONS_MAX):
        if any("b" in connected["flags"] for connected in client.client_list()):
            return
    raise AssertionError("nobody waits for a job")


async def test_a_running_worker_does_what_is_committed_and_stops_when_asked(
    migrated_database: str, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with town_of_today(migrated_database, redis_server.url) as town:
        with worker_process(tmp_path, migrated_database, redis_server.url) as process:
            process.wait_for("bell_heard")
            order_id = await town.cancelled_order("A1")
            process.wait_for("outbox_worked_off")
            assert process.stop() == 0
            assert process.wait_for("worker_stopped")["is_bell_left_hanging"] is False
        assert await town.told() == [(order_id, "Order A1 is cancelled.")]
        assert await town.undone() == 0


async def test_a_ring_alone_gets_the_work_done(migrated_database: str, redis_server: EmbeddedRedis) -> None:
    async with town_of_today(migrated_database, redis_server.url) as town:
        order_id = await town.cancelled_order()
        await asyncio.to_thread(wait_for_a_job_and_do_it, redis_server.url)
        assert await town.told() == [(order_id, "Order A1 is cancelled.")]
        assert await town.undone() == 0


async def test_a_redis_that_forgets_everything_loses_nothing(
    migrated_database: str, redis_server: EmbeddedRedis
) -> None:
    bell = RedisBell(redis_server.url)
    async with real_town(migrated_database, bell=bell) as town:
        order_id = await town.cancelled_order()
        await asyncio.to_thread(bell.close)
        with Redis.from_url(redis_server.url) as client:
            assert client.llen(f"rq:queue:{QUEUE}") == 1
            client.flushall()
        await sweep(town)
        assert await town.told() == [(order_id, "Order A1 is cancelled.")]


async def test_a_commit_does_not_wait_for_a_redis_that_hangs(migrated_database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bell = RedisBell(f"redis://127.0.0.1:{server.getsockname()[1]}/0", socket_timeout_seconds=60)
        async with asyncio.timeout(30), real_town(migrated_database, bell=bell) as town:
            await town.cancelled_order("A1")
            await town.cancelled_order("A2")
            await asyncio.to_thread(take_and_hang_up, server)  # the first ring still waits here
            await asyncio.to_thread(server.close)
            await asyncio.to_thread(bell.close)
            assert await town.undone() == 2


async def test_a_worker_finds_a_redis_that_comes_later(migrated_database: str, tmp_path: Path) -> None:
    with scratch_directory() as directory, EmbeddedRedis.start(directory / "redis") as redis:
        redis.stop()
        with worker_process(tmp_path, migrated_database, redis.url) as process:
            process.wait_for("bell_unheard")
            redis.restart()
            process.wait_for("bell_heard_again")
            with Redis.from_url(redis.url) as client:
                expect_somebody_waiting(client)
            redis.stop("immediate")
            process.wait_for("bell_unheard")
            assert process.stop() == 0


async def test_a_worker_stops_in_time_when_redis_hangs(migrated_database: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with worker_process(tmp_path, migrated_database, url) as process:
            process.wait_for("worker_started")
            accepted, _ = server.accept()
            with accepted:
                assert process.stop() == 0
                assert process.wait_for("worker_stopped")["is_bell_left_hanging"] is True


@pytest.mark.parametrize("program", ["worker", "scheduler"])
@pytest.mark.parametrize(("failpoint", "told"), [("outbox.before_effect", 0), ("outbox.after_effect", 1)])
async def test_who_is_killed_leaves_work_that_is_done_once(
    *, program: str, failpoint: str, told: int, migrated_database: str, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with town_of_today(migrated_database, redis_server.url) as town:
        order_id = await town.cancelled_order()
        with worker_process(tmp_path, migrated_database, redis_server.url, failpoint, program=program) as process:
            assert process.wait() == -signal.SIGKILL
        assert (len(await town.told()), await town.undone()) == (told, 1)
        town.system.unix_ms = RealSystem().now_ms()
        await answer(town, town.id)
        assert (len(await town.told()), await town.undone()) == (told, 1)  # it is leased to who was killed
        town.system.advance(LEASE_SECONDS)
        await answer(town, town.id)
        assert (await town.told(), await town.undone()) == ([(order_id, "Order A1 is cancelled.")], 0)


async def test_two_workers_with_the_same_job_do_it_once(migrated_database: str) -> None:
    async with real_town(migrated_database) as town:
        for number in range(4):
            await town.cancelled_order(f"A{number}")
        worked = await asyncio.gather(*(answer(town, town.id) for _ in range(4)))
        assert sum(one.done for one in worked) == 4
        assert len(await town.told()) == 4


async def test_the_trouble_of_one_town_keeps_no_other_waiting(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real_town(migrated_database) as first, real_town(migrated_database, system=MemorySystem(seed=2)) as town:
        claim = town.outbox.claim
        await first.cancelled_order()
        order_id = await town.cancelled_order()

        async def claim_but_of_first(town_id: str, *rest: object) -> object:
            if town_id == first.id:
                raise ConnectionError
            return await claim(town_id, *rest)  # type: ignore[arg-type]  # handed on as it came

        monkeypatch.setattr(town.outbox, "claim", claim_but_of_first)
        await sweep(town)
        assert (await first.undone(), await town.told()) == (1, [(order_id, "Order A1 is cancelled.")])
