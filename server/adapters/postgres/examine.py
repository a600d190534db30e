"""What `tallystick doctor` reads of a database, over one connection that is looked at before it lowers itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.errors import InvalidSchemaName, UndefinedTable

from server.adapters.postgres.connection import Connection, configure, translated
from server.adapters.postgres.migrate import current_revision
from server.adapters.postgres.outbox import SEE_ALL_TOWNS
from server.adapters.postgres.sights import read_sights
from server.adapters.postgres.tables.evidence import GLOBAL_TABLES
from server.application.ports import TownSight
from server.domain.examination import DatabaseFacts, TownFacts
from sync.engine.chain import is_journal_signed, parse_public_key
from sync.kernel.clock import format_time

CONNECT_SECONDS_MAX = 5
_CHECK = Path(__file__).with_name("check.sql").read_bytes()
_SETTINGS = ["server_version_num", "max_connections", "fsync", "full_page_writes", "synchronous_commit"]

_LOGIN = """
SELECT current_user, r.rolsuper, coalesce(pg_has_role(current_user, to_regrole('tallystick_api'), 'MEMBER'), false),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT jsonb_object_agg(name, setting) FROM pg_settings WHERE name = ANY (%s))
FROM pg_roles AS r WHERE r.rolname = current_user
"""

_TOWNS = """
SELECT h.town_id, n.name, h.version, h.journal_hash, h.is_halted, h.epoch, j.hash, j.signature,
       coalesce(extract(epoch FROM (convert_from(j.body, 'UTF8')::jsonb ->> 'at')::timestamptz), 0)::float8
FROM town_heads AS h JOIN town_names AS n USING (town_id)
LEFT JOIN journal AS j ON j.town_id = h.town_id AND j.version = h.version ORDER BY n.name, h.town_id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A database that answered; what is seen through the schema is empty where there is none."""

    facts: DatabaseFacts
    faults: Sequence[tuple[str, str]] = ()
    towns: Sequence[TownFacts] = ()
    sights: Sequence[TownSight] = ()


async def examine_database(
    database_url: str, *, revision: str, server_key: str | None, older_keys: Collection[str] = (), never: str
) -> Examined:
    """Everything at once; without a key every town counts as signed by it. Raises `Unavailable`.

    Only the schema `revision` is looked into. Work that is due at `never` was given up.
    """
    async with _connected(database_url) as connection:
        facts = await _facts(connection)
        if facts.revision != revision or not facts.may_become_api:
            return Examined(facts=facts)
        await configure(connection)
        faults = await connection.execute(_CHECK, {"global_tables": sorted(GLOBAL_TABLES)})
        async with connection.transaction():
            await connection.execute(SEE_ALL_TOWNS)
            return Examined(
                facts=facts,
                faults=await faults.fetchall(),
                towns=await _towns(connection, [server_key, *older_keys] if server_key else []),
                sights=await read_sights(connection, format_time(int(time.time() * 1000)), never),
            )


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[Connection]:
    with translated():
        async with await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX
        ) as connection:
            yield connection


async def _facts(connection: Connection) -> DatabaseFacts:
    asked = time.time()
    cursor = await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    there = await cursor.fetchone()
    here = (asked + time.time()) / 2
    cursor = await connection.execute(_LOGIN, [_SETTINGS])
    login = await cursor.fetchone()
    assert there is not None
    assert login is not None
    role, is_superuser, may_become_api, connections, settings = login
    return DatabaseFacts(
        version_number=int(settings["server_version_num"]),
        login_role=role,
        is_login_superuser=is_superuser,
        may_become_api=may_become_api or is_superuser,
        revision=await _revision(connection),
        settings=settings,
        connections=connections,
        clock_ahead_seconds=here - there[0],
    )


async def _revision(connection: Connection) -> str | None:
    try:
        return await current_revision(connection)
    except (InvalidSchemaName, UndefinedTable):
        return None


async def _towns(connection: Connection, server_keys: Sequence[str]) -> list[TownFacts]:
    keys = [parse_public_key(key) for key in server_keys]
    now = time.time()
    cursor = await connection.execute(_TOWNS)
    return [
        TownFacts(
            town_id=town_id,
            name=name,
            version=version,
            is_head_journalled=version == 0 or digest == head,
            is_halted=is_halted,
            written_seconds_ahead=written - now,
            is_signed_by_key=not keys
            or digest is None
            or is_journal_signed(keys, signature, town=town_id, epoch=epoch, version=version, digest=digest),
        )
        async for town_id, name, version, head, is_halted, epoch, digest, signature, written in cursor
    ]
