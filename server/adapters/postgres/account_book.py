"""The ledger by account, in PostgreSQL: what is booked is found by party, and what it was for by key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import LiteralString

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.statement_ports import Account, Of
from server.domain.access import NotFound
from server.domain.statements import Booked

# Who it is, where the town stands, and the statement that a worker has made, if nothing was booked since.
_LAST_BOOKED = """
coalesce((SELECT max(e.version) FROM journal_entries AS e WHERE e.town_id = {row}.town_id AND e.party_id = {party}), 0)
"""
_LOOK = """
SELECT o.name, t.name, t.time_zone, h.version, convert_from(j.body, 'UTF8')::jsonb ->> 'at', s.body
FROM {table} AS o JOIN town_heads AS h ON h.town_id = o.town_id
JOIN towns AS t ON t.town_id = o.town_id AND t.id = o.town_id
JOIN journal AS j ON j.town_id = h.town_id AND j.version = h.version
{more}
LEFT JOIN statements AS s ON s.town_id = o.town_id AND s.kind = '{kind}' AND s.owner_id = {owner} AND {is_fresh}
WHERE o.town_id = %(town)s AND o.id = %(owner)s
"""
_STUDENTS = f"""
CROSS JOIN LATERAL (
    SELECT count(*) AS accounts, max(greatest(t.version, {_LAST_BOOKED.format(row="t", party="t.party_id")})) AS changed
    FROM students AS t WHERE t.town_id = o.town_id AND t.school_id = o.id
) AS c
"""


def _look(table: str, owner: str) -> bytes:
    is_fresh = f"s.version >= {_LAST_BOOKED.format(row='o', party=owner)}"
    return _LOOK.format(table=table, more="", kind="party", owner=owner, is_fresh=is_fresh).encode()


_LOOKS = {
    Of.PARTY: _look("parties", "o.id"),
    Of.STUDENT: _look("students", "o.party_id"),
    Of.SCHOOL: _LOOK.format(
        table="schools",
        more=_STUDENTS,
        kind="school",
        owner="o.id",
        is_fresh="s.version >= coalesce(c.changed, 0) AND s.accounts = c.accounts",
    ).encode(),
}
# A day is over where the town is.
_OVERDUE = """
SELECT i.currency, sum(i.remaining_minor)::bigint, count(*)
FROM invoices AS i JOIN towns AS t ON t.town_id = i.town_id AND t.id = i.town_id
WHERE i.town_id = %(town)s AND {whose} AND i.state IN ('PENDING', 'PARTIALLY_PAID') AND i.due_on IS NOT NULL
    AND i.due_on < to_char(now() AT TIME ZONE t.time_zone, 'YYYY-MM-DD')
GROUP BY i.currency ORDER BY i.currency
"""
_OVERDUES = {
    Of.PARTY: _OVERDUE.format(whose="i.party_id = %(owner)s").encode(),
    Of.STUDENT: _OVERDUE.format(
        whose="i.party_id = (SELECT s.party_id FROM students AS s WHERE s.town_id = i.town_id AND s.id = %(owner)s)"
    ).encode(),
    Of.SCHOOL: _OVERDUE.format(whose="i.school_id = %(owner)s").encode(),
}
WHOSE = {
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
        """A worker's statement by one look; without one a few more in the same snapshot, each by an index."""
        asked = {"town": town_id, "owner": owner_id}
        async with town_transaction(self._pool, *seen, snapshot=True) as connection:
            found = await (await connection.execute(_LOOKS[of], asked)).fetchone()
            if found is None:
                raise NotFound
            overdue = await (await connection.execute(_OVERDUES[of], asked)).fetchall()
            name, town_name, time_zone, version, at, made = found
            account = Account(
                name=name,
                town_name=town_name,
                time_zone=time_zone,
                version=version,
                at=at,
                made=made and made.encode(),
                overdue=overdue,
            )
            if made is not None:
                return account
            names = dict(await (await connection.execute(WHOSE[of].encode(), asked)).fetchall())
            booked = await booked_for(connection, town_id, names)
        return replace(account, booked=[one for _, one in booked])


async def booked_for(connection: Connection, town_id: str, names: Mapping[str, str]) -> list[tuple[str, Booked]]:
    """What is booked for these parties, in the order of the books, each with the party and the name it is shown by."""
    acts = await (await connection.execute(_ACTS, {"town": town_id, "parties": list(names)})).fetchall()
    titles = await _by_id(connection, _TITLES, town_id, (act[5] for act in acts))
    methods = await _by_id(connection, _METHODS, town_id, (act[4] for act in acts))
    return [
        (
            party,
            Booked(
                version=version,
                at=at,
                currency=currency,
                minor=minor,
                name=names[party],
                what=_what(titles.get(invoice), methods.get(payment), minor),
            ),
        )
        for version, at, currency, party, payment, invoice, minor in acts
    ]


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
