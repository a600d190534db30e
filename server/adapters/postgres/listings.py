"""Lists of a town's rows for the office, by keyset: a page costs the same however far down it is.

The transaction sees the towns that the caller may see, which row-level security holds; each statement names the one
town that is asked for. Names come from the entities' declarations, values are parameters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import SEE_ALL_TOWNS
from server.adapters.postgres.towns import read_head
from server.application.people_ports import Row, Wanted, Where
from sync.engine.town import TownHead
from sync.kernel.module import FieldKind
from sync.modules import registry

_COMPARED = {
    "is": '"{field}" = %s::{type}',
    "among": '"{field}" = ANY(%s::{type}[])',
    "from": '"{field}" >= %s::{type}',
    "before": '"{field}" < %s::{type}',
    "holds": '"{field}" @> to_jsonb(%s::text)',
}


class PostgresListings:
    """The `Listings` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def reading(self, seen: Collection[str], town_id: str) -> AsyncIterator[PostgresListingReader]:
        """One snapshot; a town that may not be seen is as one that is not there."""
        async with town_transaction(self._pool, *seen, snapshot=True) as connection:
            yield PostgresListingReader(connection, await read_head(connection, town_id))


class PostgresListingReader:
    """A town as it stood when the transaction began."""

    def __init__(self, connection: Connection, head: TownHead) -> None:
        self._connection = connection
        self.head = head

    async def page(self, wanted: Wanted) -> Sequence[Row]:
        """The rows of a page, in order."""
        statement, values = _page(wanted)
        return await self._rows(wanted.entity, statement, [self.head.town, *values])

    async def row(self, entity: str, row_id: str) -> Row | None:
        """One row, or None."""
        return (await self.rows(entity, [row_id])).get(row_id)

    async def rows(self, entity: str, row_ids: Collection[str]) -> Mapping[str, Row]:
        """Several rows by one statement."""
        rows = await self._rows(entity, statements.select(entity), [self.head.town, list(row_ids)])
        return {row.id: row for row in rows}

    async def _rows(self, entity: str, statement: str, values: Sequence[Any]) -> Sequence[Row]:
        names = tuple(registry().entities[entity].fields)
        cursor = await self._connection.execute(statement.encode(), values)
        return [
            Row(id=row_id, version=version, fields=dict(zip(names, values, strict=True)))
            async for row_id, version, *values in cursor
        ]


def _page(wanted: Wanted) -> tuple[str, list[Any]]:
    kinds = registry().entities[wanted.entity].fields
    conditions = [_condition(where, kinds[where.field]) for where in wanted.where]
    values = [where.value for where in wanted.where]
    order, way, beyond = wanted.order, *(("DESC", "<") if wanted.is_descending else ("ASC", ">"))
    if wanted.after is not None:
        conditions.append(f'("{order}", id) {beyond} (%s::{statements.COLUMN_TYPES[kinds[order]]}, %s::uuid)')
        values += wanted.after
    parts = [statements.select_all(wanted.entity), *conditions]
    return f'{" AND ".join(parts)} ORDER BY "{order}" {way}, id {way} LIMIT %s', [*values, wanted.rows_max]


def _condition(where: Where, kind: FieldKind) -> str:
    return _COMPARED[where.how].format(field=where.field, type=statements.COLUMN_TYPES[kind])


class PostgresRequests:
    """The `Requests` port; the rows themselves are written by the town's writer."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def forget(self, before: str) -> int:
        """Over all towns, in one statement."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            return (await connection.execute("DELETE FROM idempotency WHERE made_at < %s", [before])).rowcount
