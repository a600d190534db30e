"""PostgreSQL without row-level security, for tests in which something else has to hold alone."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.connection import Connection, configure


async def lifted(connection: Connection) -> None:
    """A connection whose role row-level security does not bind."""
    await configure(connection)
    await connection.execute("RESET ROLE")
    await connection.commit()


def make_lifted_pool(database_url: str) -> AsyncConnectionPool[Connection]:
    """In the place of `make_pool`."""
    return AsyncConnectionPool(database_url, min_size=1, max_size=8, configure=lifted, open=False)
