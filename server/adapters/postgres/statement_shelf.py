"""The statements that workers make, and which of them are to be made again because something was booked since.

What has changed is read from the entries of the ledger behind a mark: they are there with the commit that made them, so
nothing is forgotten, and the write path does nothing for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.account_book import WHOSE, booked_for
from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import NOTE, SEE_ALL_TOWNS
from server.application.commands.rebuild_statements import KIND
from server.application.statement_ports import Changed, Of
from server.domain.statements import Booked, shown, statement_of
from sync.kernel.ids import derived_id

ACCOUNTS_MAX = 100
"""Accounts in one piece of work."""

_TOWNS_CHANGED = """
SELECT h.town_id FROM town_heads AS h LEFT JOIN statement_marks AS m ON m.town_id = h.town_id
WHERE h.version > coalesce(m.version, 0) ORDER BY h.town_id
"""
_MARK = "INSERT INTO statement_marks (town_id, version) VALUES (%(town)s, 0) ON CONFLICT (town_id) DO NOTHING"
_LOCK_MARK = "SELECT version FROM statement_marks WHERE town_id = %(town)s FOR UPDATE"
_HEAD = "SELECT version FROM town_heads WHERE town_id = %(town)s"
_MOVE_MARK = "UPDATE statement_marks SET version = %(head)s WHERE town_id = %(town)s"
_PARTIES = """
SELECT DISTINCT party_id FROM journal_entries
WHERE town_id = %(town)s AND version > %(mark)s AND version <= %(head)s AND party_id IS NOT NULL ORDER BY party_id
"""
_SCHOOLS = """
SELECT DISTINCT school_id FROM students
WHERE town_id = %(town)s AND (version > %(mark)s OR party_id = ANY(%(parties)s::uuid[])) ORDER BY school_id
"""
_OLDER = """
SELECT w.id FROM unnest(%(owners)s::uuid[]) AS w (id)
LEFT JOIN statements AS s ON s.town_id = %(town)s AND s.kind = %(kind)s AND s.owner_id = w.id
WHERE s.version IS NULL OR s.version < %(version)s
"""
_PUT = """
INSERT INTO statements AS s (town_id, kind, owner_id, version, accounts, made_at, body)
SELECT %(town)s, %(kind)s, r.owner, %(head)s, r.accounts, %(at)s, r.body
FROM jsonb_to_recordset(%(rows)s) AS r (owner uuid, accounts bigint, body text)
ON CONFLICT (town_id, kind, owner_id) DO UPDATE
SET version = excluded.version, accounts = excluded.accounts, made_at = excluded.made_at, body = excluded.body
WHERE s.version < excluded.version
"""


class PostgresStatementShelf:
    """The `StatementShelf` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def towns_changed(self) -> Sequence[str]:
        """One statement over the heads of all towns."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            return [row[0] async for row in await connection.execute(_TOWNS_CHANGED)]

    async def note(self, town_id: str, at: str, *, everything: bool = False) -> int:
        """Under the lock of the mark; entries up to the head that is read first are all visible after it."""
        values: dict[str, Any] = {"town": town_id}
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_MARK, values)
            mark, head = await _number(connection, _LOCK_MARK, values), await _number(connection, _HEAD, values)
            values |= {"mark": 0 if everything else mark, "head": head}
            if everything:
                await connection.execute("DELETE FROM statements WHERE town_id = %(town)s", values)
            parties = [row[0] async for row in await connection.execute(_PARTIES, values)]
            schools = [row[0] async for row in await connection.execute(_SCHOOLS, {**values, "parties": parties})]
            why = "everything" if everything else "changed"
            for kind, owners in (("parties", parties), ("schools", schools)):
                for start in range(0, len(owners), ACCOUNTS_MAX):
                    said = {"version": head, kind: owners[start : start + ACCOUNTS_MAX]}
                    item = derived_id(KIND, why, at if everything else "", kind, head, start)
                    noted = {"id": item, "kind": KIND, "data": orjson.dumps(said).decode(), "version": head, "at": at}
                    await connection.execute(NOTE, {"town": town_id, **noted})
            await connection.execute(_MOVE_MARK, values)
        return len(parties) + len(schools)

    async def rebuild(self, town_id: str, changed: Changed, at: str) -> int:
        """One snapshot for the parties, one for each school."""
        made = await self._rebuild_parties(town_id, changed, at)
        for school in changed.schools:
            made += await self._rebuild_school(town_id, school, changed.version, at)
        return made

    async def _rebuild_parties(self, town_id: str, changed: Changed, at: str) -> int:
        asked = {"town": town_id, "kind": "party", "owners": list(changed.parties), "version": changed.version}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            older = [row[0] async for row in await connection.execute(_OLDER, asked)]
            head = await _number(connection, _HEAD, asked)
            booked = await booked_for(connection, town_id, dict.fromkeys(older, "")) if older else []
        by_party: dict[str, list[Booked]] = defaultdict(list)
        for party, one in booked:
            by_party[party].append(one)
        rows = [_row(party, 1, by_party[party]) for party in older]
        return await self._put(town_id, "party", head, at, rows)

    async def _rebuild_school(self, town_id: str, school: str, version: int, at: str) -> int:
        asked = {"town": town_id, "kind": "school", "owners": [school], "version": version, "owner": school}
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            if await (await connection.execute(_OLDER, asked)).fetchone() is None:
                return 0
            head = await _number(connection, _HEAD, asked)
            names = dict(await (await connection.execute(WHOSE[Of.SCHOOL].encode(), asked)).fetchall())
            booked = await booked_for(connection, town_id, names)
        return await self._put(town_id, "school", head, at, [_row(school, len(names), (one for _, one in booked))])

    async def _put(self, town_id: str, kind: str, head: int, at: str, rows: Sequence[Mapping[str, Any]]) -> int:
        if not rows:
            return 0
        said = {"town": town_id, "kind": kind, "head": head, "at": at, "rows": orjson.dumps(rows).decode()}
        async with town_transaction(self._pool, town_id) as connection:
            return (await connection.execute(_PUT, said)).rowcount


async def _number(connection: Connection, statement: str, values: Mapping[str, Any]) -> int:
    row = await (await connection.execute(statement.encode(), values)).fetchone()
    return int(row[0]) if row else 0


def _row(owner: str, accounts: int, booked: Iterable[Booked]) -> Mapping[str, Any]:
    return {"owner": owner, "accounts": accounts, "body": orjson.dumps(shown(statement_of(booked))).decode()}
