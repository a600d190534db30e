"""The pool: every connection works as `tallystick_api`, with bounded waits, and reads values as the rules know them.

`town_transaction` is the only way to a town's rows: it names the town for row-level security, for one transaction.
Faults of the driver become `Unavailable` or `WriteRejected` here and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg import errors
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres.pool import RECONNECT_SECONDS, AlertPool
from server.application.ports import Unavailable, WriteRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

Connection = psycopg.AsyncConnection[Any]

POOL_CONNECTIONS_MAX = 16
POOL_WAIT_SECONDS = 5
_SESSION = """
SET ROLE tallystick_api;
SET search_path = pg_catalog, tallystick, pg_temp;
SET timezone = 'UTC';
SET row_security = on;
SET statement_timeout = '10s';
SET lock_timeout = '3s';
SET idle_in_transaction_session_timeout = '5s';
"""

_REFUSED = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded, errors.RaiseException)
"""What the data itself causes, and would cause again. Everything else passes: lock waits, a full disk, a standby that
only reads, a transaction that was idle too long, a schema that is still to be migrated."""


class _TextLoader(Loader):
    """uuid as the canonical text it is on the wire."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode()


class _TimeLoader(Loader):
    """timestamptz as `2026-11-21T08:15:02.114Z`; the session is in UTC, PostgreSQL trims trailing zeros."""

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode().removesuffix("+00")
        date, clock = text[:10], text[11:]
        return f"{date}T{clock if '.' in clock else clock + '.'}".ljust(23, "0") + "Z"


async def configure(connection: Connection) -> None:
    """Make a new connection one of the application's; commits."""
    connection.adapters.register_loader("uuid", _TextLoader)
    connection.adapters.register_loader("timestamptz", _TimeLoader)
    set_json_loads(orjson.loads, connection)
    await connection.execute(_SESSION)
    await connection.commit()


def make_pool(database_url: str) -> AlertPool:
    """A closed pool; open it inside the running event loop."""
    return AlertPool(
        database_url,
        min_size=1,
        max_size=POOL_CONNECTIONS_MAX,
        timeout=POOL_WAIT_SECONDS,
        reconnect_timeout=RECONNECT_SECONDS,
        configure=configure,
        open=False,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's faults into those of the ports."""
    try:
        yield
    except _REFUSED as fault:
        raise WriteRejected from fault
    except psycopg.Error as fault:
        raise Unavailable from fault


@asynccontextmanager
async def town_transaction(
    pool: AsyncConnectionPool[Connection], *town_ids: str, snapshot: bool = False, idle_seconds_max: int | None = None
) -> AsyncIterator[Connection]:
    """A transaction that sees these towns and no other; `snapshot` makes it read-only and standing still.

    PostgreSQL ends it when it is idle for longer than `idle_seconds_max`, or than the session's five seconds.
    """
    named = {"app.town_ids": "{" + ",".join(town_ids) + "}"}
    if idle_seconds_max is not None:
        named["idle_in_transaction_session_timeout"] = f"{idle_seconds_max}s"
    statement = f"SELECT {', '.join(['set_config(%s, %s, true)'] * len(named))}".encode()
    with translated():
        async with pool.connection() as connection, _begun(connection, snapshot=snapshot):
            await connection.execute(statement, [part for pair in named.items() for part in pair])
            yield connection


@asynccontextmanager
async def _begun(connection: Connection, *, snapshot: bool) -> AsyncIterator[None]:
    """A transaction whose BEGIN says all that it is: a statement of its own for that costs as much as the reading."""
    if not snapshot:
        async with connection.transaction():
            yield
        return
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    try:
        async with connection.transaction():
            yield
    finally:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)
        else:
            await connection.close()  # nobody else may get it as it is


@asynccontextmanager
async def in_one_statement(connection: Connection) -> AsyncIterator[None]:
    """For a block of one statement, which is its own transaction: without BEGIN and COMMIT, each a round trip."""
    await connection.set_autocommit(True)
    try:
        yield
    finally:
        if connection.info.transaction_status is TransactionStatus.IDLE:
            await connection.set_autocommit(False)
        else:
            await connection.close()  # nobody else may get it as it is
