"""Goods that have not come back, found in the tables of a town."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.missing_ports import Undelivered
from sync.modules.town_settings import RETURN_DAYS_MAX

_OVERDUE = """
SELECT o.id, o.attempts, failed.at FROM orders AS o
CROSS JOIN LATERAL (
    SELECT max(e.received_at) AS at FROM order_status_events AS e
    WHERE e.town_id = o.town_id AND e.order_id = o.id AND e.to_custody = 'undelivered'
    AND e.from_custody IS DISTINCT FROM e.to_custody
) AS failed
WHERE o.town_id = %(town)s AND o.custody = 'undelivered'
AND failed.at <= %(now)s::timestamptz - make_interval(hours => 24 * coalesce(
    (SELECT (t.settings ->> 'return_days_max')::int FROM towns AS t WHERE t.town_id = o.town_id), %(days)s))
AND NOT EXISTS (
    SELECT FROM conflicts AS c
    WHERE c.town_id = o.town_id AND c.subject_id = o.id AND c.kind = 'goods_missing' AND c.raised_at >= failed.at
)
ORDER BY failed.at, o.id LIMIT %(orders_max)s
"""
"""Orders that wait for their goods longer than the town allows, and of which nobody has been told yet."""


class PostgresMissingGoods:
    """The `MissingGoods` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def overdue(self, town_id: str, now: str, orders_max: int) -> Sequence[Undelivered]:
        """One statement over the few orders that are undelivered."""
        asked = {"town": town_id, "now": now, "days": RETURN_DAYS_MAX, "orders_max": orders_max}
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_OVERDUE, asked)
            return [
                Undelivered(order_id=order_id, attempt=attempt, since=since)
                async for order_id, attempt, since in cursor
            ]
