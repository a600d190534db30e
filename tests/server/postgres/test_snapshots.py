"""Snapshots of a real town: when one is made, what is in it, who gets it, and what becomes of its file."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from backports import zstd

from server.adapters.blobs import FilesystemBlobs
from server.adapters.memory import MemorySystem
from server.adapters.postgres.snapshots import PostgresSnapshots
from server.adapters.postgres.towns import PostgresTowns
from server.application.ports import Unavailable
from server.application.snapshot_ports import Snapshot
from server.jobs import snapshots as job
from server.jobs.snapshots import REPLACED_KEPT_SECONDS, UNKNOWN_KEPT_SECONDS, build_snapshots
from sync.modules.catalogue import DefineProduct
from tests.support.real_town import RealTown, real_town

ROWS_MIN = 20


class Killed(BaseException):
    """The process is gone: nobody handles this."""


class FrailSystem(MemorySystem):
    """Dies at a step."""

    dies_at = ""

    def reached(self, failpoint: str) -> None:
        if failpoint == self.dies_at:
            raise Killed


@dataclass(frozen=True, kw_only=True)
class Site:
    """A town whose snapshots are made from `ROWS_MIN` rows on; the parts of the job."""

    town: RealTown
    system: FrailSystem
    snapshots: PostgresSnapshots
    blobs: FilesystemBlobs
    directory: Path

    @property
    def towns(self) -> PostgresTowns:
        return self.town.towns

    async def define(self, *numbers: int) -> None:
        """Products, one row of the town's bucket each."""
        await self.town.author(*(DefineProduct(sku=f"P{number}", name=f"Product {number}") for number in numbers))

    async def built(self) -> Sequence[str]:
        """The hashes of all snapshots, after the job has run."""
        await build_snapshots(self)
        return await self.snapshots.known(self.town.id)

    async def offer(self) -> Snapshot | None:
        async with self.towns.reading(self.town.id) as reader:
            return (await reader.offers(["town"])).get("town")

    def files(self) -> set[str]:
        return {path.name for path in (self.directory / self.town.id).glob("*")}


@pytest.fixture
async def site(migrated_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(job, "ROWS_MIN", ROWS_MIN)
    async with site_in(migrated_database, tmp_path) as made:
        yield made


@asynccontextmanager
async def site_in(database_url: str, directory: Path) -> AsyncIterator[Site]:
    system = FrailSystem(unix_ms=2_000_000_000_000)  # later than any file is written
    async with real_town(database_url, system=system) as town:
        snapshots = PostgresSnapshots(town.pool)
        blobs = FilesystemBlobs(directory)
        yield Site(town=town, system=system, snapshots=snapshots, blobs=blobs, directory=directory)


async def rows_of(site: Site, sha256: str) -> list[dict[str, Any]]:
    """The `rows` lines of a file."""
    held = (site.directory / site.town.id / sha256).read_bytes()
    assert hashlib.sha256(held).hexdigest() == sha256
    return [orjson.loads(line) for line in zstd.decompress(held).splitlines()]


async def feed_of(site: Site) -> dict[tuple[str, str], tuple[int, Any]]:
    """What the feed of the town's bucket puts."""
    async with site.towns.reading(site.town.id) as reader:
        page = await reader.feed_page("town", 0, 10_000, 2**30)
    return put_of([orjson.loads(line) for line in page.lines])


def put_of(lines: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, Any]]:
    return {(line["e"], row_id): (version, body) for line in lines for row_id, version, body in line["put"]}


async def test_a_small_bucket_has_no_snapshot_and_a_large_one_has_its_rows(site: Site) -> None:
    assert await site.built() == []
    await site.define(*range(ROWS_MIN))
    (sha256,) = await site.built()
    lines = await rows_of(site, sha256)

    assert put_of(lines) == await feed_of(site)
    assert {line["b"] for line in lines} == {"town"}
    assert all(line["gone"] == [] for line in lines)
    offer = await site.offer()
    assert offer is not None
    size = (site.directory / site.town.id / sha256).stat().st_size
    assert (offer.sha256, offer.rows, offer.bytes) == (sha256, len(put_of(lines)), size)


async def test_one_is_made_anew_when_a_fifth_has_changed(site: Site) -> None:
    await site.define(*range(95))  # with what the town has anyway about a hundred rows
    (first,) = await site.built()
    await site.define(*range(1000, 1019))
    assert await site.built() == [first]
    await site.define(*range(2000, 2008))

    assert len(await site.built()) == 2
    offer = await site.offer()
    assert offer is not None
    assert offer.sha256 != first


async def test_nothing_new_is_made_of_a_bucket_that_stays(site: Site) -> None:
    await site.define(*range(ROWS_MIN))

    assert await site.built() == await site.built()
    assert len(site.files()) == 1


async def test_a_replaced_one_is_kept_for_a_day_and_its_file_goes_with_it(site: Site) -> None:
    await site.define(*range(ROWS_MIN))
    (first,) = await site.built()
    await site.define(*range(100, 130))
    site.system.advance(REPLACED_KEPT_SECONDS - 1)
    assert len(await site.built()) == 2
    site.system.advance(2)
    (second,) = await site.built()

    assert first != second
    assert site.files() == {second}


async def test_a_file_that_nobody_knows_goes_and_one_that_is_just_being_made_stays(site: Site) -> None:
    await site.define(*range(ROWS_MIN))
    (sha256,) = await site.built()
    folder = site.directory / site.town.id
    (folder / ".unfinished-abc").write_bytes(b"half")
    (folder / ("0" * 64)).write_bytes(b"nobody's")
    written_ms = (folder / ".unfinished-abc").stat().st_mtime_ns // 1_000_000
    site.system.unix_ms = written_ms + UNKNOWN_KEPT_SECONDS * 1000 - 60_000
    await site.built()
    assert site.files() == {sha256, ".unfinished-abc", "0" * 64}
    site.system.advance(120)
    await site.built()

    assert site.files() == {sha256}


async def test_one_whose_file_was_lost_is_made_again(site: Site) -> None:
    await site.define(*range(ROWS_MIN))
    (sha256,) = await site.built()
    (site.directory / site.town.id / sha256).unlink()

    assert await site.built() == [sha256]
    assert site.files() == {sha256}


@pytest.mark.parametrize("step", ["snapshot.after_file", "snapshot.after_row", "snapshot.before_remove"])
async def test_a_job_that_dies_is_done_again(site: Site, step: str) -> None:
    await site.define(*range(ROWS_MIN))
    (site.directory / site.town.id).mkdir()
    (site.directory / site.town.id / ("0" * 64)).write_bytes(b"nobody's")

    site.system.dies_at = step
    with pytest.raises(Killed):
        await build_snapshots(site)
    site.system.dies_at = ""
    (sha256,) = await site.built()

    assert site.files() == {sha256}
    assert put_of(await rows_of(site, sha256)) == await feed_of(site)


async def test_a_town_with_trouble_keeps_no_other_waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.define(*range(ROWS_MIN))

    async def fail(*_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as broken:
        broken.setattr(site.blobs, "write", fail)
        assert await site.built() == []

    assert len(await site.built()) == 1
