"""The ports of snapshots: files that are found by their hash, and the record of which bucket they hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A file: the SHA-256 of its bytes, in hexadecimal, and how many they are."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredBlob:
    """A file in its folder: its name, and when it was written, in milliseconds since 1970."""

    sha256: str
    written_ms: int


class Blobs(Protocol):
    """Files that never change, by folder and hash. A fault of the store comes out as `Unavailable`."""

    async def write(self, folder: str, chunks: AsyncIterator[bytes]) -> Blob:
        """Keep these bytes under their hash; durable and whole when it returns, and until then not there."""
        ...

    async def size(self, folder: str, sha256: str) -> int | None:
        """How long the file is, None when it is not there."""
        ...

    def read(self, folder: str, sha256: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces; fewer when the file ends before."""
        ...

    async def remove(self, folder: str, sha256: str) -> None:
        """Have it be gone, also when it was not there."""
        ...

    async def stored(self, folder: str) -> Sequence[StoredBlob]:
        """Every file of a folder, also what a writer that died has left half done."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The rows of a bucket at a version of its town, as a file of `rows` lines in zstd."""

    bucket: str
    sha256: str
    epoch: str
    version: int
    rows: int
    bytes: int


class BucketRows(Protocol):
    """A bucket in one snapshot of the database."""

    @property
    def epoch(self) -> str: ...

    @property
    def version(self) -> int:
        """The town version of this snapshot."""
        ...

    def pages(self) -> AsyncIterator[tuple[int, Sequence[bytes]]]:
        """How many rows there are in some finished `rows` lines, and those; tombstones are left out."""
        ...


class Snapshots(Protocol):
    """Which snapshots there are."""

    async def due(self, town_id: str, *, rows_min: int, changed_percent: int) -> Sequence[str]:
        """Buckets of so many rows that have no snapshot, or of which so much has changed since the last one."""
        ...

    def bucket(self, town_id: str, bucket: str) -> AbstractAsyncContextManager[BucketRows]: ...

    async def add(self, town_id: str, made: Snapshot, at: str) -> None:
        """Offer this one from now on."""
        ...

    async def find(self, town_id: str, sha256: str, buckets: Sequence[str]) -> Snapshot | None:
        """The snapshot with this hash of one of these buckets."""
        ...

    async def forget_replaced(self, town_id: str, made_before: str) -> None:
        """Drop what was replaced by a newer one, and is older than this."""
        ...

    async def forget(self, town_id: str, sha256: str) -> None:
        """Drop a snapshot whose file is not there."""
        ...

    async def named(self, town_id: str) -> Sequence[str]:
        """The hashes of every file of a town that some record names, be it of a snapshot or of a paper."""
        ...

    async def known(self, town_id: str) -> Sequence[str]:
        """The hashes of all snapshots of a town."""
        ...
