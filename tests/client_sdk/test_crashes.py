"""Killed at every step, two at once, and whatever a disk can do: nothing that `record` returned from is lost."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from client_sdk.adapters.sqlite.store import SqliteStore
from client_sdk.errors import DiskFull, ReplicaReadOnly
from client_sdk.replica import Replica
from tests.support.desk import ROOT, enrolled, opened, start, town_with_jobs
from tests.support.toy import FinishJob, PlaceJob, TakeCash, job_id

KILLED = -9


def sqlite_of(replica: Replica) -> SqliteStore:
    assert isinstance(replica._store, SqliteStore)
    return replica._store


def recorded(process: subprocess.Popen[str]) -> list[int]:
    out, _ = process.communicate(timeout=60)
    return [int(place) for place in out.split() if place.isdigit()]


@pytest.mark.parametrize(
    "step", ["record.begin", "record.before_insert", "record.before_commit", "record.after_commit"]
)
def test_a_process_killed_in_record_loses_nothing_it_returned_from(tmp_path: Path, step: str) -> None:
    town = town_with_jobs()
    enrolled(tmp_path / "toy.db", town).close()
    process = start(tmp_path / "toy.db", 5, f"{step}:3")
    told = recorded(process)
    assert (process.returncode, told) == (KILLED, [1, 2])
    with opened(tmp_path / "toy.db", town) as replica:
        kept = [entry.seq for entry in replica.pending()]
        assert kept == ([1, 2, 3] if step == "record.after_commit" else [1, 2])
        assert replica.verify() == ()
        assert replica.record(FinishJob(job=job_id(1))).seq == len(kept) + 1
        assert replica.sync().pushed == len(kept) + 1
        paid = replica.get("job", job_id(0))
        assert paid is not None
        assert paid["paid_minor"] == 100 * len(kept)


@pytest.mark.parametrize("step", ["settle.begin", "settle.before_commit", "settle.after_commit"])
def test_a_process_killed_in_settle_leaves_the_old_or_the_new_state(tmp_path: Path, step: str) -> None:
    path = tmp_path / "toy.db"
    with enrolled(path, town_with_jobs()) as replica:
        replica.record(FinishJob(job=job_id(1)))
    process = start(path, 0, step)
    assert (recorded(process), process.returncode) == ([], KILLED)
    with opened(path) as replica:
        assert replica.verify() == ()
        assert len(replica.pending()) == (0 if step == "settle.after_commit" else 1)
        assert replica.query("SELECT is_done FROM jobs WHERE id = ?", [job_id(1)]) == [{"is_done": 1}]


def test_two_processes_on_one_file_make_one_chain(tmp_path: Path) -> None:
    enrolled(tmp_path / "toy.db", town_with_jobs()).close()
    processes = [start(tmp_path / "toy.db", 150) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [recorded(process) for process in processes]
    assert sorted(told[0] + told[1]) == list(range(1, 301))
    with opened(tmp_path / "toy.db") as replica:
        assert [entry.seq for entry in replica.pending()] == list(range(1, 301))
        assert replica.verify() == ()
        assert replica.query("SELECT paid_minor FROM jobs WHERE id = ?", [job_id(0)]) == [{"paid_minor": 30_000}]


def test_a_full_disk_records_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    with enrolled(tmp_path / "toy.db", town_with_jobs()) as replica:
        replica.record(FinishJob(job=job_id(0)))
        writer = sqlite_of(replica)._writer
        writer.execute(f"PRAGMA max_page_count = {writer.pragma('page_count')}")
        with pytest.raises(DiskFull):
            fill(replica)
        kept = len(replica.pending())
        assert replica.verify() == ()
        writer.execute("PRAGMA max_page_count = 1000000")
        assert replica.record(FinishJob(job=job_id(1))).seq == kept + 1
        assert replica.sync().pushed == kept + 1


def fill(replica: Replica) -> None:
    for number in range(50):
        replica.record(PlaceJob(name=f"{number} " + "x" * 4_000))


def test_a_file_that_became_read_only_says_so_and_can_still_be_read(tmp_path: Path) -> None:
    with enrolled(tmp_path / "toy.db", town_with_jobs()) as replica:
        sqlite_of(replica)._writer.execute("PRAGMA query_only = ON")
        with pytest.raises(ReplicaReadOnly):
            replica.record(TakeCash(job=job_id(0), amount="1.00", currency="GBP"))
        assert len(replica.query("SELECT * FROM jobs")) == 3


def test_a_file_that_this_user_may_not_write_is_named_so(tmp_path: Path) -> None:
    """Run as nobody, since no permission binds root."""
    path = tmp_path / "toy.db"
    enrolled(path, town_with_jobs()).close()
    shared = Path(tempfile.gettempdir())
    for folder in itertools.takewhile(lambda folder: folder != shared, (tmp_path, *tmp_path.parents[:3])):
        folder.chmod(0o755)
    for file in tmp_path.iterdir():
        file.chmod(0o444)
    tmp_path.chmod(0o555)
    if os.geteuid() != 0:
        with pytest.raises(ReplicaReadOnly):
            opened(path)
        return
    script = """
import os, sys
from pathlib import Path
from client_sdk.errors import ReplicaReadOnly
from tests.support.desk import opened
os.seteuid(65534)
try:
    opened(Path(sys.argv[1]))
except ReplicaReadOnly:
    print("read only")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("read only\n", "")


def test_nothing_readable_is_on_the_disk(tmp_path: Path) -> None:
    with enrolled(tmp_path / "toy.db", town_with_jobs()) as replica:
        replica.record(PlaceJob(name="Bletchley"))
        written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"Bletchley" not in written
    assert b"Job 0" not in written
    assert b"SQLite format" not in written
