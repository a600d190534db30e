"""Everything that is stored of a town, streamed out of one snapshot for `verify`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, town_transaction, translated
from server.adapters.postgres.histories import read_epochs, read_halts
from server.adapters.postgres.towns import read_standing
from server.application.evidence import StoredSet, StoredStatement, StoredWork
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import BucketState
from sync.engine.chain import ChainHead
from sync.engine.feed import BucketSum, Stored
from sync.engine.replay import FeedKey, KeptEntry
from sync.engine.town import TownHead
from sync.modules import registry

FETCH_ROWS = 2_000

_SETS = """
SELECT device_id, seq, version, hash, line, signature, status, verdict FROM change_sets
WHERE town_id = %s AND version BETWEEN %s AND %s ORDER BY version
"""
_STRAYS = """
SELECT count(*) FROM change_sets c WHERE town_id = %s
AND NOT EXISTS (SELECT FROM journal j WHERE j.town_id = c.town_id AND j.version = c.version)
"""
_FEED = """
SELECT entity, id, bucket, version, body FROM feed WHERE town_id = %s
ORDER BY entity COLLATE "C", id, bucket COLLATE "C"
"""
_TOWNS = """
SELECT town_id, name FROM town_names
FULL JOIN (SELECT DISTINCT town_id FROM device_keys) AS devices USING (town_id) ORDER BY name, town_id
"""
_FAILURES = """
SELECT device_id, hash, coalesce(l.failures, f.failures) FROM line_failures f
JOIN change_sets c USING (town_id, device_id, seq) FULL JOIN failed_lines l USING (town_id, device_id, hash)
WHERE town_id = %s
"""
JOURNAL_PAGE = 100


class PostgresEvidence:
    """The `EvidenceStore` port."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def evidence(self, town_id: str) -> AsyncIterator[PostgresTownEvidence]:
        """One snapshot, without the time limits of a request: this reads everything."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            head, is_halted = await read_standing(connection, town_id)
            yield PostgresTownEvidence(connection, head, is_halted=is_halted)

    async def towns(self) -> Mapping[str, str]:
        """Of the tables without a town in their key; a town that has devices is found though its name was removed."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_TOWNS)
                return {town_id: name or town_id async for town_id, name in cursor}


class PostgresTownEvidence:
    """One town's evidence."""

    def __init__(self, connection: Connection, head: TownHead, *, is_halted: bool) -> None:
        self._connection = connection
        self.head = head
        self.is_halted = is_halted
        self._streams = 0

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        return await read_epochs(self._connection, self.head.town)

    async def halts(self) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        return await read_halts(self._connection, self.head.town)

    async def journal(self) -> AsyncIterator[tuple[KeptEntry, list[StoredSet]]]:
        """Entries and their change sets, a page of versions at a time."""
        after = 0
        while True:
            cursor = await self._connection.execute(
                "SELECT version, body, hash, signature FROM journal WHERE town_id = %s AND version > %s "
                "ORDER BY version LIMIT %s",
                [self.head.town, after, JOURNAL_PAGE],
            )
            entries = await cursor.fetchall()
            if not entries:
                return
            last = entries[-1][0]
            sets: dict[int, list[StoredSet]] = {}
            cursor = await self._connection.execute(_SETS, [self.head.town, after + 1, last])
            for device, seq, version, digest, line, signature, status, verdict in await cursor.fetchall():
                sets.setdefault(version, []).append(
                    StoredSet(
                        device=device,
                        seq=seq,
                        version=version,
                        digest=digest,
                        line=line,
                        signature=signature,
                        status=status,
                        verdict=verdict,
                    )
                )
            for version, body, digest, signature in entries:
                entry = KeptEntry(version=version, body=body, digest=digest, signature=signature)
                yield entry, sets.get(version, [])
            after = last

    async def stray_sets(self) -> int:
        """Change sets whose version has no journal entry."""
        cursor = await self._connection.execute(_STRAYS, [self.head.town])
        row = await cursor.fetchone()
        assert row is not None
        count: int = row[0]
        return count

    async def rows(self, entity: str) -> AsyncIterator[tuple[str, Stored]]:
        """Every row of an entity."""
        names = tuple(registry().entities[entity].fields)
        async for row_id, version, *values in self._stream(f"{statements.select_all(entity)} ORDER BY id"):
            yield row_id, Stored(version=version, fields=dict(zip(names, values, strict=True)))

    async def feed(self) -> AsyncIterator[tuple[FeedKey, tuple[int, bytes | None]]]:
        """Every feed row, tombstones too."""
        async for entity, row_id, bucket, version, body in self._stream(_FEED):
            yield (entity, row_id, bucket), (version, body.encode() if body is not None else None)

    async def all_buckets(self) -> Mapping[str, BucketState]:
        """Every bucket's checksum."""
        cursor = await self._connection.execute(
            "SELECT bucket, version, rows, total, horizon FROM buckets WHERE town_id = %s", [self.head.town]
        )
        return {
            bucket: BucketState(version=version, total=BucketSum(rows=rows, total=int(total)), horizon=horizon)
            async for bucket, version, rows, total, horizon in cursor
        }

    async def all_device_heads(self) -> Mapping[str, ChainHead]:
        """Every device's stored head."""
        cursor = await self._connection.execute(
            "SELECT device_id, seq, hash FROM device_heads WHERE town_id = %s", [self.head.town]
        )
        return {device: ChainHead(seq=seq, digest=digest) async for device, seq, digest in cursor}

    async def name(self) -> str | None:
        """The name in the list of towns."""
        cursor = await self._connection.execute("SELECT name FROM town_names WHERE town_id = %s", [self.head.town])
        row = await cursor.fetchone()
        return row[0] if row else None

    async def outbox(self) -> AsyncIterator[StoredWork]:
        """Every row, done or not."""
        statement = "SELECT id, kind, data, version, done_at IS NOT NULL FROM outbox WHERE town_id = %s ORDER BY id"
        async for work_id, kind, data, version, is_done in self._stream(statement):
            yield StoredWork(id=work_id, kind=kind, data=data, version=version, is_done=is_done)

    async def messages(self) -> AsyncIterator[tuple[str, str, str]]:
        """Every message."""
        async for message in self._stream("SELECT id, order_id, text FROM messages WHERE town_id = %s ORDER BY id"):
            yield message[0], message[1], message[2]

    async def statements(self) -> AsyncIterator[StoredStatement]:
        """Every row."""
        statement = "SELECT kind, owner_id, version, accounts, body FROM statements WHERE town_id = %s"
        async for kind, owner_id, version, accounts, body in self._stream(statement):
            yield StoredStatement(kind=kind, owner_id=owner_id, version=version, accounts=accounts, body=body)

    async def line_failures(self) -> Mapping[tuple[str, bytes], int]:
        """Every count; of lines that the release before counted alone, what it has by their place."""
        return {(device, digest): failures async for device, digest, failures in self._stream(_FAILURES)}

    async def altered_fork_lines(self) -> Sequence[tuple[str, int]]:
        """Hashed again by PostgreSQL, as they were when they were kept."""
        statement = "SELECT device_id, seq FROM fork_lines WHERE town_id = %s AND hash <> sha256(line) ORDER BY 1, 2"
        return [(device, seq) async for device, seq in self._stream(statement)]

    async def _stream(self, statement: str) -> AsyncIterator[tuple[Any, ...]]:
        self._streams += 1  # several may be read at the same time
        async with self._connection.cursor(name=f"evidence_{self._streams}") as cursor:
            cursor.itersize = FETCH_ROWS
            await cursor.execute(statement, [self.head.town])
            async for row in cursor:
                yield row
