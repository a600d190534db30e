"""The doorbell on a real Redis: one job for many rings, no ring lost to a running job, no harm from an absent Redis."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from redis import Redis
from rq import Callback, Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from server import worker
from server.adapters.redis.breaker import FAILURES_MAX, OPEN_SECONDS, Breaker
from server.adapters.redis.listener import ANSWER, BellWorker
from server.adapters.redis.queue import QUEUE, RedisBell
from server.application.ports import Unavailable
from server.embedded import EmbeddedRedis
from sync.kernel.ids import derived_id
from tests.support.stack import take_and_hang_up

TOWN, OTHER_TOWN = derived_id("town", 1), derived_id("town", 2)
NOBODY = "redis://127.0.0.1:1/0"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def connection(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def queue(connection: Redis) -> Queue:
    return Queue(QUEUE, connection=connection, serializer=JSONSerializer)


async def ring(url: str, *town_ids: str) -> None:
    """Ring, and wait until the bell has done what it could."""
    bell = RedisBell(url)
    for town_id in town_ids:
        await bell.ring(town_id)
    await asyncio.to_thread(bell.close)


def work_through(connection: Redis) -> None:
    """Run jobs until none is left."""
    BellWorker(QUEUE, connection=connection, stopping=threading.Event()).work(burst=True, logging_level="CRITICAL")


def failing_bell(breaker: Breaker) -> RedisBell:
    return RedisBell(NOBODY, breaker=breaker)


async def test_a_ring_is_a_job_with_nothing_but_the_town(redis_server: EmbeddedRedis, queue: Queue) -> None:
    await ring(redis_server.url, TOWN)
    job = queue.jobs[0]
    assert (job.func_name, job.args, job.kwargs) == (ANSWER, [TOWN], {})


async def test_the_job_is_the_function_of_the_worker() -> None:
    module, _, name = ANSWER.rpartition(".")
    assert module == worker.__name__
    assert callable(getattr(worker, name))


async def test_a_flood_of_rings_is_one_job_for_each_town(redis_server: EmbeddedRedis, queue: Queue) -> None:
    for _ in range(3):
        await ring(redis_server.url, *[TOWN, OTHER_TOWN] * 50)
    assert sorted(queue.job_ids) == sorted([f"bell-{TOWN}", f"bell-{OTHER_TOWN}"])


async def test_a_ring_while_the_job_runs_is_answered_again(
    redis_server: EmbeddedRedis, queue: Queue, connection: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []

    def answer(town_id: str) -> None:
        answered.append(town_id)
        if len(answered) == 1:
            asyncio.run(ring(redis_server.url, town_id))

    monkeypatch.setattr(worker, "answer_bell", answer)
    await ring(redis_server.url, TOWN)
    await asyncio.to_thread(work_through, connection)
    assert (answered, queue.job_ids) == ([TOWN, TOWN], [])


async def test_the_bell_of_a_town_whose_worker_was_killed_still_rings(
    redis_server: EmbeddedRedis, queue: Queue, connection: Redis
) -> None:
    await ring(redis_server.url, TOWN)
    connection.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
    Job.fetch(f"bell-{TOWN}", connection=connection, serializer=JSONSerializer).set_status(JobStatus.STARTED)
    await ring(redis_server.url, TOWN)
    assert queue.job_ids == [f"bell-{TOWN}"]


async def test_a_job_that_is_not_ours_to_do_fails_by_itself(connection: Redis, queue: Queue) -> None:
    job = queue.enqueue_call(ANSWER, args=(f"{TOWN},{OTHER_TOWN}",))
    await asyncio.to_thread(work_through, connection)
    assert job.is_failed


async def test_a_job_that_names_another_function_is_refused(connection: Redis, queue: Queue, tmp_path: Path) -> None:
    marker = tmp_path / "made"
    jobs = [queue.enqueue_call(name, args=(str(marker),)) for name in ("os.mkdir", "os.makedirs", "")]
    with structlog.testing.capture_logs() as logged:
        await asyncio.to_thread(work_through, connection)
    assert [job.is_failed for job in jobs] == [True, True, True]
    assert not marker.exists()
    refusals = [entry for entry in logged if entry["event"] == "foreign_job_refused"]
    assert len(refusals) == 3
    assert "mkdir" not in repr(logged)


@pytest.mark.parametrize("is_failing", [False, True])
async def test_nothing_that_a_job_says_should_follow_it_is_run(
    connection: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch, *, is_failing: bool
) -> None:
    ran: list[object] = []

    def answer(_town_id: str) -> None:
        ran.append("answer")
        if is_failing:
            raise ZeroDivisionError

    monkeypatch.setattr(worker, "answer_bell", answer)
    monkeypatch.setattr(worker, "planted", lambda *given: ran.append(given), raising=False)
    planted = Callback("server.worker.planted")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        hooks = [Webhook(address, "finished", timeout=1), Webhook(address, "failed", timeout=1)]
        job = queue.enqueue_call(
            ANSWER, args=(TOWN,), on_success=planted, on_failure=planted, on_stopped=planted, webhooks=hooks
        )
        await asyncio.to_thread(work_through, connection)
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (ran, job.is_failed) == (["answer"], is_failing)


async def test_ringing_does_not_wait_for_a_redis_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bell = RedisBell(f"redis://127.0.0.1:{server.getsockname()[1]}/0", socket_timeout_seconds=60)
        async with asyncio.timeout(30):
            await bell.ring(TOWN)
            await asyncio.to_thread(take_and_hang_up, server)  # the ring waits here, and not above
        await asyncio.to_thread(bell.close)
        assert bell._breaker._failures == 1


async def test_nobody_is_asked_while_the_breaker_is_open() -> None:
    clock = Clock()
    breaker = Breaker(monotonic=clock)
    for _ in range(FAILURES_MAX):
        breaker.failed()
    bell = failing_bell(breaker)
    await bell.ring(TOWN)
    await asyncio.to_thread(bell.close)
    assert breaker._failures == FAILURES_MAX


async def test_the_bell_complains_once_however_long_redis_is_away() -> None:
    clock = Clock()
    breaker = Breaker(monotonic=clock)
    with structlog.testing.capture_logs() as logged:
        for _ in range(3 * FAILURES_MAX):
            clock.seconds += OPEN_SECONDS
            bell = failing_bell(breaker)
            await bell.ring(TOWN)
            await asyncio.to_thread(bell.close)
    assert [entry["event"] for entry in logged] == ["bell_silent"]


async def test_a_bell_that_does_not_answer_is_unavailable(redis_server: EmbeddedRedis) -> None:
    bell = RedisBell(redis_server.url)
    await bell.check()
    bell.close()
    with pytest.raises(Unavailable, match="Redis does not answer"):
        await failing_bell(Breaker()).check()


def test_a_breaker_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(monotonic=Clock())
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    assert [breaker.failed() for _ in range(FAILURES_MAX + 1)] == [False, False, True, False]
    assert breaker.is_open


def test_a_breaker_lets_one_try_through_after_its_time() -> None:
    clock = Clock()
    breaker = Breaker(monotonic=clock)
    for _ in range(FAILURES_MAX):
        breaker.failed()
    clock.seconds = OPEN_SECONDS
    assert not breaker.is_open
    assert [breaker.may_ask() for _ in range(3)] == [True, False, False]
    clock.seconds = 2 * OPEN_SECONDS  # nothing was heard of the one who asked
    assert [breaker.may_ask() for _ in range(2)] == [True, False]
    breaker.succeeded()
    assert [breaker.may_ask() for _ in range(2)] == [True, True]


def test_a_breaker_tells_that_it_was_mended_once() -> None:
    breaker = Breaker(monotonic=Clock())
    for _ in range(FAILURES_MAX):
        breaker.failed()
    assert (breaker.succeeded(), breaker.succeeded(), breaker.is_open) == (True, False, False)
