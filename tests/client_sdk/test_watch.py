"""Watching a query: the rows now and whenever they become others, in any thread, until the replica closes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from client_sdk import NotAQuery, Offline, Replica
from client_sdk.application.watching import Rows
from tests.support.desk import enrolled, opened, town_with_jobs
from tests.support.toy import FinishJob, PlaceJob, ToyTown, job_id, job_row

OPEN_JOBS = "SELECT count(*) AS open FROM jobs WHERE NOT is_done"
PATIENCE_SECONDS = 20.0


@pytest.fixture
def town() -> ToyTown:
    return town_with_jobs()


@pytest.fixture
def replica(tmp_path: Path, town: ToyTown) -> Iterator[Replica]:
    with enrolled(tmp_path / "toy.db", town) as made:
        yield made


@contextmanager
def watching(replica: Replica, sql: str = OPEN_JOBS, parameters: tuple[Any, ...] = ()) -> Iterator[Queue[Rows | None]]:
    """What a thread sees that watches; None when it has come to the end, which it must once the replica is closed."""
    seen: Queue[Rows | None] = Queue()

    def go_through() -> None:
        for rows in replica.watch(sql, parameters):
            seen.put(rows)
        seen.put(None)

    thread = threading.Thread(target=go_through, daemon=True)
    thread.start()
    yield seen
    replica.close()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_the_rows_come_at_once_and_again_after_a_record(replica: Replica) -> None:
    with watching(replica) as seen:
        assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 3}]
        replica.record(FinishJob(job=job_id(0)))

        assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 2}]


def test_what_others_did_comes_with_a_sync(replica: Replica, town: ToyTown) -> None:
    with watching(replica) as seen:
        assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 3}]
        town.put({("job", job_id(1)): {**job_row("Job 1"), "is_done": True}})
        replica.sync()

        assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 2}]


def test_rows_that_stay_the_same_come_once(replica: Replica) -> None:
    with watching(replica, "SELECT count(*) AS n FROM jobs WHERE zone = ?", ("b",)) as seen:
        assert seen.get(timeout=PATIENCE_SECONDS) == [{"n": 0}]
        replica.record(FinishJob(job=job_id(0)))
        replica.sync()
        replica.record(PlaceJob(name="Mine", zone="b"))

        assert seen.get(timeout=PATIENCE_SECONDS) == [{"n": 1}]


def test_several_threads_watch_by_themselves(replica: Replica) -> None:
    with watching(replica) as first, watching(replica) as second:
        for seen in (first, second):
            assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 3}]
        replica.record(FinishJob(job=job_id(0)))

        for seen in (first, second):
            assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 2}]


def test_it_ends_when_the_replica_closes(replica: Replica) -> None:
    with watching(replica) as seen:
        assert seen.get(timeout=PATIENCE_SECONDS) == [{"open": 3}]
        replica.close()

        assert seen.get(timeout=PATIENCE_SECONDS) is None
    assert list(replica.watch(OPEN_JOBS)) == []


def test_a_change_between_two_looks_is_not_missed(replica: Replica) -> None:
    rows = replica.watch(OPEN_JOBS)
    assert next(rows) == [{"open": 3}]
    replica.record(FinishJob(job=job_id(0)))
    replica.record(FinishJob(job=job_id(1)))

    assert next(rows) == [{"open": 1}]


def test_what_cannot_be_queried_cannot_be_watched(replica: Replica) -> None:
    with pytest.raises(NotAQuery):
        next(replica.watch("DELETE FROM jobs"))


def test_in_the_background_and_by_hand_at_the_same_time_everything_goes_up_once(tmp_path: Path, town: ToyTown) -> None:
    with enrolled(tmp_path / "van.db", town) as van:
        van.start()
        van.start()
        threads = [threading.Thread(target=work, args=(van, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        van.stop()
        van.sync()

        assert (van.status.pending, len(van.verdicts()), van.verify()) == (0, 20, ())


def work(replica: Replica, number: int) -> None:
    for place in range(5):
        replica.record(PlaceJob(name=f"Job {number}.{place}", zone="a"))
        replica.sync()


def test_start_never_raises_and_says_what_is_wrong_in_the_status(tmp_path: Path, town: ToyTown) -> None:
    enrolled(tmp_path / "van.db", town).close()
    with opened(tmp_path / "van.db", None) as van:  # a replica whose server is not there
        rows = van.watch("SELECT 1 AS one")
        next(rows)
        van.start()
        while not van.status.last_problem:
            seen = van._changes.count
            van._changes.await_more(seen - 1 if van.status.last_problem else seen)

        assert (van.status.online, type(van.status.last_problem)) == (False, Offline)
        van.stop()
        van.stop()
