"""The outbox, the inbox and the customers' messages in PostgreSQL.

A claim locks the rows it takes with SKIP LOCKED and commits at once: nobody waits for a row lock while an effect is
being done, the lease in `due_at` is what keeps other workers away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.callback_ports import CALLBACKS_WAITING_MAX, Callback, Job
from server.application.commands.work_off_outbox import NEVER
from server.application.ports import OutboxItem
from sync.kernel.errors import LimitExceeded

# MATERIALIZED: the planner must not run the locking part again for each row of the outer one, which would pass LIMIT.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, due_at FROM {table}
    WHERE town_id = %(town)s AND done_at IS NULL AND due_at <= %(now)s
    ORDER BY due_at, version, id LIMIT %(items_max)s FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE {table} AS o SET attempts = o.attempts + 1, due_at = %(lease_until)s FROM due
    WHERE o.town_id = %(town)s AND o.id = due.id
    RETURNING o.id, o.kind, o.data, o.attempts, o.traceparent, o.version, due.due_at AS was_due_at
)
SELECT id, kind, data, attempts, traceparent FROM claimed ORDER BY was_due_at, version, id
"""

_FINISH = """
UPDATE {table} SET done_at = %(at)s, problem = NULL WHERE town_id = %(town)s AND id = %(id)s AND done_at IS NULL
"""

_FAIL = """
UPDATE {table} SET problem = %(problem)s, due_at = %(due_at)s, attempts = attempts - %(given_back)s
WHERE town_id = %(town)s AND id = %(id)s AND done_at IS NULL
"""

# Before this a transaction sees no town; the names of towns are visible to all.
SEE_ALL_TOWNS = """
SELECT set_config('app.town_ids', '{' || coalesce(string_agg(town_id::text, ','), '') || '}', true) FROM town_names
"""

_TOWNS_DUE = """
SELECT t.town_id FROM town_names AS t WHERE EXISTS (
    SELECT FROM {table} AS o WHERE o.town_id = t.town_id AND o.done_at IS NULL AND o.due_at <= %(now)s
) ORDER BY t.town_id
"""

_TABLES = ("outbox", "inbox", "agenda")

NOTE = """
INSERT INTO agenda (town_id, id, kind, data, version, due_at, attempts)
VALUES (%(town)s, %(id)s, %(kind)s, %(data)s, %(version)s, %(at)s, 0) ON CONFLICT (town_id, id) DO NOTHING
"""
_FORGET = "DELETE FROM {table} WHERE town_id = ANY (current_towns()) AND done_at < %(before)s"

_KEEP = """
INSERT INTO inbox (town_id, id, kind, data, version, received_at, method, content_type, body, times, due_at, attempts)
SELECT %(town)s, %(id)s, %(kind)s, %(data)s, 0, %(at)s, %(method)s, %(content_type)s, %(body)s, 1, %(at)s, 0
WHERE (SELECT count(*) FROM (
    SELECT FROM inbox WHERE town_id = %(town)s AND done_at IS NULL LIMIT %(waiting_max)s
) AS waiting) < %(waiting_max)s
ON CONFLICT (town_id, id) DO UPDATE
SET times = inbox.times + 1,
    due_at = CASE WHEN inbox.body = excluded.body THEN excluded.due_at ELSE inbox.due_at END,
    attempts = CASE WHEN inbox.body = excluded.body THEN 0 ELSE inbox.attempts END,
    done_at = CASE WHEN inbox.body = excluded.body THEN NULL ELSE inbox.done_at END,
    problem = CASE WHEN inbox.body = excluded.body THEN NULL ELSE inbox.problem END
RETURNING body = %(body)s
"""

_UNDONE = """
SELECT id, 'outbox', kind, data, due_at, attempts, problem FROM outbox WHERE town_id = %(town)s AND done_at IS NULL
UNION ALL
SELECT id, 'inbox', kind, data, due_at, attempts, problem FROM inbox WHERE town_id = %(town)s AND done_at IS NULL
UNION ALL
SELECT id, 'agenda', kind, data, due_at, attempts, problem FROM agenda WHERE town_id = %(town)s AND done_at IS NULL
ORDER BY 5, 1 LIMIT %(jobs_max)s
"""

_RETRY = """
UPDATE {table} SET due_at = %(at)s, attempts = 0, problem = NULL
WHERE town_id = %(town)s AND id = %(id)s AND done_at IS NULL
"""

_WRITE_MESSAGE = """
INSERT INTO messages (town_id, id, order_id, text, written_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (town_id, id) DO NOTHING
"""


