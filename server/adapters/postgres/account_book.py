"""The ledger by account, in PostgreSQL: what is booked is found by party, and what it was for by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import LiteralString

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
    Of.PARTY: "SELECT %(owner)s::uuid, ''",
    Of.STUDENT: "SELECT party_id, '' FROM students WHERE town_id = %(town)s AND id = %(owner)s",
    Of.SCHOOL: "SELECT party_id, name FROM students WHERE town_id = %(town)s AND school_id = %(owner)s",
}

# An act is one line, whatever accounts of the party it goes through; what only moves inside of them is none. What it
# was for is read by keys afterwards, not joined: without statistics the planner reads all of a town's rows for each.
_ACTS = """
SELECT version, booked_at, currency, party_id, payment_id,
    CASE WHEN payment_id IS NULL THEN invoice_id END AS invoice_id, sum(debit_minor - credit_minor)::bigint AS minor
FROM journal_entries
WHERE town_id = %(town)s AND party_id = ANY(%(parties)s::uuid[])
    AND (account LIKE 'receivable:%%' OR account LIKE 'credit:%%')
GROUP BY version, booked_at, currency, party_id, payment_id, 6, device_id, seq
HAVING sum(debit_minor - credit_minor) <> 0
ORDER BY version, device_id, seq, payment_id NULLS FIRST, 6, party_id
"""
_TITLES = "SELECT id, title FROM invoices WHERE town_id = %(town)s AND id = ANY(%(ids)s::uuid[])"
_METHODS = "SELECT id, method FROM payments WHERE town_id = %(town)s AND id = ANY(%(ids)s::uuid[])"
_BACK = "paid back"


class PostgresAccountBook:
    """The `AccountBook` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def account(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> Account:
        """A few statements in one snapshot, each by an index."""
        asked = {"town": town_id, "owner": owner_id}
        async with town_transaction(self._pool, *seen, snapshot=True) as connection:
            owner = await (await connection.execute(_OWNERS[of].encode(), asked)).fetchone()
            town = await (await connection.execute(_TOWN, asked)).fetchone()
            if owner is None or town is None:
                raise NotFound
            names = dict(await (await connection.execute(_WHOSE[of].encode(), asked)).fetchall())
            found = await connection.execute(_ACTS, {"town": town_id, "parties": list(names)})
            acts = await found.fetchall()
            titles = await _by_id(connection, _TITLES, town_id, (act[5] for act in acts))
            methods = await _by_id(connection, _METHODS, town_id, (act[4] for act in acts))
        booked = [
            Booked(
                version=version,
                at=at,
                currency=currency,
                minor=minor,
                name=names[party],
                what=_what(titles.get(invoice), methods.get(payment), minor),
            )
            for version, at, currency, party, payment, invoice, minor in acts
        ]
        return Account(name=owner[0], town_name=town[0], version=town[1], at=town[2], booked=booked)


async def _by_id(
    connection: Connection, statement: LiteralString, town_id: str, ids: Iterable[str | None]
) -> dict[str | None, str]:
    wanted = sorted({row_id for row_id in ids if row_id})
    cursor = await connection.execute(statement, {"town": town_id, "ids": wanted})
    return dict(await cursor.fetchall())


def _what(title: str | None, method: str | None, minor: int) -> str:
    if method is not None:
        return f"{_BACK}: {method}" if minor > 0 else method
    return title or ""
