"""Orders for which no money came that was to come first, found in the tables of a town."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.commands.settle_payments import CARD_DEADLINE_SECONDS
from sync.modules.town_settings import UNPAID_MINUTES_MAX

_DUE = """
SELECT o.id FROM orders AS o
CROSS JOIN LATERAL (
    SELECT min(e.received_at) AS at FROM order_status_events AS e WHERE e.town_id = o.town_id AND e.order_id = o.id
) AS heard
WHERE o.town_id = %(town)s AND o.commercial = 'active' AND o.custody = 'warehouse'
AND o.payment_method IN ('momo', 'card') AND o.payment = 'unpaid'
AND NOT EXISTS (
    SELECT FROM settlements AS s WHERE s.town_id = o.town_id AND s.order_id = o.id AND s.status = 'PENDING'
    AND s.changed_at > %(now)s::timestamptz - make_interval(secs => %(pending_seconds)s))
AND heard.at <= %(now)s::timestamptz - make_interval(mins => coalesce(
    (SELECT (t.settings ->> 'unpaid_minutes_max')::int FROM towns AS t WHERE t.town_id = o.town_id), %(minutes)s))
ORDER BY heard.at, o.id LIMIT %(orders_max)s
"""


class PostgresUnpaidOrders:
    """The `UnpaidOrders` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def due(self, town_id: str, now: str, orders_max: int) -> Sequence[str]:
        """One statement over the open orders."""
        asked = {"town": town_id, "now": now, "minutes": UNPAID_MINUTES_MAX, "orders_max": orders_max}
        asked["pending_seconds"] = CARD_DEADLINE_SECONDS  # the longer one: nothing is given up that may still be paid
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_DUE, asked)
            return [order_id async for (order_id,) in cursor]
