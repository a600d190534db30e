"""Letting go of old tombstones."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, town_transaction

_AT = "SELECT convert_from(body, 'UTF8')::jsonb ->> 'at' < %s FROM journal WHERE town_id = %s AND version = %s"
_EXPIRE = """
WITH old AS (
    SELECT bucket, entity, id FROM feed WHERE town_id = %(town)s AND body IS NULL AND version <= %(version)s
    ORDER BY version LIMIT %(rows_max)s
), gone AS (
    DELETE FROM feed USING old
    WHERE town_id = %(town)s AND (feed.bucket, feed.entity, feed.id) = (old.bucket, old.entity, old.id)
    RETURNING feed.bucket, feed.version
), ended AS (
    SELECT bucket, max(version) AS version FROM gone GROUP BY bucket
), raised AS (
    UPDATE buckets SET horizon = greatest(horizon, ended.version) FROM ended
    WHERE town_id = %(town)s AND buckets.bucket = ended.bucket
)
SELECT count(*) FROM gone
"""


class PostgresTombstones:
    """The `Tombstones` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def expire(self, town_id: str, before: str, rows_max: int) -> int:
        """Takes the town's head row FOR UPDATE first, as whoever writes to a town does."""
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(statements.LOCK_TOWN, [town_id])
            head = await cursor.fetchone()
            if head is None:
                return 0
            version = await last_before(connection, town_id, head[1], before)
            named = {"town": town_id, "version": version, "rows_max": rows_max}
            cursor = await connection.execute(_EXPIRE, named)
            row = await cursor.fetchone()
        assert row is not None
        count: int = row[0]
        return count


async def last_before(connection: Connection, town_id: str, newest: int, before: str) -> int:
    """The last version that was made before this time: versions are made in the order of time."""
    low, high = 0, newest
    while low < high:
        middle = (low + high + 1) // 2
        cursor = await connection.execute(_AT, [before, town_id, middle])
        row = await cursor.fetchone()
        if row is not None and row[0]:
            low = middle
        else:
            high = middle - 1
    return low
