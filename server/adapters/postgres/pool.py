"""A pool that takes the death of one connection as news about all of them.

A PostgreSQL that was restarted has ended every connection, and each of them would fail one request before it is known.
Looking at a connection before each use costs a round trip for every request on every healthy day. So the first one that
comes back dead has all others replaced, and nothing is asked while nothing dies.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

RECONNECT_SECONDS = 5
"""After this long a connection is given up; the next request tries again at once, whatever was tried before."""


class AlertPool(AsyncConnectionPool[psycopg.AsyncConnection[Any]]):
    """Replaces every connection when one has died that was not already suspected."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._out: set[psycopg.AsyncConnection[Any]] = set()
        self._suspected: set[psycopg.AsyncConnection[Any]] = set()

    async def getconn(self, timeout: float | None = None) -> psycopg.AsyncConnection[Any]:  # noqa: ASYNC109  the pool has it so
        """As the pool does, remembering who is out."""
        connection = await super().getconn(timeout)
        self._out.add(connection)
        return connection

    async def putconn(self, conn: psycopg.AsyncConnection[Any]) -> None:
        """As the pool does. When it comes back dead, those that are here are replaced, and later those that are out."""
        self._out.discard(conn)
        is_news = conn.closed and conn not in self._suspected
        self._suspected.discard(conn)
        await super().putconn(conn)
        if is_news and not self.closed:
            self._suspected = set(self._out)
            await self.drain()
