"""The files of a world: snapshots of buckets as a process makes, offers and hands them out, and how files go wrong.

The builder and the door are the product's own, over the stores in memory. Worlds are small, so a bucket is large here
when it has a row for every thousand that it would need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from server.adapters.memory_blobs import MemoryBlobs
from server.adapters.memory_snapshots import MemoryBucketRows, MemorySnapshots
from server.application.snapshot_ports import Blob, Snapshot, StoredBlob
from tests.simulation.loop import START_MS
from tests.simulation.told import Statement

if TYPE_CHECKING:
    from server.application.ports import System
    from tests.simulation.database import Connection, ProcessTowns

ROWS_PER_ROW = 1_000
PAGE_ROWS = 4
"""Rows of a page while a snapshot is made: others write in between."""


class Sights(Protocol):
    """Who is told what has happened."""

    def sometimes(self, what: str) -> None:
        """This has happened."""
        ...


class WorldBlobs(MemoryBlobs):
    """The files of all towns; they outlive processes, and do not go back with a database."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(cast("System", _Time(clock=clock)))
        self.lines: dict[str, list[bytes]] = {}
        """By hash, the lines of each file as it was made."""

    def alter(self, folder: str, sha256: str) -> None:
        """A bit of the file is another one from now on."""
        held, written_ms = self._files[folder, sha256]
        self._files[folder, sha256] = bytes([held[0] ^ 1]) + held[1:], written_ms


class ProcessBlobs:
    """The `Blobs` port of one process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._files = connection.database.blobs

    async def write(self, folder: str, chunks: AsyncIterator[bytes]) -> Blob:
        """As the port."""
        held = [chunk async for chunk in chunks]
        await self._connection.moment()
        return await self._files.write(folder, _again(held))

    async def size(self, folder: str, sha256: str) -> int | None:
        """As the port; the file may be gone, or another one than was written."""
        await self._connection.moment()
        faults = self._connection.faults
        if await self._files.size(folder, sha256) is not None:
            if faults.strikes("blob.gone"):
                await self._files.remove(folder, sha256)
            elif faults.strikes("blob.altered"):
                self._files.alter(folder, sha256)
        return await self._files.size(folder, sha256)

    async def read(self, folder: str, sha256: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """As the port."""
        await self._connection.moment()
        async for piece in self._files.read(folder, sha256, start, stop):
            yield piece

    async def remove(self, folder: str, sha256: str) -> None:
        """As the port."""
        await self._connection.moment()
        await self._files.remove(folder, sha256)

    async def stored(self, folder: str) -> Sequence[StoredBlob]:
        """As the port."""
        await self._connection.moment()
        return await self._files.stored(folder)


class ProcessSnapshots:
    """The `Snapshots` port of one process, a round trip for each statement."""

    def __init__(self, connection: Connection, sights: Sights) -> None:
        self._connection = connection
        self._sights = sights
        self._towns = connection.database.towns
        self._inner = MemorySnapshots(self._towns, page_rows=PAGE_ROWS)
        self._lines: dict[tuple[str, str], list[bytes]] = {}

    async def due(self, town_id: str, *, rows_min: int, changed_percent: int) -> Sequence[str]:
        """As the port, for towns as small as these."""
        await self._connection.trip()
        named = {"rows_min": rows_min // ROWS_PER_ROW, "changed_percent": changed_percent}
        answer = await self._inner.due(town_id, **named)
        self._tell("due", town_id, answer=answer, **named)
        return answer

    @asynccontextmanager
    async def bucket(self, town_id: str, bucket: str) -> AsyncIterator[_SlowRows]:
        """As the port."""
        await self._connection.trip()
        async with self._inner.bucket(town_id, bucket) as held:
            lines = [line async for _, page in held.pages() for line in page]
            self._lines[town_id, bucket] = lines
            self._tell("bucket", town_id, bucket, answer=lines)
            yield _SlowRows(held=held, connection=self._connection)
        if self._towns.standing(town_id).head.version > held.version:
            self._sights.sometimes("a snapshot is made while the town writes")

    async def add(self, town_id: str, made: Snapshot, at: str) -> None:
        """As the port."""
        await self._connection.trip()
        self._connection.database.blobs.lines[made.sha256] = self._lines[town_id, made.bucket]
        await self._inner.add(town_id, made, at)
        self._tell("add", town_id, made, at)

    async def find(self, town_id: str, sha256: str, buckets: Sequence[str]) -> Snapshot | None:
        """As the port."""
        await self._connection.trip()
        answer = await self._inner.find(town_id, sha256, buckets)
        self._tell("find", town_id, sha256, list(buckets), answer=answer)
        return answer

    async def forget_replaced(self, town_id: str, made_before: str) -> None:
        """As the port."""
        await self._connection.trip()
        await self._inner.forget_replaced(town_id, made_before)
        self._tell("forget_replaced", town_id, made_before)

    async def forget(self, town_id: str, sha256: str) -> None:
        """As the port."""
        await self._connection.trip()
        await self._inner.forget(town_id, sha256)
        self._tell("forget", town_id, sha256)
        self._sights.sometimes("a snapshot without its file is forgotten")

    async def named(self, town_id: str) -> Sequence[str]:
        """As the port."""
        await self._connection.trip()
        return await self._inner.named(town_id)

    async def known(self, town_id: str) -> Sequence[str]:
        """As the port."""
        await self._connection.trip()
        answer = await self._inner.known(town_id)
        self._tell("known", town_id, answer=sorted(answer))
        return answer

    def _tell(self, name: str, town_id: str, *arguments: object, answer: object = None, **named: object) -> None:
        said = Statement(port="snapshots", name=name, arguments=(town_id, *arguments), named=named, answer=answer)
        self._towns.tell(town_id, said)


@dataclass(frozen=True, kw_only=True, slots=True)
class _SlowRows:
    """The rows of a bucket, with time between their pages."""

    held: MemoryBucketRows
    connection: Connection

    @property
    def epoch(self) -> str:
        return self.held.epoch

    @property
    def version(self) -> int:
        return self.held.version

    async def pages(self) -> AsyncIterator[tuple[int, Sequence[bytes]]]:
        async for page in self.held.pages():
            await self.connection.trip()
            yield page


@dataclass(frozen=True, kw_only=True, slots=True)
class FileKeeper:
    """What the job that makes snapshots needs, in one process."""

    towns: ProcessTowns
    snapshots: ProcessSnapshots
    blobs: ProcessBlobs
    system: System


@dataclass(frozen=True, kw_only=True, slots=True)
class _Time:
    """What the files of a world want of a system."""

    clock: Callable[[], float]

    def now_ms(self) -> int:
        return START_MS + round(self.clock() * 1000)


async def _again(held: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in held:
        yield chunk
