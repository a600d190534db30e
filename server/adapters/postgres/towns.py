"""The store of all towns in PostgreSQL: the town's head lock, bulk reads and set-based writes, the feed.

Locking: `writing` takes the town's head row FOR UPDATE before it reads anything else, at READ COMMITTED; the lock is
held to the commit, so versions commit in order and no cursor can pass an uncommitted change. No other row is locked.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from psycopg.errors import UniqueViolation
from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import histories, statements
from server.adapters.postgres.connection import Connection, town_transaction, translated
from server.adapters.postgres.snapshots import read_offers
from server.application.history_ports import EpochRecord, Halt
from server.application.ports import (
    BucketState,
    DeviceRecord,
    FeedPage,
    Founding,
    JournalEntry,
    StoredLine,
    TownUnknown,
    WriteRejected,
)
from server.application.snapshot_ports import Snapshot
from server.domain.requests import AnsweredRequest, RequestKey
from server.tracing import traceparent
from sync.engine.chain import ChainHead, genesis_hash
from sync.engine.evidence import TOWN_VERSION, version_row
from sync.engine.feed import BucketSum, FeedRow, Stored
from sync.engine.town import Step, TownHead
from sync.kernel.changeset import RowKey
from sync.modules import registry
from sync.modules.identity import held_buckets
from sync.protocol import limits

DECIDING_SECONDS_MAX = 30
"""How long a batch may be decided without a word to the database: the loop does other work in between."""


class PostgresTowns:
    """Every town of one database."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        self.histories = histories.PostgresHistories(pool)

    @asynccontextmanager
    async def writing(self, town_id: str, *, founding: Founding | None = None) -> AsyncIterator[PostgresTownWriter]:
        """One transaction under the town's head lock; commits on a clean exit."""
        async with town_transaction(self._pool, town_id, idle_seconds_max=DECIDING_SECONDS_MAX) as connection:
            if founding:
                await _found(connection, town_id, founding)
            head, is_halted = await _head(connection, statements.LOCK_TOWN, town_id)
            yield PostgresTownWriter(connection, head, is_halted=is_halted)

    @asynccontextmanager
    async def reading(self, town_id: str) -> AsyncIterator[PostgresTownReader]:
        """One snapshot of the town."""
        async with town_transaction(self._pool, town_id, snapshot=True) as connection:
            head, is_halted = await read_standing(connection, town_id)
            yield PostgresTownReader(connection, head, is_halted=is_halted)

    async def list_towns(self) -> Sequence[tuple[str, str]]:
        """(id, name) of every town, by name."""
        with translated():
            async with self._pool.connection() as connection:
                cursor = await connection.execute("SELECT town_id, name FROM town_names ORDER BY name, town_id")
                return await cursor.fetchall()

    async def count_failure(self, town_id: str, device_id: str, seq: int, digest: bytes) -> int:
        """Committed by itself, before the line is tried again; for the release before also by its place."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(
                "INSERT INTO line_failures AS f (town_id, device_id, seq, failures) VALUES (%s, %s, %s, 1) "
                "ON CONFLICT (town_id, device_id, seq) DO UPDATE SET failures = f.failures + 1",
                [town_id, device_id, seq],
            )
            cursor = await connection.execute(
                "INSERT INTO failed_lines AS f (town_id, device_id, hash, failures) VALUES (%s, %s, %s, 1) "
                "ON CONFLICT (town_id, device_id, hash) DO UPDATE SET failures = f.failures + 1 RETURNING failures",
                [town_id, device_id, digest],
            )
            row = await cursor.fetchone()
        assert row is not None
        count: int = row[0]
        return count


class PostgresTownWriter:
    """The town's only writer, until the transaction ends."""

    def __init__(self, connection: Connection, head: TownHead, *, is_halted: bool) -> None:
        self._connection = connection
        self.head = head
        self.is_halted = is_halted

    async def device_heads(self, device_ids: Iterable[str]) -> Mapping[str, ChainHead]:
        """One statement for all devices of a batch."""
        cursor = await self._connection.execute(
            "SELECT device_id, seq, hash FROM device_heads WHERE town_id = %s AND device_id = ANY(%s::uuid[])",
            [self.head.town, list(device_ids)],
        )
        return {device: ChainHead(seq=seq, digest=digest) async for device, seq, digest in cursor}

    async def stored_lines(self, positions: Iterable[tuple[str, int]]) -> Mapping[tuple[str, int], StoredLine]:
        """One statement for all repeated positions of a batch."""
        cursor = await self._connection.execute(
            "SELECT c.device_id, c.seq, c.hash, c.verdict FROM change_sets c "
            "JOIN jsonb_to_recordset(%s) AS r (device_id uuid, seq bigint) USING (device_id, seq) WHERE town_id = %s",
            [_rows({"device_id": device, "seq": seq} for device, seq in positions), self.head.town],
        )
        return {
            (device, seq): StoredLine(digest=digest, verdict_line=verdict)
            async for device, seq, digest, verdict in cursor
        }

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """One statement per entity, sent together."""
        return await _load(self._connection, self.head.town, keys)

    async def failures(self, lines: Iterable[tuple[str, bytes]]) -> Mapping[tuple[str, bytes], int]:
        """How often deciding these lines has failed."""
        devices, digests = zip(*lines, strict=True)
        cursor = await self._connection.execute(
            "SELECT device_id, hash, failures FROM failed_lines "
            "WHERE town_id = %s AND (device_id, hash) IN (SELECT * FROM unnest(%s::uuid[], %s::bytea[]))",
            [self.head.town, list(devices), list(digests)],
        )
        return {(device, digest): failures async for device, digest, failures in cursor}

    async def answered(self, keys: Iterable[RequestKey]) -> Mapping[RequestKey, AnsweredRequest]:
        """One statement for all keys of a batch."""
        cursor = await self._connection.execute(
            "SELECT i.principal_id, i.key, i.request_hash, i.seq FROM idempotency i "
            "JOIN jsonb_to_recordset(%s) AS r (principal_id uuid, key text) USING (principal_id, key) "
            "WHERE town_id = %s",
            [_rows({"principal_id": key.principal_id, "key": key.key} for key in keys), self.head.town],
        )
        return {
            RequestKey(principal_id=principal_id, key=key): AnsweredRequest(digest=digest, seq=seq)
            async for principal_id, key, digest, seq in cursor
        }

    async def write(
        self,
        step: Step,
        journal: JournalEntry,
        signatures: Mapping[tuple[str, int], str],
        answered: Mapping[RequestKey, AnsweredRequest],
    ) -> None:
        """Everything a step changes; the statements go out together and are answered together."""
        town, version = step.head.town, step.head.version
        changed = defaultdict(list)
        for row in step.rows:
            changed[row.entity].append(row)
        heads = {answer.submitted.device: answer.submitted for answer in step.answered}
        buckets = [{"bucket": name, "rows": s.rows, "total": s.total} for name, s in step.sums.items()]
        effects = [
            {"id": effect.id, "kind": effect.kind, "data": effect.data, "due_at": step.at, "traceparent": traceparent()}
            for effect in step.effects
        ]
        sets = [
            {
                "device_id": answer.submitted.device,
                "seq": answer.submitted.seq,
                "hash": _base64(answer.submitted.digest),
                "line": _base64(answer.submitted.line),
                "signature": signatures.get((answer.submitted.device, answer.submitted.seq)),
                "status": answer.verdict.status.value,
                "verdict": _base64(answer.verdict_line),
            }
            for answer in step.answered
        ]
        device_heads = [
            {"device_id": device, "seq": last.seq, "hash": _base64(last.digest)} for device, last in heads.items()
        ]
        requests = [
            {
                "principal_id": key.principal_id,
                "key": key.key,
                "request_hash": _base64(answer.digest),
                "seq": answer.seq,
                "made_at": step.at,
            }
            for key, answer in answered.items()
        ]
        async with self._connection.pipeline():
            await self._put(statements.INSERT_CHANGE_SETS, town, version, sets)
            for entity, rows in changed.items():  # what goes out is made table by table: together it may be many MB
                after = [{"id": row.row_id, **row.after} for row in rows]
                await self._put(statements.upsert(entity), town, version, after)
            await self._put(statements.UPSERT_FEED, town, version, [_feed_row(row) for row in step.feed])
            await self._put(statements.ADD_TO_BUCKETS, town, version, buckets)
            await self._put(statements.UPSERT_DEVICE_HEADS, town, version, device_heads)
            await self._put(statements.INSERT_OUTBOX, town, version, effects)
            await self._put(statements.INSERT_ANSWERED, town, version, requests)
            entry = [town, version, journal.digest, journal.body, journal.signature]
            await self._connection.execute(statements.INSERT_JOURNAL, entry)
            await self._connection.execute(statements.MOVE_TOWN, [version, step.head.journal, town])

    async def begin_epoch(self, record: EpochRecord) -> None:
        """In the transaction of the epoch's first line."""
        await histories.begin_epoch(self._connection, record)

    async def _put(self, statement: str, town: str, version: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            await self._connection.execute(statement, {"town": town, "version": version, "rows": _rows(rows)})


class PostgresTownReader:
    """A town as it stood when the transaction began."""

    def __init__(self, connection: Connection, head: TownHead, *, is_halted: bool) -> None:
        self._connection = connection
        self.head = head
        self.is_halted = is_halted

    async def journal_entry(self, version: int) -> JournalEntry | None:
        """One version's entry."""
        cursor = await self._connection.execute(
            "SELECT version, body, hash, signature FROM journal WHERE town_id = %s AND version = %s",
            [self.head.town, version],
        )
        row = await cursor.fetchone()
        return JournalEntry(version=row[0], body=row[1], digest=row[2], signature=row[3]) if row else None

    async def epochs(self) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        return await histories.read_epochs(self._connection, self.head.town)

    async def halts(self) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        return await histories.read_halts(self._connection, self.head.town)

    async def device(self, device_id: str) -> DeviceRecord | None:
        """The device's row, the head of its chain and the buckets it may hold."""
        cursor = await self._connection.execute(
            "SELECT d.status, d.role, d.public_key, d.certificate, d.user_id, d.warehouse_id, d.school_id, h.seq, "
            "h.hash, coalesce(u.is_active AND u.roles @> to_jsonb(d.role), true), coalesce(t.settings, '{}') "
            "FROM devices d "
            "LEFT JOIN device_heads h ON h.town_id = d.town_id AND h.device_id = d.id "
            "LEFT JOIN users u ON u.town_id = d.town_id AND u.id = d.user_id "
            "LEFT JOIN towns t ON t.town_id = d.town_id AND t.id = d.town_id "
            "WHERE d.town_id = %s AND d.id = %s",
            [self.head.town, device_id],
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        (
            status,
            role,
            public_key,
            certificate,
            user_id,
            warehouse_id,
            school_id,
            seq,
            digest,
            is_user_active,
            settings,
        ) = row
        assigned = {"role": role, "user_id": user_id, "warehouse_id": warehouse_id, "school_id": school_id}
        return DeviceRecord(
            device_id=device_id,
            town_id=self.head.town,
            status=status,
            role=role,
            public_key=public_key,
            certificate=certificate,
            buckets=held_buckets(device_id, assigned, is_user_active=is_user_active),
            head=ChainHead(seq=seq or 0, digest=digest or genesis_hash(certificate)),
            town_settings=settings,
        )

    async def load(self, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
        """One statement per entity, sent together."""
        return await _load(self._connection, self.head.town, keys)

    async def bucket_states(self, buckets: Sequence[str]) -> Mapping[str, BucketState]:
        """The checksums of these buckets at the head."""
        cursor = await self._connection.execute(
            "SELECT bucket, version, rows, total, horizon FROM buckets WHERE town_id = %s AND bucket = ANY(%s)",
            [self.head.town, list(buckets)],
        )
        return {
            bucket: BucketState(version=version, total=BucketSum(rows=rows, total=int(total)), horizon=horizon)
            async for bucket, version, rows, total, horizon in cursor
        }

    async def offers(self, buckets: Sequence[str]) -> Mapping[str, Snapshot]:
        """The newest snapshot of each of these buckets."""
        return await read_offers(self._connection, self.head.town, buckets)

    async def feed_page(self, bucket: str, after: int, rows_max: int, bytes_max: int) -> FeedPage:
        """An index range scan; PostgreSQL puts the lines together."""
        cursor = await self._connection.execute(
            statements.FEED_PAGE,
            {
                "town": self.head.town,
                "bucket": bucket,
                "after": after,
                "rows_max": rows_max,
                "bytes_max": bytes_max,
                "line_rows": limits.ROWS_LINE_ROWS,
                "line_bytes": limits.ROWS_LINE_BYTES,
            },
            binary=False,
        )
        found = await cursor.fetchall()
        rows = sum(row[0] for row in found)
        last = max((row[1] for row in found), default=None)
        return FeedPage(rows=rows, last_version=last, lines=[row[2] for row in found])


async def read_standing(connection: Connection, town_id: str) -> tuple[TownHead, bool]:
    """Where the town stands in this transaction, and whether it is halted; raises `TownUnknown`."""
    return await _head(connection, statements.READ_TOWN, town_id)


async def read_head(connection: Connection, town_id: str) -> TownHead:
    """Where the town stands in this transaction; raises `TownUnknown`."""
    return (await read_standing(connection, town_id))[0]


async def _found(connection: Connection, town_id: str, founding: Founding) -> None:
    try:
        await connection.execute(
            "INSERT INTO town_heads (town_id, epoch, version, journal_hash) VALUES (%s, %s, 0, %s)",
            [town_id, founding.epoch, bytes(32)],
        )
    except UniqueViolation:
        raise WriteRejected(f"town {town_id} is there already") from None
    await connection.execute("INSERT INTO town_names (town_id, name) VALUES (%s, %s)", [town_id, founding.name])


async def _head(connection: Connection, statement: str, town_id: str) -> tuple[TownHead, bool]:
    """Where the town stands, and whether it is halted."""
    cursor = await connection.execute(statement, [town_id])
    row = await cursor.fetchone()
    if row is None:
        raise TownUnknown
    epoch, version, digest, is_halted = row
    return TownHead(town=town_id, epoch=epoch, version=version, journal=digest), is_halted


async def _load(connection: Connection, town_id: str, keys: Iterable[RowKey]) -> Mapping[RowKey, Stored | None]:
    wanted = defaultdict(list)
    for entity, row_id in keys:
        wanted[entity].append(row_id)
    loaded: dict[RowKey, Stored | None] = {
        (entity, row_id): None for entity, row_ids in wanted.items() for row_id in row_ids
    }
    versions = wanted.pop(TOWN_VERSION, None)
    async with connection.pipeline():
        entries = await connection.execute(statements.SELECT_VERSIONS, [town_id, versions]) if versions else None
        cursors = [
            (entity, await connection.execute(statements.select(entity), [town_id, row_ids]))
            for entity, row_ids in wanted.items()
        ]
    if entries:
        loaded.update([version_row(*entry) for entry in await entries.fetchall()])
    for entity, cursor in cursors:
        names = tuple(registry().entities[entity].fields)
        for row_id, version, *values in await cursor.fetchall():
            loaded[entity, row_id] = Stored(version=version, fields=dict(zip(names, values, strict=True)))
    return loaded


def _feed_row(row: FeedRow) -> dict[str, Any]:
    return {"bucket": row.bucket, "entity": row.entity, "id": row.row_id, "body": row.body and row.body.decode()}


def _rows(rows: Iterable[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
