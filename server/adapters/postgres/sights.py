"""Every town at a glance, for `/metrics` and `tallystick doctor`: two statements, whatever the number of towns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, town_transaction
from server.adapters.postgres.outbox import SEE_ALL_TOWNS
from server.application.ports import TownSight

# The partial indexes of outbox, inbox and agenda hold what is not done, so this is quick however much was done.
_TOWNS = """
SELECT n.town_id, n.name, coalesce(h.version, 0), coalesce(h.is_halted, false),
       count(o.id) FILTER (WHERE o.due_at < %(never)s),
       count(o.id) FILTER (WHERE o.due_at < %(never)s AND o.problem IS NOT NULL),
       count(o.id) FILTER (WHERE o.due_at >= %(never)s),
       coalesce(extract(epoch FROM %(now)s - min(o.due_at) FILTER (WHERE o.due_at <= %(now)s)), 0)::float8
FROM town_names AS n
LEFT JOIN town_heads AS h USING (town_id)
LEFT JOIN (
    SELECT town_id, id, due_at, problem FROM outbox WHERE done_at IS NULL
    UNION ALL
    SELECT town_id, id, due_at, problem FROM inbox WHERE done_at IS NULL
    UNION ALL
    SELECT town_id, id, due_at, problem FROM agenda WHERE done_at IS NULL
) AS o ON o.town_id = n.town_id
GROUP BY n.town_id, n.name, h.version, h.is_halted ORDER BY n.town_id
"""

_DEVICES = """
SELECT town_id, status, count(*) FROM devices WHERE role <> 'server' GROUP BY town_id, status ORDER BY town_id, status
"""


class PostgresSights:
    """The `Sights` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def towns(self, now: str, never: str) -> Sequence[TownSight]:
        """Every town, read in one snapshot."""
        async with town_transaction(self._pool, snapshot=True) as connection:
            await connection.execute(SEE_ALL_TOWNS)
            return await read_sights(connection, now, never)


async def read_sights(connection: Connection, now: str, never: str) -> Sequence[TownSight]:
    """The towns that this transaction sees, by id."""
    devices: defaultdict[str, dict[str, int]] = defaultdict(dict)
    async for town_id, status, count in await connection.execute(_DEVICES):
        devices[town_id][status] = count
    cursor = await connection.execute(_TOWNS, {"now": now, "never": never})
    return [
        TownSight(
            town_id=town_id,
            name=name,
            version=version,
            is_halted=is_halted,
            devices=devices[town_id],
            waiting=waiting,
            failing=failing,
            given_up=given_up,
            overdue_seconds=overdue_seconds,
        )
        async for town_id, name, version, is_halted, waiting, failing, given_up, overdue_seconds in cursor
    ]
