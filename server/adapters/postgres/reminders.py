"""Reminders in PostgreSQL: what is overdue is found by an index of open invoices by their day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import NOTE
from server.application.commands.send_reminders import KIND
from server.application.commands.work_off_outbox import NEVER
from server.application.reminder_ports import Fate, Outcome, Overdue, Reminder, Seen, Told
from server.domain.access import NotFound

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
_LOOK = """
SELECT r.id, r.invoice_id, r.number, r.phone, r.text, r.written_at,
    t.time_zone, i.state, i.remaining_minor, EXISTS (
        SELECT FROM reminders AS l WHERE l.town_id = r.town_id AND l.invoice_id = r.invoice_id AND l.number > r.number
    ), o.outcome
FROM reminders AS r JOIN towns AS t ON t.town_id = r.town_id AND t.id = r.town_id
JOIN invoices AS i ON i.town_id = r.town_id AND i.id = r.invoice_id
LEFT JOIN reminder_outcomes AS o ON o.town_id = r.town_id AND o.id = r.id
WHERE r.town_id = %s AND r.id = %s
"""
_END = """
INSERT INTO reminder_outcomes (town_id, id, outcome, why, at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (town_id, id) DO NOTHING
"""
# What was not put on the agenda is sent by nobody here; what is done there has left an outcome, which is kept for ever.
_WRITTEN = """
SELECT r.id, r.invoice_id, r.number, r.phone, r.text, r.written_at, CASE
        WHEN o.id IS NOT NULL THEN o.outcome WHEN r.phone = '' THEN 'no_telephone' WHEN a.id IS NULL THEN 'written'
        WHEN a.due_at = %(never)s THEN 'failed' WHEN a.problem IS NOT NULL THEN 'failing' ELSE 'waiting'
    END, o.at, coalesce(o.why, a.problem, '')
FROM reminders AS r LEFT JOIN reminder_outcomes AS o ON o.town_id = r.town_id AND o.id = r.id
LEFT JOIN agenda AS a ON a.town_id = r.town_id AND a.id = r.id
WHERE r.town_id = %(town)s ORDER BY r.written_at DESC, r.id LIMIT %(rows_max)s
"""
_FIELDS = ("id", "invoice_id", "number", "phone", "text", "written_at")


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

    async def write(self, town_id: str, reminders: Sequence[Reminder], to_send: Mapping[str, int]) -> int:
        """In one transaction; of two schedulers the first one's stand."""
        new = 0
        async with town_transaction(self._pool, town_id) as connection:
            for one in reminders:
                values = [town_id, one.id, one.invoice_id, one.number, one.phone, one.text, one.written_at]
                is_new = (await connection.execute(_WRITE, values)).rowcount
                if is_new and one.id in to_send:
                    data = orjson.dumps({"invoice": one.invoice_id, "remaining_minor": to_send[one.id]}).decode()
                    noted = {"town": town_id, "id": one.id, "kind": KIND, "data": data, "version": 0}
                    await connection.execute(NOTE, {**noted, "at": one.written_at})
                new += is_new
        return new

    async def look(self, town_id: str, reminder_id: str) -> Seen:
        """One statement."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            row = await (await connection.execute(_LOOK, [town_id, reminder_id])).fetchone()
        if row is None:
            raise NotFound(f"there is no reminder {reminder_id}")
        time_zone, state, remaining_minor, is_followed, outcome = row[len(_FIELDS) :]
        return Seen(
            reminder=_reminder(row),
            time_zone=time_zone,
            invoice_state=state,
            remaining_minor=remaining_minor,
            is_followed=is_followed,
            outcome=Outcome(outcome) if outcome else None,
        )

    async def end(self, town_id: str, reminder_id: str, outcome: Outcome, why: str, at: str) -> None:
        """One statement."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_END, [town_id, reminder_id, outcome.value, why, at])

    async def written(self, town_id: str, rows_max: int) -> Sequence[Told]:
        """One statement."""
        asked = {"town": town_id, "rows_max": rows_max, "never": NEVER}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            rows = await (await connection.execute(_WRITTEN, asked)).fetchall()
        return [Told(reminder=_reminder(row), fate=Fate(row[-3]), at=row[-2], why=row[-1]) for row in rows]


def _reminder(row: Sequence[Any]) -> Reminder:
    return Reminder(**dict(zip(_FIELDS, row[: len(_FIELDS)], strict=True)))
