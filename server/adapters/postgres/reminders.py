"""Reminders in PostgreSQL: what is overdue is found by an index of open invoices by their day."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.reminder_ports import Overdue, Reminder

_DUE = """
SELECT i.id, i.title, p.name, p.phone, i.remaining_minor, i.currency, i.due_on, coalesce(r.number, 0)
FROM invoices AS i JOIN towns AS t ON t.town_id = i.town_id AND t.id = i.town_id
JOIN parties AS p ON p.town_id = i.town_id AND p.id = i.party_id
LEFT JOIN LATERAL (
    SELECT max(number) AS number, max(written_at) AS at FROM reminders
    WHERE reminders.town_id = i.town_id AND reminders.invoice_id = i.id
) AS r ON true
WHERE i.town_id = %(town)s AND i.state IN ('PENDING', 'PARTIALLY_PAID') AND i.due_on IS NOT NULL
    AND i.due_on < to_char(%(now)s::timestamptz AT TIME ZONE t.time_zone, 'YYYY-MM-DD')
    AND (r.number IS NULL OR (r.number < %(most)s AND r.at <= %(told_before)s))
ORDER BY i.due_on, i.id LIMIT %(rows_max)s
"""
_WRITE = """
INSERT INTO reminders (town_id, id, invoice_id, number, phone, text, written_at) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (town_id, id) DO NOTHING
"""
_WRITTEN = """
SELECT id, invoice_id, number, phone, text, written_at FROM reminders WHERE town_id = %s
ORDER BY written_at DESC, id LIMIT %s
"""


class PostgresReminders:
    """The `Reminders` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def due(self, town_id: str, now: str, *, told_before: str, most: int, rows_max: int) -> Sequence[Overdue]:
        """One statement."""
        asked = {"town": town_id, "now": now, "told_before": told_before, "most": most, "rows_max": rows_max}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            rows = await (await connection.execute(_DUE, asked)).fetchall()
        names = ("invoice_id", "title", "name", "phone", "remaining_minor", "currency", "due_on", "reminded")
        return [Overdue(**dict(zip(names, row, strict=True))) for row in rows]

    async def write(self, town_id: str, reminders: Sequence[Reminder]) -> int:
        """In one transaction; of two schedulers the first one's stand."""
        new = 0
        async with town_transaction(self._pool, town_id) as connection:
            for one in reminders:
                values = [town_id, one.id, one.invoice_id, one.number, one.phone, one.text, one.written_at]
                new += (await connection.execute(_WRITE, values)).rowcount
        return new

    async def written(self, town_id: str, rows_max: int) -> Sequence[Reminder]:
        """One statement."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            rows = await (await connection.execute(_WRITTEN, [town_id, rows_max])).fetchall()
        names = ("id", "invoice_id", "number", "phone", "text", "written_at")
        return [Reminder(**dict(zip(names, row, strict=True))) for row in rows]
