"""The ledger by account, in PostgreSQL: one statement over the index of a party's entries."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.statement_ports import Account, Of
from server.domain.access import NotFound
from server.domain.statements import Booked

_TOWN = """
SELECT n.name, h.version, convert_from(j.body, 'UTF8')::jsonb ->> 'at' FROM town_heads AS h
JOIN town_names AS n ON n.town_id = h.town_id
JOIN journal AS j ON j.town_id = h.town_id AND j.version = h.version
WHERE h.town_id = %(town)s
"""
_OWNERS = {
    Of.PARTY: "SELECT name FROM parties WHERE town_id = %(town)s AND id = %(owner)s",
    Of.STUDENT: "SELECT name FROM students WHERE town_id = %(town)s AND id = %(owner)s",
    Of.SCHOOL: "SELECT name FROM schools WHERE town_id = %(town)s AND id = %(owner)s",
}
_WHOSE = {
    Of.PARTY: "SELECT %(owner)s::uuid AS party_id, '' AS name",
    Of.STUDENT: "SELECT party_id, '' AS name FROM students WHERE town_id = %(town)s AND id = %(owner)s",
    Of.SCHOOL: "SELECT party_id, name FROM students WHERE town_id = %(town)s AND school_id = %(owner)s",
}

# An act is one line, whatever accounts of the party it goes through; what only moves inside of them is none.
# MATERIALIZED: the planner shall find the entries party by party, by their index.
_BOOKED = """
WITH whose AS MATERIALIZED ({whose}), acts AS (
    SELECT e.version, e.booked_at, e.currency, e.payment_id, w.name, e.device_id, e.seq,
        CASE WHEN e.payment_id IS NULL THEN e.invoice_id END AS invoice_id, sum(e.debit_minor - e.credit_minor) AS minor
    FROM whose AS w JOIN journal_entries AS e ON e.town_id = %(town)s AND e.party_id = w.party_id
    WHERE e.account LIKE 'receivable:%%' OR e.account LIKE 'credit:%%'
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT a.version, a.booked_at, a.currency, a.minor::bigint, a.name, i.title, p.method
FROM acts AS a
LEFT JOIN invoices AS i ON i.town_id = %(town)s AND i.id = a.invoice_id
LEFT JOIN payments AS p ON p.town_id = %(town)s AND p.id = a.payment_id
WHERE a.minor <> 0
ORDER BY a.version, a.device_id, a.seq, a.payment_id NULLS FIRST, a.invoice_id
"""
_BACK = "paid back"


class PostgresAccountBook:
    """The `AccountBook` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def account(self, town_id: str, of: Of, owner_id: str) -> Account:
        """Three statements in one snapshot."""
        asked = {"town": town_id, "owner": owner_id}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            owner = await (await connection.execute(_OWNERS[of].encode(), asked)).fetchone()
            town = await (await connection.execute(_TOWN, asked)).fetchone()
            if owner is None or town is None:
                raise NotFound
            cursor = await connection.execute(_BOOKED.format(whose=_WHOSE[of]).encode(), asked)
            booked = [
                Booked(
                    version=version, at=at, currency=currency, minor=minor, name=name, what=_what(title, method, minor)
                )
                async for version, at, currency, minor, name, title, method in cursor
            ]
        return Account(name=owner[0], town_name=town[0], version=town[1], at=town[2], booked=booked)


def _what(title: str | None, method: str | None, minor: int) -> str:
    if method is not None:
        return f"{_BACK}: {method}" if minor > 0 else method
    return title or ""
