"""Snapshots in PostgreSQL: which there are, which are due, and the rows of a bucket to make one of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, town_transaction
from server.application.ports import TownUnknown
from server.application.snapshot_ports import Snapshot
from sync.protocol import limits

_COLUMNS = "bucket, sha256, epoch, version, rows, bytes"

# The newest snapshot of each bucket, of this epoch and not from before its tombstones end. What has changed since is
# counted no further than it matters.
_DUE = """
SELECT b.bucket FROM buckets b
JOIN town_heads t USING (town_id)
LEFT JOIN LATERAL (
    SELECT version FROM snapshots s
    WHERE s.town_id = b.town_id AND s.bucket = b.bucket AND s.epoch = t.epoch AND s.version >= b.horizon
    ORDER BY version DESC LIMIT 1
) AS s ON true
WHERE b.town_id = %(town)s AND b.rows >= %(rows_min)s AND (s.version IS NULL OR (
    SELECT count(*) FROM (
        SELECT FROM feed f WHERE f.town_id = b.town_id AND f.bucket = b.bucket AND f.version > s.version
        LIMIT b.rows * %(percent)s / 100 + 1
    ) AS changed
) * 100 >= b.rows * %(percent)s)
ORDER BY b.bucket
"""
_ADD = """
INSERT INTO snapshots (town_id, bucket, sha256, epoch, version, rows, bytes, made_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (town_id, bucket, sha256)
DO UPDATE SET epoch = excluded.epoch, version = excluded.version, made_at = excluded.made_at
"""
_OFFERS = """
SELECT DISTINCT ON (s.bucket) s.bucket, s.sha256, s.epoch, s.version, s.rows, s.bytes FROM snapshots s
JOIN buckets b USING (town_id, bucket) JOIN town_heads t USING (town_id, epoch)
WHERE town_id = %s AND s.bucket = ANY(%s) AND s.version >= b.horizon AND s.version <= t.version
ORDER BY s.bucket, s.version DESC
"""
_HEAD = "SELECT epoch, version FROM town_heads WHERE town_id = %s"
_FORGET_REPLACED = """
DELETE FROM snapshots AS old WHERE town_id = %s AND made_at < %s AND EXISTS (
    SELECT FROM snapshots AS new
    WHERE new.town_id = old.town_id AND new.bucket = old.bucket
    AND (new.made_at, new.sha256) > (old.made_at, old.sha256)
)
"""
_LIVE_PAGE = statements.FEED_PAGE.replace("version > %(after)s", "version > %(after)s AND body IS NOT NULL")
"""A page of the feed without its tombstones."""


class PostgresSnapshots:
    """The `Snapshots` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def due(self, town_id: str, *, rows_min: int, changed_percent: int) -> Sequence[str]:
        """One statement for all buckets of a town."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            named = {"town": town_id, "rows_min": rows_min, "percent": changed_percent}
            cursor = await connection.execute(_DUE, named)
            return [bucket async for (bucket,) in cursor]

    @asynccontextmanager
    async def bucket(self, town_id: str, bucket: str) -> AsyncIterator[PostgresBucketRows]:
        """One snapshot; each page is one statement, and what is done between two takes a moment."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            cursor = await connection.execute(_HEAD, [town_id])
            row = await cursor.fetchone()
            if row is None:
                raise TownUnknown
            yield PostgresBucketRows(connection, town_id, bucket, epoch=row[0], version=row[1])

    async def add(self, town_id: str, made: Snapshot, at: str) -> None:
        """The same rows again at another version are the same file."""
        async with town_transaction(self._pool, town_id) as connection:
            values = [made.bucket, made.sha256, made.epoch, made.version, made.rows, made.bytes]
            await connection.execute(_ADD, [town_id, *values, at])

    async def find(self, town_id: str, sha256: str, buckets: Sequence[str]) -> Snapshot | None:
        """By its hash, if it is of one of these buckets."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            statement = f"SELECT {_COLUMNS} FROM snapshots WHERE town_id = %s AND sha256 = %s AND bucket = ANY(%s)"
            cursor = await connection.execute(statement.encode(), [town_id, sha256, list(buckets)])
            row = await cursor.fetchone()
            return _snapshot(row) if row else None

    async def forget_replaced(self, town_id: str, made_before: str) -> None:
        """A device may still be on the way with one that was offered a while ago."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_FORGET_REPLACED, [town_id, made_before])

    async def forget(self, town_id: str, sha256: str) -> None:
        """Its bucket is due again."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute("DELETE FROM snapshots WHERE town_id = %s AND sha256 = %s", [town_id, sha256])

    async def known(self, town_id: str) -> Sequence[str]:
        """The hashes of all snapshots of a town."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            cursor = await connection.execute("SELECT sha256 FROM snapshots WHERE town_id = %s", [town_id])
            return [sha256 async for (sha256,) in cursor]

    async def named(self, town_id: str) -> Sequence[str]:
        """Snapshots and papers."""
        of_town = "SELECT sha256 FROM {} WHERE town_id = %(town)s"
        statement = f"{of_town.format('snapshots')} UNION {of_town.format('papers')}".encode()
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            return [sha256 async for (sha256,) in await connection.execute(statement, {"town": town_id})]


class PostgresBucketRows:
    """The rows of one bucket as they stood when the transaction began."""

    def __init__(self, connection: Connection, town_id: str, bucket: str, *, epoch: str, version: int) -> None:
        self._connection = connection
        self._town_id = town_id
        self._bucket = bucket
        self.epoch = epoch
        self.version = version

    async def pages(self) -> AsyncIterator[tuple[int, Sequence[bytes]]]:
        """Index range scans, each from where the one before ended."""
        after = 0
        while True:
            named = {
                "town": self._town_id,
                "bucket": self._bucket,
                "after": after,
                "rows_max": limits.PAGE_ROWS,
                "bytes_max": limits.PAGE_BYTES,
                "line_rows": limits.ROWS_LINE_ROWS,
                "line_bytes": limits.ROWS_LINE_BYTES,
            }
            cursor = await self._connection.execute(_LIVE_PAGE, named, binary=False)
            found = await cursor.fetchall()
            if not found:
                return
            yield sum(row[0] for row in found), [row[2] for row in found]
            after = max(row[1] for row in found)


async def read_offers(connection: Connection, town_id: str, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
    """The newest snapshot of each of these buckets that the feed can be gone on with."""
    cursor = await connection.execute(_OFFERS, [town_id, list(buckets)])
    return {row[0]: _snapshot(row) async for row in cursor}


def _snapshot(row: tuple[str, str, str, int, int, int]) -> Snapshot:
    bucket, sha256, epoch, version, rows, size = row
    return Snapshot(bucket=bucket, sha256=sha256, epoch=epoch, version=version, rows=rows, bytes=size)
