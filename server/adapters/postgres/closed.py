"""Which orders are closed for long enough to leave devices."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.tombstones import last_before
from server.application.retention_ports import ClosedOrder
from sync.modules.town_settings import DEVICE_DAYS_MAX

_DAYS = "SELECT h.version, coalesce((t.settings ->> 'device_days_max')::integer, %s) FROM town_heads h "
_DAYS += "JOIN towns t ON t.town_id = h.town_id AND t.id = h.town_id WHERE h.town_id = %s"
_BEFORE = 'SELECT to_char(%s::timestamptz - make_interval(days => %s), \'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')'
_DUE = """
SELECT o.id, coalesce(array_agg(d.id::text ORDER BY d.id) FILTER (WHERE d.id IS NOT NULL), '{}')
FROM (
    SELECT town_id, id, version FROM orders WHERE town_id = %(town)s AND version <= %(version)s
    AND archived_at IS NULL
    AND (custody IN ('customer', 'returned') OR (commercial = 'cancelled' AND custody = 'warehouse'))
    ORDER BY version LIMIT %(orders_max)s
) AS o
LEFT JOIN dispatches d ON d.town_id = o.town_id AND d.order_id = o.id
GROUP BY o.id, o.version ORDER BY o.version
"""


class PostgresClosedOrders:
    """The `ClosedOrders` port. An order that nothing has changed for so long was closed at least as long ago."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def due(self, town_id: str, now: str, orders_max: int) -> Sequence[ClosedOrder]:
        """One snapshot; the town's own days count."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            cursor = await connection.execute(_DAYS.encode(), [DEVICE_DAYS_MAX, town_id])
            found = await cursor.fetchone()
            if found is None:
                return []
            newest, days = found
            cursor = await connection.execute(_BEFORE.encode(), [now, days])
            row = await cursor.fetchone()
            assert row is not None
            version = await last_before(connection, town_id, newest, row[0])
            named = {"town": town_id, "version": version, "orders_max": orders_max}
            cursor = await connection.execute(_DUE, named)
            return [ClosedOrder(order_id=order, dispatches=tuple(ids)) async for order, ids in cursor]
