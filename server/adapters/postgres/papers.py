"""Which papers were made, and what Z reports say, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import SEE_ALL_TOWNS
from server.application.paper_ports import Paper
from server.domain.access import NotFound
from sync.kernel.money import to_amount
from sync.modules.billing.ledger import drawer_account

_KEEP = """
INSERT INTO papers (town_id, id, name, media_type, sha256, made_at) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (town_id, id) DO NOTHING
"""
_FORGET = """
WITH old AS (DELETE FROM papers WHERE town_id = ANY (current_towns()) AND made_at < %(before)s RETURNING town_id, id),
again AS (DELETE FROM agenda USING old WHERE (agenda.town_id, agenda.id) = (old.town_id, old.id))
SELECT count(*) FROM old
"""
_REPORT = """
SELECT r.id, r.number, r.version, r.opening, r.expected, r.counted, r.differences, r.made_at, r.late_payment_id,
    s.opened_at, s.counted_at, s.reports, s.is_implied, t.name AS town, t.time_zone, u.name AS holder, d.name AS device
FROM drawer_reports AS r JOIN drawer_sessions AS s ON s.town_id = r.town_id AND s.id = r.drawer_id
JOIN towns AS t ON t.town_id = r.town_id AND t.id = r.town_id
LEFT JOIN users AS u ON u.town_id = r.town_id AND u.id = s.holder_id
LEFT JOIN devices AS d ON d.town_id = r.town_id AND d.id = r.device_id AND d.role <> 'server'
WHERE r.town_id = %(town)s AND r.drawer_id = %(drawer)s AND r.number = %(number)s
"""
_MOVED = """
SELECT currency, sum(debit_minor)::bigint AS taken, sum(credit_minor)::bigint AS given_back,
    count(*) FILTER (WHERE debit_minor > 0) AS payments
FROM journal_entries
WHERE town_id = %(town)s AND account = %(account)s AND payment_id IS NOT NULL AND version <= %(version)s
GROUP BY currency
"""
_PAYMENTS = """
SELECT p.id, p.taken_at, p.amount_minor, p.currency, p.method, s.status, coalesce(i.title, 'order ' || o.number, '')
    AS what
FROM (
    SELECT DISTINCT payment_id FROM journal_entries
    WHERE town_id = %(town)s AND account = %(account)s AND payment_id IS NOT NULL AND version <= %(version)s
) AS e JOIN payments AS p ON p.town_id = %(town)s AND p.id = e.payment_id AND p.drawer_id = %(drawer)s
JOIN settlements AS s ON s.town_id = p.town_id AND s.id = p.id
LEFT JOIN invoices AS i ON i.town_id = p.town_id AND i.id = s.invoice_id
LEFT JOIN orders AS o ON o.town_id = p.town_id AND o.id = p.order_id
ORDER BY p.taken_at, p.id LIMIT %(payments_max)s
"""
PAYMENTS_MAX = 5_000


class PostgresPapers:
    """The `Papers` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def find(self, town_id: str, paper_id: str) -> Paper | None:
        """By key."""
        statement = "SELECT name, media_type, sha256 FROM papers WHERE town_id = %s AND id = %s"
        async with town_transaction(self._pool, town_id) as connection:
            row = await (await connection.execute(statement, [town_id, paper_id])).fetchone()
        return Paper(name=row[0], media_type=row[1], sha256=row[2]) if row else None

    async def is_asked_for(self, town_id: str, paper_id: str) -> bool:
        """By key."""
        statement = "SELECT FROM agenda WHERE town_id = %s AND id = %s"
        async with town_transaction(self._pool, town_id) as connection:
            return (await connection.execute(statement, [town_id, paper_id])).rowcount == 1

    async def keep(self, town_id: str, paper_id: str, paper: Paper, at: str) -> None:
        """The first stands."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_KEEP, [town_id, paper_id, paper.name, paper.media_type, paper.sha256, at])

    async def forget(self, before: str) -> int:
        """What asked for it goes too, so that it can be asked for again."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            row = await (await connection.execute(_FORGET, {"before": before})).fetchone()
        return int(row[0]) if row else 0


class PostgresZReports:
    """The `ZReports` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def report(self, seen: Collection[str], town_id: str, drawer_id: str, number: int) -> Mapping[str, Any]:
        """Three statements in one snapshot, each by an index."""
        asked: dict[str, Any] = {"town": town_id, "drawer": drawer_id, "number": number, "payments_max": PAYMENTS_MAX}
        async with town_transaction(self._pool, *seen, snapshot=True) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            report = await (await cursor.execute(_REPORT, asked)).fetchone()
            if report is None:
                raise NotFound
            asked |= {"version": report["version"], "account": drawer_account(drawer_id)}
            moved = {row["currency"]: row for row in await (await cursor.execute(_MOVED, asked)).fetchall()}
            payments = await (await cursor.execute(_PAYMENTS, asked)).fetchall()
        sums = (report["opening"], report["expected"], report["counted"], moved)
        return {
            "id": report["id"],
            "number": number,
            "town": {"id": town_id, "name": report["town"], "time_zone": report["time_zone"]},
            "drawer": {"id": drawer_id, "name": report["device"] or "office", "holder": report["holder"] or ""},
            "is_implied": report["is_implied"],
            "opened_at": report["opened_at"],
            "counted_at": report["counted_at"],
            "made_at": report["made_at"],
            "late_payment": report["late_payment_id"],
            "reports": report["reports"],
            "currencies": [_sums(one, report, moved) for one in sorted({key for part in sums for key in part or ()})],
            "payments": [_payment(one) for one in payments],
        }


def _sums(currency: str, report: Mapping[str, Any], moved: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    went = moved.get(currency, {})
    minor = {name: (report[name] or {}).get(currency, 0) for name in ("opening", "expected", "counted")}
    minor |= {name: went.get(name, 0) for name in ("taken", "given_back")}
    minor["difference"] = (report["differences"] or {}).get(currency, 0)
    shown = {name: to_amount(value, currency) for name, value in minor.items()}
    return {"currency": currency, "payments": went.get("payments", 0), **shown}


def _payment(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "at": row["taken_at"],
        "what": row["what"],
        "method": row["method"],
        "status": row["status"],
        "amount": to_amount(row["amount_minor"], row["currency"]),
        "currency": row["currency"],
    }
