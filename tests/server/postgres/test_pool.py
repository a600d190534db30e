"""The pool after PostgreSQL has ended its connections: one request hears of it, and a healthy pool asks for nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from server.adapters.postgres.connection import POOL_CONNECTIONS_MAX, Connection, make_pool, translated
from server.adapters.postgres.pool import AlertPool
from server.application.ports import Unavailable

OURS = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
REQUESTS = 100


def end_all_connections(database_url: str) -> int:
    """As a restart does; how many there were."""
    with psycopg.connect(database_url) as connection:
        ended = connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {OURS}")
        return len(ended.fetchall())


async def take(pool: AlertPool, count: int) -> tuple[AsyncExitStack, list[Connection]]:
    """So many connections at once, each in use, until the stack is closed."""
    stack = AsyncExitStack()
    return stack, [await stack.enter_async_context(pool.connection()) for _ in range(count)]


def backends(database_url: str) -> set[int]:
    """The processes of PostgreSQL that serve the pool."""
    with psycopg.connect(database_url) as connection:
        return {pid for (pid,) in connection.execute(f"SELECT pid FROM pg_stat_activity WHERE {OURS}")}


async def outcome(pool: AlertPool) -> str:
    """What becomes of one request."""
    try:
        with translated():
            async with pool.connection() as connection:
                await connection.execute("SELECT 1", prepare=False)
    except Unavailable:
        return "unavailable"
    return "answered"


async def outcomes(pool: AlertPool, count: int) -> Counter[str]:
    """What becomes of requests one after the other."""
    return Counter([await outcome(pool) for _ in range(count)])


async def test_of_a_pool_whose_connections_have_all_died_one_request_hears(migrated_database: str) -> None:
    async with make_pool(migrated_database) as pool:
        taken, _ = await take(pool, POOL_CONNECTIONS_MAX)
        await taken.aclose()
        assert end_all_connections(migrated_database) == POOL_CONNECTIONS_MAX

        assert await outcomes(pool, REQUESTS) == {"unavailable": 1, "answered": REQUESTS - 1}


async def test_those_that_were_in_use_when_all_died_are_no_news_again(migrated_database: str) -> None:
    async with make_pool(migrated_database) as pool:
        in_use, connections = await take(pool, POOL_CONNECTIONS_MAX // 2)
        taken, _ = await take(pool, POOL_CONNECTIONS_MAX // 2)
        await taken.aclose()
        end_all_connections(migrated_database)
        assert await outcomes(pool, 2) == {"unavailable": 1, "answered": 1}
        made_since = await asyncio.to_thread(backends, migrated_database)

        for connection in connections:
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")
        await in_use.aclose()

        assert await outcomes(pool, REQUESTS) == {"answered": REQUESTS}
        assert made_since <= await asyncio.to_thread(backends, migrated_database)


async def test_one_that_was_ended_alone_costs_nobody_else_a_request(migrated_database: str) -> None:
    async with make_pool(migrated_database) as pool:
        taken, _ = await take(pool, 2)
        await taken.aclose()
        async with pool.connection() as connection:
            await asyncio.to_thread(end_all_connections, migrated_database)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("SELECT 1")

        assert await outcomes(pool, REQUESTS) == {"answered": REQUESTS}


async def test_a_healthy_pool_asks_postgres_for_nothing_of_its_own(migrated_database: str, tmp_path: Path) -> None:
    async with make_pool(migrated_database) as pool:
        await pool.wait()
        with (tmp_path / "wire").open("w+") as wire:
            async with pool.connection() as connection:
                connection.pgconn.trace(wire.fileno())
            assert await outcomes(pool, REQUESTS) == {"answered": REQUESTS}
            async with pool.connection() as connection:
                connection.pgconn.untrace()
            wire.seek(0)
            asked = Counter(line.split("\t")[3] for line in wire if line.split("\t")[1] == "F")

    assert asked == {"Query": 3 * REQUESTS}  # BEGIN, SELECT, COMMIT
