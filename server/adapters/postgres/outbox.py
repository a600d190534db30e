"""The outbox and the customers' messages in PostgreSQL.

A claim locks the rows it takes with SKIP LOCKED and commits at once: nobody waits for a row lock while an effect is
being done, the lease in `due_at` is what keeps other workers away.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.application.ports import OutboxItem

# MATERIALIZED: the planner must not run the locking part again for each row of the outer one, which would pass LIMIT.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id, due_at FROM outbox
    WHERE town_id = %(town)s AND done_at IS NULL AND due_at <= %(now)s
    ORDER BY due_at, version, id LIMIT %(items_max)s FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox AS o SET attempts = o.attempts + 1, due_at = %(lease_until)s FROM due
    WHERE o.town_id = %(town)s AND o.id = due.id
    RETURNING o.id, o.kind, o.data, o.attempts, o.traceparent, o.version, due.due_at AS was_due_at
)
SELECT id, kind, data, attempts, traceparent FROM claimed ORDER BY was_due_at, version, id
"""

_FINISH = """
UPDATE outbox SET done_at = %(at)s, problem = NULL WHERE town_id = %(town)s AND id = %(id)s AND done_at IS NULL
"""

_FAIL = """
UPDATE outbox SET problem = %(problem)s, due_at = %(due_at)s, attempts = attempts - %(given_back)s
WHERE town_id = %(town)s AND id = %(id)s AND done_at IS NULL
"""

# Before this a transaction sees no town; the names of towns are visible to all.
SEE_ALL_TOWNS = """
SELECT set_config('app.town_ids', '{' || coalesce(string_agg(town_id::text, ','), '') || '}', true) FROM town_names
"""

_TOWNS_DUE = """
SELECT t.town_id FROM town_names AS t WHERE EXISTS (
    SELECT FROM outbox AS o WHERE o.town_id = t.town_id AND o.done_at IS NULL AND o.due_at <= %(now)s
) ORDER BY t.town_id
"""

_WRITE_MESSAGE = """
INSERT INTO messages (town_id, id, order_id, text, written_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (town_id, id) DO NOTHING
"""


class PostgresOutbox:
    """The outboxes of all towns; each method is one transaction."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def claim(self, town_id: str, now: str, lease_until: str, items_max: int) -> Sequence[OutboxItem]:
        """Lease what is due, longest due first; rows that another claim has locked are passed over."""
        values = {"town": town_id, "now": now, "lease_until": lease_until, "items_max": items_max}
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_CLAIM, values)
            return [
                OutboxItem(
                    id=item_id, town_id=town_id, kind=kind, data=data, attempts=attempts, traceparent=traceparent
                )
                async for item_id, kind, data, attempts, traceparent in cursor
            ]

    async def finish(self, town_id: str, item_id: str, at: str) -> None:
        """Done for ever; the first time stands."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_FINISH, {"town": town_id, "id": item_id, "at": at})

    async def fail(self, town_id: str, item_id: str, problem: str, due_at: str, *, is_counted: bool = True) -> None:
        """Due again later; what another worker has finished meanwhile stays finished."""
        given_back = 0 if is_counted else 1
        values = {"town": town_id, "id": item_id, "problem": problem, "due_at": due_at, "given_back": given_back}
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_FAIL, values)

    async def towns_due(self, now: str) -> Sequence[str]:
        """The towns with work due, by id; one probe of the partial index for each town there is."""
        async with town_transaction(self._pool) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            cursor = await connection.execute(_TOWNS_DUE, {"now": now})
            return [row[0] async for row in cursor]


class PostgresMessages:
    """The messages of all towns."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def write(self, town_id: str, message_id: str, order_id: str, text: str, at: str) -> None:
        """Insert, or leave the one that is there."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(_WRITE_MESSAGE, [town_id, message_id, order_id, text, at])
