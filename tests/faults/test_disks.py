"""Disks with no room left: nothing is decided or said to be recorded that is not on them, and work goes on afterwards.

Nobody needs to be root for it: the operating system is told that the files of a process may not grow any more, and
refuses each write beyond, as a full disk does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from client_sdk import Replica, ServerProblem
from sync.modules.identity import AddUser
from tests.support.device_process import FAULT
from tests.support.office import PASSPHRASE
from tests.support.room import limit_files
from tests.support.site import PROGRAM, TOWN, Site, running_site

WAL_SEGMENT_BYTES = 16 * 1024 * 1024
"""The write-ahead log goes on: what has no room is a table."""

ROOM_BYTES = 64 * 1024
REFUSED = "disk_failed"
"""A disk that is full and a file that may not grow are two things to SQLite; what comes of them is one."""

FILL = """INSERT INTO tallystick.change_sets (town_id, device_id, seq, version, hash, line, status, verdict)
    SELECT %s, %s, n, n, sha256(n::text::bytea), convert_to(repeat('x', 1900), 'UTF8'), 'accepted', ''
    FROM generate_series(1, 9000) AS n"""
SIZE = "SELECT pg_relation_size('tallystick.change_sets')"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@contextmanager
def no_room_for_change_sets(site: Site) -> Iterator[None]:
    """Every connection of PostgreSQL, the ones to come too, may let no file grow beyond the table of change sets."""
    books = site.office.books
    with psycopg.connect(site.stack.database_url, autocommit=True) as connection:
        connection.execute(FILL, [books.new_id(), books.new_id()])
        row = connection.execute(SIZE).fetchone()
        assert row is not None
        assert row[0] > WAL_SEGMENT_BYTES
        limit_files(site.stack, str(row[0]))
        yield
        limit_files(site.stack, "unlimited")


def test_a_server_whose_disk_is_full_decides_nothing_and_says_when_to_come_back(site: Site) -> None:
    path = site.tablet()
    with Replica.open(path, passphrase=PASSPHRASE) as replica, no_room_for_change_sets(site):
        replica.sync()
        recorded = site.receive(replica, 3)

        with pytest.raises(ServerProblem) as full:
            replica.sync()

        assert (full.value.status, full.value.code) == (503, "unavailable")
        assert full.value.retry_after_seconds is not None
        assert len(replica.pending()) == 3
    site.check(path, recorded)


def without_room(site: Site, path: Path, *steps: str) -> tuple[int, str, list[int]]:
    """How a device app ends that does these steps; what it said of it, and what it said it had recorded."""
    command = [sys.executable, "-m", PROGRAM, str(path), site.clerk, site.warehouse, site.product, *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, [int(word) for word in done.stdout.split()]


def test_a_device_without_room_says_so_before_it_says_that_something_is_recorded(site: Site) -> None:
    path = site.tablet()

    status, said, recorded = without_room(site, path, "record:2", f"room:{ROOM_BYTES}", "record:500")

    assert (status, said) == (FAULT, REFUSED)
    assert 2 <= len(recorded) < 500
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        assert [entry.seq for entry in replica.pending()] == recorded
        assert list(replica.verify()) == []
    site.check(path, recorded)


def test_a_device_without_room_for_an_answer_takes_it_when_there_is(site: Site) -> None:
    path, books = site.tablet(), site.office.books
    crowd = [AddUser(id=books.new_id(), name=f"Body {n}", login=f"body{n}", user_roles=["driver"]) for n in range(400)]
    books.must(TOWN, *crowd)

    status, said, recorded = without_room(site, path, "record:1", f"room:{ROOM_BYTES}", "sync")

    assert (status, said, recorded) == (FAULT, REFUSED, [1])
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        assert ([entry.seq for entry in replica.pending()], list(replica.verify())) == ([1], [])
    site.check(path, recorded)
