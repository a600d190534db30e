"""The first sync by snapshot over the whole stack: equal to the feed, resumed after every kill, never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_sdk import Replica
from client_sdk.adapters.http import HttpTransport
from server.jobs import snapshots as job
from server.jobs.snapshots import build_snapshots
from sync.modules.catalogue import DefineProduct
from tests.support.failpoints import KILLED, failpoints
from tests.support.office import PASSPHRASE
from tests.support.replicas import check_replica
from tests.support.site import TOWN, Site, running_site

PRODUCTS = 60
SYNC = """
import sys
from client_sdk import Replica
from client_sdk.application import snapshots

snapshots.PART_BYTES = 1
Replica.open(sys.argv[1], passphrase=sys.argv[2]).sync()
"""
JOB = f"""
import asyncio, os
from server.bootstrap import open_parts
from server.jobs import snapshots as job
from server.settings import load_settings

job.ROWS_MIN, job.CHANGED_PERCENT, job.UNKNOWN_KEPT_SECONDS = {PRODUCTS}, 1, -60

async def run():
    async with open_parts(load_settings(os.environ)) as core:
        await job.build_snapshots(core)

asyncio.run(run())
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A town whose common bucket has a snapshot, and has changed a little since."""
    with pytest.MonkeyPatch.context() as patched, running_site() as running:
        patched.setattr(job, "ROWS_MIN", PRODUCTS)
        patched.setattr(job, "CHANGED_PERCENT", 1)
        books = running.office.books
        books.must(TOWN, *(DefineProduct(sku=f"P{number}", name=f"Product {number}") for number in range(PRODUCTS)))
        books.run(build_snapshots(books._core))
        books.must(TOWN, DefineProduct(sku="new", name="New"))
        yield running


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The files that are asked for: hash and place."""
    asked: list[tuple[str, int]] = []
    whole = HttpTransport.snapshot

    def note(self: HttpTransport, sha256: str, start: int) -> Iterator[bytes]:
        asked.append((sha256, start))
        return whole(self, sha256, start)

    monkeypatch.setattr(HttpTransport, "snapshot", note)
    return asked


def new_tablet(site: Site, path: Path) -> None:
    """A tablet that has never synced."""
    warehouse = site.office.books.add_warehouse(TOWN, path.stem)
    site.office.enrol(TOWN, path, "warehouse_staff", warehouse=warehouse).close()


def check_synced(site: Site, path: Path) -> None:
    """After another sync the replica holds what the feed has."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica:
        replica.sync()
        check_replica(replica, site.office.books.feed_bodies(TOWN))
        names = {row["name"] for row in replica.query("SELECT name FROM products")}
        assert {"New", "Product 0", "Product 59"} <= names


def test_a_first_sync_takes_the_file_and_what_has_changed_since(
    site: Site, tmp_path: Path, fetched: list[tuple[str, int]]
) -> None:
    new_tablet(site, tmp_path / "tablet.db")
    check_synced(site, tmp_path / "tablet.db")

    assert [start for _, start in fetched] == [0]
    assert site.office.books.verify(TOWN).findings == ()


def test_a_replica_that_is_in_sync_asks_for_no_file(site: Site, tmp_path: Path, fetched: list[tuple[str, int]]) -> None:
    new_tablet(site, tmp_path / "tablet.db")
    check_synced(site, tmp_path / "tablet.db")
    fetched.clear()
    check_synced(site, tmp_path / "tablet.db")

    assert fetched == []


@pytest.mark.parametrize(
    "failpoint",
    failpoints("client_sdk", "snapshot", "settle", "exchange.after_page", "exchange.before_settle"),
)
def test_a_device_killed_at_any_step_of_its_first_sync_goes_on(
    site: Site, tmp_path: Path, failpoint: str, fetched: list[tuple[str, int]]
) -> None:
    path = tmp_path / "tablet.db"
    new_tablet(site, path)
    done = subprocess.run(
        [sys.executable, "-c", SYNC, str(path), PASSPHRASE],
        env={**os.environ, "TALLYSTICK_FAILPOINT": failpoint},
        check=False,
    )
    assert done.returncode == KILLED
    check_synced(site, path)

    assert 0 not in [start for _, start in fetched]  # what was here is not fetched again


def test_a_file_that_is_missing_or_wrong_costs_nothing_but_a_detour(site: Site, tmp_path: Path) -> None:
    folder = site.stack.settings.blob_path
    (file,) = folder.glob("*/*")
    held = file.read_bytes()
    for broken in (held[:-1], held[:-1] + b"?", b""):
        file.write_bytes(broken)
        path = tmp_path / f"tablet {len(broken)} {broken[-1:].hex()}.db"
        new_tablet(site, path)
        check_synced(site, path)
    shutil.move(file, tmp_path / "gone")
    try:
        new_tablet(site, tmp_path / "tablet.db")
        check_synced(site, tmp_path / "tablet.db")
    finally:
        file.write_bytes(held)


@pytest.mark.parametrize("failpoint", failpoints("server", "snapshot"))
def test_a_job_killed_at_any_step_is_done_again(site: Site, tmp_path: Path, failpoint: str) -> None:
    books, folder = site.office.books, next(site.stack.settings.blob_path.glob("*"))
    books.must(TOWN, *(DefineProduct(sku=f"{failpoint} {number}", name="Another") for number in range(PRODUCTS)))
    (folder / ("0" * 64)).write_bytes(b"nobody's")
    environment = {**os.environ, **site.stack.settings_environment, "TALLYSTICK_FAILPOINT": failpoint}
    done = subprocess.run([sys.executable, "-c", JOB], env=environment, check=False, stdout=subprocess.PIPE)
    assert done.returncode == KILLED
    books.run(build_snapshots(books._core))
    new_tablet(site, tmp_path / "tablet.db")
    check_synced(site, tmp_path / "tablet.db")
    assert books.verify(TOWN).findings == ()
