"""The `Histories` port: epochs, halts, and lines that are kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from psycopg_pool import AsyncConnectionPool

from server.adapters.postgres import statements
from server.adapters.postgres.connection import Connection, town_transaction
from server.application.history_ports import (
    KEPT_BYTES_MAX,
    KEPT_LINES_MAX,
    EpochRecord,
    Halt,
    KeptAside,
    NotHalted,
    ReleasedHead,
)

_EPOCHS = """
SELECT epoch, before, version, journal_hash, begun_at, reason, signature FROM epochs
WHERE town_id = %s ORDER BY version, begun_at
"""
_ADD_EPOCH = """
INSERT INTO epochs (town_id, epoch, before, version, journal_hash, begun_at, reason, signature)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_HALTS = """
SELECT h.id, h.device_id, h.epoch, h.version, h.journal_hash, h.signature, h.head_version, h.halted_at,
       CASE WHEN r.halt_id IS NULL THEN NULL ELSE coalesce(r.epoch::text, 'resumed') END
FROM halts AS h LEFT JOIN resumptions AS r ON r.town_id = h.town_id AND r.halt_id = h.id
WHERE h.town_id = %s ORDER BY h.halted_at, h.id
"""
_HALT = """
INSERT INTO halts (town_id, id, device_id, epoch, version, journal_hash, signature, head_version, halted_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_END_HALTS = """
INSERT INTO resumptions (town_id, halt_id, epoch, reason, resumed_at)
SELECT h.town_id, h.id, %(epoch)s, %(reason)s, %(at)s FROM halts AS h
WHERE h.town_id = %(town)s
AND NOT EXISTS (SELECT FROM resumptions AS r WHERE r.town_id = h.town_id AND r.halt_id = h.id)
"""
_SET_HALTED = "UPDATE town_heads SET is_halted = %s WHERE town_id = %s"
_KEEP = """
INSERT INTO fork_lines (town_id, device_id, hash, seq, line, received_at, signature)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_COUNT_KEPT = """
SELECT count(*), coalesce(sum(octet_length(line)), 0)::bigint FROM fork_lines WHERE town_id = %s AND device_id = %s
"""
_KEPT_ALREADY = "SELECT hash FROM fork_lines WHERE town_id = %s AND device_id = %s AND hash = ANY(%s)"
_KEPT = """
SELECT f.seq, f.line, f.received_at, f.signature FROM fork_lines AS f
WHERE f.town_id = %(town)s AND f.device_id = %(device)s
AND NOT EXISTS (SELECT FROM change_sets AS c WHERE c.town_id = f.town_id AND c.device_id = f.device_id
                AND c.seq = f.seq AND c.line = f.line)
AND NOT EXISTS (SELECT FROM replacements AS r WHERE r.town_id = f.town_id AND r.device_id = f.device_id
                AND r.hash = translate(encode(sha256('\\x01' || f.line), 'base64'), '+/=', '-_'))
ORDER BY f.seq, f.received_at, f.hash
"""
_RELEASED_HEAD = """
SELECT c.line, c.signature, t.epoch FROM device_releases AS d
JOIN town_heads AS t ON t.town_id = d.town_id
LEFT JOIN device_heads AS h ON h.town_id = d.town_id AND h.device_id = d.id
LEFT JOIN change_sets AS c ON c.town_id = h.town_id AND c.device_id = h.device_id AND c.seq = h.seq
WHERE d.town_id = %(town)s AND d.id = %(device)s AND (%(fork)s::bytea IS NULL OR EXISTS
  (SELECT FROM fork_lines AS f WHERE f.town_id = %(town)s AND f.device_id = %(device)s
   AND f.hash = %(fork)s AND f.received_at <= d.released_at))
"""