class PostgresWork:
    """Work in leases, kept in one table; each method is one transaction."""

    table: ClassVar[str]

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self._claim, self._finish, self._fail, self._towns_due = (
            statement.format(table=self.table).encode() for statement in (_CLAIM, _FINISH, _FAIL, _TOWNS_DUE)
        )

    async def claim(self, town_id: str, now: str, lease_until: str, items_max: int) -> Sequence[OutboxItem]:
        """Lease what is due, longest due first; rows that another claim has locked are passed over."""
        values = {"town": town_id, "now": now, "lease_until": lease_until, "items_max": items_max}
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(self._claim, values)
            return [
                OutboxItem(
                    id=item_id, town_id=town_id, kind=kind, data=data, attempts=attempts, traceparent=traceparent
                )
                async for item_id, kind, data, attempts, traceparent in cursor
            ]

    async def finish(self, town_id: str, item_id: str, at: str) -> None:
        """Done for ever; the first time stands."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(self._finish, {"town": town_id, "id": item_id, "at": at})

    async def fail(
        self, town_id: str, item_id: str, problem: str | None, due_at: str, *, is_counted: bool = True
    ) -> None:
        """Due again later; what another worker has finished meanwhile stays finished."""
        given_back = 0 if is_counted else 1
        values = {"town": town_id, "id": item_id, "problem": problem, "due_at": due_at, "given_back": given_back}
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(self._fail, values)

    async def towns_due(self, now: str) -> Sequence[str]:
        """The towns with work due, by id; one probe of the partial index for each town there is."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            cursor = await connection.execute(self._towns_due, {"now": now})
            return [row[0] async for row in cursor]


class PostgresOutbox(PostgresWork):
    """The outboxes of all towns: what commits have asked for."""

    table = "outbox"


class PassingWork(PostgresWork):
    """Work that is not looked at any more some time after it was done."""

    async def forget(self, before: str) -> int:
        """In one statement for all towns."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            return (await connection.execute(_FORGET.format(table=self.table).encode(), {"before": before})).rowcount


class PostgresInbox(PassingWork):
    """The inboxes of all towns: what others have sent by themselves."""

    table = "inbox"

    async def keep(self, callback: Callback) -> bool:
        """One statement; the bound is counted in it, the body compared."""
        values = {
            "town": callback.town_id,
            "id": callback.id,
            "kind": callback.kind,
            "data": orjson.dumps(dict(callback.data)).decode(),
            "at": callback.received_at,
            "method": callback.method,
            "content_type": callback.content_type,
            "body": callback.body,
            "waiting_max": CALLBACKS_WAITING_MAX,
        }
        async with town_transaction(self._pool, callback.town_id) as connection:
            cursor = await connection.execute(_KEEP, values)
            kept = await cursor.fetchone()
            if kept is None:
                raise LimitExceeded(f"more than {CALLBACKS_WAITING_MAX} callbacks of this town wait to be looked at")
            return bool(kept[0])


class PostgresAgenda(PassingWork):
    """The agendas of all towns: what follows from what is there, and can be noted again."""

    table = "agenda"

    async def note(self, town_id: str, item_id: str, kind: str, data: Mapping[str, Any], at: str) -> None:
        """What is on it already, done or not, stays as it is."""
        said = orjson.dumps(dict(data)).decode()
        values = {"town": town_id, "id": item_id, "kind": kind, "data": said, "version": 0, "at": at}
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(NOTE, values)


class PostgresJobs:
    """The `Jobs` port over all three."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def undone(self, town_id: str, jobs_max: int) -> Sequence[Job]:
        """One statement over the tables."""
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_UNDONE, {"town": town_id, "jobs_max": jobs_max})
            return [
                Job(
                    id=job_id,
                    town_id=town_id,
                    source=source,
                    kind=kind,
                    data=data,
                    due_at=due_at,
                    attempts=attempts,
                    problem=problem,
                    is_dead=due_at == NEVER,
                )
                async for job_id, source, kind, data, due_at, attempts, problem in cursor
            ]

    async def retry(self, town_id: str, job_id: str, now: str) -> bool:
        """In whichever of them it is."""
        values = {"town": town_id, "id": job_id, "at": now}
        async with town_transaction(self._pool, town_id) as connection:
            cursors = [await connection.execute(_RETRY.format(table=table).encode(), values) for table in _TABLES]
            return any(cursor.rowcount for cursor in cursors)


class PostgresMessages:
    """The messages of all towns."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def write(self, town_id: str, message_id: str, order_id: str, text: str, at: str) -> None:
        """Insert, or leave the one that is there."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_WRITE_MESSAGE, [town_id, message_id, order_id, text, at])