class PostgresHistories:
    """Histories in one database."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool

    async def epochs(self, town_id: str) -> Sequence[EpochRecord]:
        """Every epoch that was begun."""
        async with town_transaction(self._pool, town_id) as connection:
            return await read_epochs(connection, town_id)

    async def halts(self, town_id: str) -> Sequence[Halt]:
        """Every halt, and how it ended."""
        async with town_transaction(self._pool, town_id) as connection:
            return await read_halts(connection, town_id)

    async def halt(self, town_id: str, halt: Halt) -> None:
        """Takes the town's head lock; a town that is halted already stays so, with one more reason."""
        told = [halt.device_id, halt.epoch, halt.version, halt.journal, halt.signature, halt.head_version]
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(statements.LOCK_TOWN, [town_id])
            await connection.execute(_HALT, [town_id, halt.id, *told, halt.halted_at])
            await connection.execute(_SET_HALTED, [True, town_id])

    async def resume(self, town_id: str, reason: str, at: str) -> int:
        """Takes the town's head lock."""
        async with town_transaction(self._pool, town_id) as connection:
            await connection.execute(statements.LOCK_TOWN, [town_id])
            ended = await end_halts(connection, town_id, epoch=None, reason=reason, at=at)
            if not ended:
                raise NotHalted
            return ended

    async def kept_lines(self, town_id: str, device_id: str) -> Sequence[KeptAside]:
        """Forks and what suspended devices have sent alike."""
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_KEPT, {"town": town_id, "device": device_id})
            return [
                KeptAside(seq=seq, line=line, received_at=at, signature=signature)
                async for seq, line, at, signature in cursor
            ]

    async def keep_lines(
        self, town_id: str, device_id: str, seq: int, lines: Sequence[bytes], *, signature: str, at: str
    ) -> None:
        """Evidence is kept once per line."""
        last, place = seq + len(lines) - 1, [town_id, device_id]
        hashes = [sha256(line).digest() for line in lines]
        async with town_transaction(self._pool, town_id) as connection:
            # Counted once for all of them: a stopped device may send a thousand lines, as often as it likes.
            [(kept, kept_bytes)] = await (await connection.execute(_COUNT_KEPT, place)).fetchall()
            known = {digest async for (digest,) in await connection.execute(_KEPT_ALREADY, [*place, hashes])}
            rows = [
                [*place, digest, at_seq, line, at, signature if at_seq == last else None]
                for at_seq, (digest, line) in enumerate(zip(hashes, lines, strict=True), seq)
                if digest not in known
            ]
            async with connection.cursor() as cursor:
                await cursor.executemany(_KEEP, rows[: _room(rows, KEPT_LINES_MAX - kept, KEPT_BYTES_MAX - kept_bytes)])

    async def released_head(self, town_id: str, device_id: str, fork: bytes | None) -> ReleasedHead | None:
        """One statement."""
        asked = {
            "town": town_id,
            "device": device_id,
            "fork": None if fork is None else sha256(fork).digest(),
        }
        async with town_transaction(self._pool, town_id) as connection:
            cursor = await connection.execute(_RELEASED_HEAD, asked)
            row = await cursor.fetchone()
        return ReleasedHead(line=row[0], signature=row[1], epoch=row[2]) if row else None


def _room(rows: Sequence[Sequence[Any]], lines_max: int, bytes_max: int) -> int:
    """How many of the rows to keep, from the first on: so many lines, and so many bytes of lines together."""
    count = 0
    for *_, line, _at, _signature in rows:
        bytes_max -= len(line)
        if count >= lines_max or bytes_max < 0:
            break
        count += 1
    return count


async def read_epochs(connection: Connection, town_id: str) -> list[EpochRecord]:
    """Every epoch that was begun, oldest first, as this transaction sees them."""
    cursor = await connection.execute(_EPOCHS, [town_id])
    return [
        EpochRecord(
            town=town_id,
            epoch=epoch,
            before=before,
            version=version,
            journal=digest,
            begun_at=begun_at,
            reason=reason,
            signature=signature,
        )
        async for epoch, before, version, digest, begun_at, reason, signature in cursor
    ]


async def read_halts(connection: Connection, town_id: str) -> list[Halt]:
    """Every halt there was, oldest first, as this transaction sees them."""
    cursor = await connection.execute(_HALTS, [town_id])
    return [
        Halt(
            id=halt_id,
            device_id=device_id,
            epoch=epoch,
            version=version,
            journal=digest,
            signature=signature,
            head_version=head_version,
            halted_at=at,
            ended=ended,
        )
        async for halt_id, device_id, epoch, version, digest, signature, head_version, at, ended in cursor
    ]


async def begin_epoch(connection: Connection, record: EpochRecord) -> None:
    """Keep the record, move the head into the epoch and end every halt; the caller holds the town's lock."""
    told = [record.before, record.version, record.journal, record.begun_at, record.reason, record.signature]
    await connection.execute(_ADD_EPOCH, [record.town, record.epoch, *told])
    await connection.execute("UPDATE town_heads SET epoch = %s WHERE town_id = %s", [record.epoch, record.town])
    await end_halts(connection, record.town, epoch=record.epoch, reason=record.reason, at=record.begun_at)


async def end_halts(connection: Connection, town_id: str, *, epoch: str | None, reason: str, at: str) -> int:
    """End what lasts; how many there were. The caller holds the town's lock."""
    cursor = await connection.execute(_END_HALTS, {"town": town_id, "epoch": epoch, "reason": reason, "at": at})
    await connection.execute(_SET_HALTED, [False, town_id])
    return cursor.rowcount
